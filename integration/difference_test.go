package integration

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	seedsFlag   = flag.Int("seeds", 200, "how many random programs TestDifference runs")
	seedFlag    = flag.Uint64("seed", 1, "the seed of the first of them")
	programFlag = flag.String("program", "", "run this program only, as a failure printed it")
)

// operationsPerSeed is the length of a random program.
const operationsPerSeed = 100

// Nobody can tell the mount from the directory underneath: random programs of three users have the same results on the
// mount and on a bare directory of the same file system, call by call, and leave the same tree. As files are read and written by default,
// which is by the kernel itself:
func TestDifference(t *testing.T) { findDifferences(t, byKernel) }

// And where all comes to the server.
func TestDifferenceByServer(t *testing.T) { findDifferences(t, byServer) }

func findDifferences(t *testing.T, how string) {
	tw := newTwins(t, how, testDeadline+time.Duration(*seedsFlag)*time.Second)
	if *programFlag != "" {
		program, err := hex.DecodeString(*programFlag)
		if err != nil {
			t.Fatal(err)
		}
		tw.mustAgree(t, "the program given", program)
		return
	}
	for seed := *seedFlag; seed < *seedFlag+uint64(*seedsFlag); seed++ {
		tw.mustAgree(t, fmt.Sprintf("seed %d", seed), randomProgram(seed, operationsPerSeed))
	}
	tw.tally.report(t, *seedsFlag)
}

// FuzzDifference is TestDifference with programs that the fuzzer makes. What a program reaches is in other processes, where
// the fuzzer does not see it: it is best run with -fuzzminimizetime 1x, so that it does not look for what matters there.
func FuzzDifference(f *testing.F) {
	limit := testDeadline
	if fuzz := flag.Lookup("test.fuzz"); fuzz.Value.String() != "" {
		limit = 24 * time.Hour // that one program hangs is told by its helper's deadline
	}
	tw := newTwins(f, byKernel, limit)
	for seed := range uint64(3) {
		f.Add(randomProgram(1000+seed, 20))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		tw.mustAgree(t, "fuzzed", program[:min(len(program), 300*recordSize)])
	})
}

// twins are the two sides on which programs run.
type twins struct {
	m             *mount
	bare          string
	onMount, away *helper
	runs          int
	tally         tally
}

// tally counts what came of each call on the bare side, by its first word.
type tally map[string]map[string]int

func (t tally) add(operations []operation, results []string) {
	for i, o := range operations {
		word, _, _ := strings.Cut(results[i], " ")
		if t[o.kind.name] == nil {
			t[o.kind.name] = map[string]int{}
		}
		t[o.kind.name][word]++
	}
}

// report fails if programs enough did not succeed with some call: then they show nothing about it.
func (t tally) report(tb testing.TB, programs int) {
	tb.Helper()
	for _, k := range kinds() {
		if programs >= 200 && t[k.name]["ok"] == 0 {
			tb.Errorf("%s never succeeded: %v", k.name, t[k.name])
		}
	}
	for name, words := range t {
		tb.Logf("%-12s %v", name, words)
	}
}

// How files are read and written.
const (
	byKernel = "by kernel" // passthrough
	byServer = "by server"

	withoutPassthrough = "--without-passthrough"
)

func newTwins(t testing.TB, how string, limit time.Duration) *twins {
	needRoot(t)
	flags := []string{"-o", "suid,dev"}
	if how == byServer {
		flags = append(flags, withoutPassthrough)
	}
	tw := &twins{m: newMount(t, withFlags(flags...), lasting(limit)), tally: tally{}}
	tw.bare = tw.m.parent + "/bare"
	if err := os.Mkdir(tw.bare, 0o755); err != nil {
		t.Fatal(err)
	}
	tw.onMount = startHelper(t, nil, "difference", tw.m.dir, "mount", how)
	tw.away = startHelper(t, nil, "difference", tw.bare, "bare", how)
	return tw
}

// programOutcome is what came of a program on one side.
type programOutcome struct {
	results []string // one for each operation
	tree    []string
}

// mustAgree runs a program and, if the sides differ, looks for the shortest part of it with which they do.
func (tw *twins) mustAgree(t *testing.T, what string, program []byte) {
	t.Helper()
	difference := tw.compare(t, program)
	if difference == "" {
		return
	}
	short := tw.shrink(t, program)
	again := tw.compare(t, short)
	if again == "" {
		again = "not seen again; at first:\n" + difference
		short = program
	}
	t.Errorf("%s differs: %s\nagain: go test -run '%s$' . -program %x", what, again, t.Name(), short)
}

// shrinkingTakes is how long a failure may look for a shorter program.
const shrinkingTakes = 20 * time.Second

// shrink drops operations, many at once at first, as long as the sides differ without them.
func (tw *twins) shrink(t *testing.T, program []byte) []byte {
	end := time.Now().Add(shrinkingTakes)
	for size := len(program) / recordSize / 2; size > 0; {
		shorter := tw.dropOne(t, program, size*recordSize, end)
		if len(shorter) == len(program) || size > len(shorter)/recordSize/2 {
			size /= 2
		}
		program = shorter
	}
	return program
}

// dropOne drops the pieces of a size that are not needed.
func (tw *twins) dropOne(t *testing.T, program []byte, size int, end time.Time) []byte {
	for at := len(program) - size; at >= 0 && time.Now().Before(end); at -= size {
		without := append(append([]byte{}, program[:at]...), program[at+size:]...)
		if tw.compare(t, without) != "" {
			program = without
		}
	}
	return program
}

// compare runs a program on both sides and tells the first difference; "" if there is none.
func (tw *twins) compare(t *testing.T, program []byte) string {
	t.Helper()
	tw.runs++
	name := fmt.Sprintf("run-%d", tw.runs)
	operations := decode(program)
	for _, h := range []*helper{tw.onMount, tw.away} {
		fmt.Fprintf(h.stdin, "run %s %x\n", name, program)
	}
	mounted := tw.onMount.outcome(t, len(operations))
	bare := tw.away.outcome(t, len(operations))
	below := treeState(tw.m.pathBelow(name))
	for _, h := range []*helper{tw.onMount, tw.away} {
		fmt.Fprintf(h.stdin, "remove %s\n", name)
		h.outcome(t, 0)
	}
	tw.tally.add(operations, bare.results)
	if at := firstDifference(operations, mounted.results, bare.results); at >= 0 {
		return history(operations[:at+1], bare.results) + "\n  mount: " + mounted.results[at]
	}
	if haveAllocated(operations, bare.results) {
		bare.tree, mounted.tree, below = withoutHoles(bare.tree), withoutHoles(mounted.tree), withoutHoles(below)
	}
	for what, tree := range map[string][]string{"through the mount": mounted.tree, "underneath": below} {
		if lines := differentLines(bare.tree, tree); lines != "" {
			return history(operations, bare.results) + "\n  the tree " + what + ":" + lines
		}
	}
	return ""
}

// firstDifference is the first operation whose results may not be both; -1 if there is none.
func firstDifference(operations []operation, mount, bare []string) int {
	for i, o := range operations {
		if mount[i] == bare[i] || mayInstead(o, mount[i], bare[i]) {
			continue
		}
		if o.searchesData() && haveAllocated(operations[:i], bare) {
			continue
		}
		return i
	}
	return -1
}

func haveAllocated(operations []operation, results []string) bool {
	for i, o := range operations {
		done := strings.HasPrefix(results[i], "ok") && !strings.HasPrefix(results[i], "ok beyond")
		if o.allocates() && done || strings.Contains(results[i], failedDirect) {
			return true
		}
	}
	return false
}

// withoutHoles leaves out where files have data, if that can't be compared.
func withoutHoles(tree []string) []string {
	lines := make([]string, len(tree))
	for i, line := range tree {
		lines[i], _, _ = strings.Cut(line, dataMark)
	}
	return lines
}

func (h *helper) outcome(t *testing.T, operations int) (o programOutcome) {
	t.Helper()
	for range operations {
		o.results = append(o.results, h.line(t))
	}
	for line := h.line(t); line != "end"; line = h.line(t) {
		o.tree = append(o.tree, line)
	}
	return o
}

func history(operations []operation, results []string) string {
	var text strings.Builder
	for i, o := range operations {
		fmt.Fprintf(&text, "\n  %s\n      = %s", o, results[i])
	}
	return text.String()
}

// differentLines tells which lines only one of two sorted lists has.
func differentLines(bare, other []string) string {
	text := ""
	for _, list := range []struct {
		sign          string
		lines, others []string
	}{{"bare ", bare, other}, {"mount", other, bare}} {
		known := map[string]bool{}
		for _, line := range list.others {
			known[line] = true
		}
		for _, line := range list.lines {
			if !known[line] {
				text += "\n    " + list.sign + " " + line
			}
		}
	}
	return text
}
