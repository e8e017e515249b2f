package integration

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// versions are the published clients that the scenarios run with.
var versions = []string{"2026.3.1", "2026.3.2", "2026.7.1"}

// scenario is a row of the table that the run prints at its end.
type scenario struct {
	number int
	title  string
}

func (s scenario) String() string {
	if s.number == 0 {
		return "   " + s.title
	}
	return fmt.Sprintf("%2d %s", s.number, s.title)
}

// run is one scenario with one client. It remembers what the table shows of it.
type run struct {
	*testing.T
	version string // "" where no published client takes part
	gateway bool   // clients have the process title that real gateways have

	mu      sync.Mutex
	notes   []string
	failure string
}

// each runs a scenario with each version, under the process title Node gives and under the one gateways give.
func (s scenario) each(t *testing.T, test func(r *run)) {
	s.versions(t, []bool{false, true}, test)
}

// eachVersion is for scenarios in which nobody looks at a process title.
func (s scenario) eachVersion(t *testing.T, test func(r *run)) {
	s.versions(t, []bool{false}, test)
}

func (s scenario) versions(t *testing.T, titles []bool, test func(r *run)) {
	needClients(t)
	t.Parallel() // most of the time they wait for a client's time-out
	for _, version := range versions {
		for _, gateway := range titles {
			s.sub(t, &run{version: version, gateway: gateway}, test)
		}
	}
}

// once runs a scenario in which no published client takes part.
func (s scenario) once(t *testing.T, test func(r *run)) {
	s.record(t, &run{}, test)
}

// quietly is for checks of which there are many: only failures are in the table.
func (s scenario) quietly(t *testing.T, test func(r *run)) {
	r := &run{T: t}
	t.Cleanup(func() {
		if t.Failed() {
			suite.results.add(s, r)
		}
	})
	test(r)
}

func (s scenario) sub(t *testing.T, r *run, test func(r *run)) {
	t.Run(r.column(), func(t *testing.T) {
		t.Parallel()
		s.record(t, r, test)
	})
}

func (s scenario) record(t *testing.T, r *run, test func(r *run)) {
	r.T = t
	// The first cleanup runs last, so what the others report is in the table too.
	t.Cleanup(func() { suite.results.add(s, r) })
	test(r)
}

func (r *run) column() string {
	switch {
	case r.version == "":
		return "no client"
	case r.gateway:
		return r.version + " gateway"
	}
	return r.version
}

// note adds to the cell of the table.
func (r *run) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *run) failed(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == "" {
		r.failure, _, _ = strings.Cut(text, "\n")
	}
}

func (r *run) Errorf(format string, args ...any) {
	r.T.Helper()
	r.failed(fmt.Sprintf(format, args...))
	r.T.Errorf(format, args...)
}

func (r *run) Fatalf(format string, args ...any) {
	r.T.Helper()
	r.failed(fmt.Sprintf(format, args...))
	r.T.Fatalf(format, args...)
}

func (r *run) Fatal(args ...any) {
	r.T.Helper()
	r.failed(fmt.Sprint(args...))
	r.T.Fatal(args...)
}

func (r *run) cell() string {
	switch {
	case r.Skipped():
		return "skipped"
	case r.Failed():
		return "FAIL"
	case len(r.notes) == 0:
		return "ok"
	}
	return "ok " + strings.Join(r.notes, ", ")
}

// results is the table: scenario × client.
type results struct {
	mu   sync.Mutex
	rows map[scenario][]*run
}

func (res *results) add(s scenario, r *run) {
	res.mu.Lock()
	defer res.mu.Unlock()
	if res.rows == nil {
		res.rows = map[scenario][]*run{}
	}
	res.rows[s] = append(res.rows[s], r)
}

func (res *results) sorted() []scenario {
	var list []scenario
	for s := range res.rows {
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].number != list[j].number {
			return list[i].number < list[j].number
		}
		return list[i].title < list[j].title
	})
	return list
}

func (res *results) print(out io.Writer) {
	if len(res.rows) == 0 {
		return
	}
	var withClients, others []scenario
	for _, s := range res.sorted() {
		if res.rows[s][0].version == "" {
			others = append(others, s)
		} else {
			withClients = append(withClients, s)
		}
	}
	res.printClients(out, withClients)
	res.printOthers(out, others)
	res.printFailures(out)
}

// printClients prints a column for each version and process title.
func (res *results) printClients(out io.Writer, rows []scenario) {
	if len(rows) == 0 {
		return
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprint(table, "\nOpenClaw")
	for _, version := range versions {
		fmt.Fprintf(table, "\t%s\tas gateway", version)
	}
	fmt.Fprintln(table)
	for _, s := range rows {
		cells := map[string]string{}
		for _, r := range res.rows[s] {
			cells[r.column()] = r.cell()
		}
		fmt.Fprint(table, s)
		for _, version := range versions {
			fmt.Fprintf(table, "\t%s\t%s", cells[version], cells[version+" gateway"])
		}
		fmt.Fprintln(table)
	}
	table.Flush()
}

func (res *results) printOthers(out io.Writer, rows []scenario) {
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table)
	for _, s := range rows {
		for _, r := range res.rows[s] {
			fmt.Fprintf(table, "%s\t%s\n", s, r.cell())
		}
	}
	table.Flush()
}

func (res *results) printFailures(out io.Writer) {
	for _, s := range res.sorted() {
		for _, r := range res.rows[s] {
			if r.Failed() {
				fmt.Fprintf(out, "FAIL %s (%s): %s\n", s, r.column(), r.failure)
			}
		}
	}
}
