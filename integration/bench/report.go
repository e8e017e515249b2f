package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// result is what a work took everywhere.
type result struct {
	work work
	rows []*row
}

type row struct {
	system *system
	turn   func() (time.Duration, error)
	took   []time.Duration // sorted, in the end
	failed bool
}

// round does the work a few times.
func (r *row) round(turns int, counts bool) error {
	for range turns {
		took, err := r.turn()
		if err != nil {
			return err
		}
		if counts {
			r.took = append(r.took, took)
		}
	}
	return nil
}

func (r *row) quantile(q float64) time.Duration { return r.took[int(q*float64(len(r.took)-1))] }

// median is in the work's unit.
func (r *result) median(of *row) float64 { return r.work.unit.of(of.quantile(0.5)) }

func (r *result) named(name string) *row {
	for _, row := range r.rows {
		if row.system.name == name {
			return row
		}
	}
	return nil
}

// bestPeer is the fastest of those that are neither bare nor ours.
func (r *result) bestPeer() (best *row) {
	for _, row := range r.rows {
		if row.system.isPeer() && (best == nil || row.quantile(0.5) < best.quantile(0.5)) {
			best = row
		}
	}
	return best
}

// target is what a result should be.
type target struct {
	text string
	than string // a system
	met  func(*result) (met bool, ratio float64)
}

// atMost is for times, atLeast for rates: against another system's.
func atMost(limit float64, than string) target {
	return target{fmt.Sprintf("≤ %.1f × %s", limit, than), than, func(r *result) (bool, float64) {
		ratio := r.median(r.named(ourName)) / r.median(r.named(than))
		return ratio <= limit, ratio
	}}
}

func atLeast(limit float64, than string) target {
	return target{fmt.Sprintf("≥ %.2f × %s", limit, than), than, func(r *result) (bool, float64) {
		ratio := r.median(r.named(ourName)) / r.median(r.named(than))
		return ratio >= limit, ratio
	}}
}

// better is for what should be faster than every peer.
var better = target{"better than every peer", bareName, func(r *result) (bool, float64) {
	ours, peer := r.named(ourName).quantile(0.5), r.bestPeer().quantile(0.5)
	return ours <= peer, float64(ours) / float64(peer)
}}

// isComplete reports whether there is something to compare with.
func (r *result) isComplete() bool {
	return r.named(bareName) != nil && r.named(ourName) != nil && r.bestPeer() != nil && r.named(r.work.target.than) != nil
}

func (r *result) print(out io.Writer) {
	if len(r.rows) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s, %s\n  %-16s %10s %10s %10s %10s\n", r.work.name, r.work.unit.name, "", "median", "99 of 100", "× bare", "× best peer")
	for _, row := range r.rows {
		fmt.Fprintf(out, "  %-16s %10.2f %10.2f", row.system.name, r.median(row), r.work.unit.of(row.quantile(0.99)))
		if r.isComplete() {
			fmt.Fprintf(out, " %10.2f %10.2f", r.median(row)/r.median(r.named(bareName)), r.median(row)/r.median(r.bestPeer()))
		}
		fmt.Fprintln(out)
	}
	if r.isComplete() {
		met, ratio := r.work.target.met(r)
		verdict := "met"
		if !met {
			verdict = "falls short"
		}
		fmt.Fprintf(out, "  target %s: %s (%.2f ×)\n", r.work.target.text, verdict, ratio)
	}
}

// number is a row of the JSON.
type number struct {
	Work     string  `json:"work"`
	Unit     string  `json:"unit"`
	System   string  `json:"system"`
	Median   float64 `json:"median"`
	P99      float64 `json:"p99"`
	OfBare   float64 `json:"of_bare,omitempty"`
	OfPeer   float64 `json:"of_best_peer,omitempty"`
	Measured int     `json:"measured"`
}

func report(s settings, results []*result) error {
	if s.json != "" {
		var numbers []number
		for _, r := range results {
			for _, row := range r.rows {
				n := number{
					Work: r.work.name, Unit: r.work.unit.name, System: row.system.name, Measured: len(row.took),
					Median: r.median(row), P99: r.work.unit.of(row.quantile(0.99)),
				}
				if r.isComplete() {
					n.OfBare, n.OfPeer = n.Median/r.median(r.named(bareName)), n.Median/r.median(r.bestPeer())
				}
				numbers = append(numbers, n)
			}
		}
		text, err := json.MarshalIndent(numbers, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if s.svg != "" {
		return drawPicture(s.svg, results)
	}
	return nil
}
