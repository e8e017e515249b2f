// Command bench compares what work costs on a bare directory, on this file system, and on others that hand everything through: all mounted
// over the same directory, in turn, in the same run. It prints a table, and writes the numbers as JSON and as a picture.
//
// scripts/bench.sh builds what is compared and calls it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// settings are the flags.
type settings struct {
	dir    string
	rounds int
	only   string
	json   string
	svg    string
	grow   bool
}

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		exit(roles[role](os.Args[1:]))
	}
	var s settings
	flag.StringVar(&s.dir, "dir", "", "an empty directory to work in, or one to be made")
	flag.IntVar(&s.rounds, "rounds", 5, "how many times everything is measured")
	flag.StringVar(&s.only, "only", "", "works to do, separated by commas; all if empty")
	flag.StringVar(&s.json, "json", "", "where to write the numbers")
	flag.StringVar(&s.svg, "svg", "", "where to write the picture")
	flag.BoolVar(&s.grow, "grow", false, "measure how this file system grows with locks and clients, instead")
	flag.Parse()
	exit(run(s, systems(flag.Args())))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(s settings, all []*system) error {
	source, err := prepare(s.dir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(source)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	defer func() {
		for _, sys := range all {
			sys.unmount()
		}
	}()
	for _, sys := range all {
		if err := sys.mount(source); err != nil {
			return fmt.Errorf("%s: %w", sys.name, err)
		}
	}
	if s.grow {
		return grow(all)
	}
	var results []*result
	for _, w := range works {
		if s.only != "" && !slices.Contains(strings.Split(s.only, ","), w.name) {
			continue
		}
		select {
		case sig := <-interrupted:
			return fmt.Errorf("ended by %v", sig)
		default:
		}
		r, err := measure(w, all, s.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		r.print(os.Stdout)
		results = append(results, r)
	}
	return report(s, results)
}

// prepare makes the directory that everything is mounted over. What has anything in it is left alone.
func prepare(dir string) (source string, err error) {
	if dir == "" {
		return os.MkdirTemp("", "sessionlockfs-bench-")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty: it has %s in it, which would be touched", dir, entries[0].Name())
	}
	return filepath.Abs(dir)
}

// measure does one work everywhere, in turn, as many times as there are rounds.
func measure(w work, all []*system, rounds int) (*result, error) {
	r := &result{work: w}
	for _, sys := range all {
		turn, end, err := w.begin(sys.dir(w.name))
		if errors.Is(err, errMissing) {
			fmt.Fprintf(os.Stderr, "bench: %s is left out: %v\n", w.name, err)
			return r, nil
		}
		if err != nil && sys.isPeer() {
			fmt.Fprintf(os.Stderr, "bench: %s can't do %s: %v\n", sys.name, w.name, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("on %s: %w", sys.name, err)
		}
		defer end()
		r.rows = append(r.rows, &row{system: sys, turn: turn})
	}
	for round := range rounds + 1 { // the first is to warm up
		for _, row := range r.rows {
			err := row.round(w.turns, round > 0)
			if err != nil && !row.system.isPeer() {
				return nil, fmt.Errorf("on %s: %w", row.system.name, err)
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s can't do %s: %v\n", row.system.name, w.name, err)
				row.failed = true
			}
		}
		r.rows = slices.DeleteFunc(r.rows, func(r *row) bool { return r.failed })
	}
	for _, row := range r.rows {
		slices.Sort(row.took)
	}
	return r, nil
}
