package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/cli"
)

const (
	// settling is how long an entry that is met may take to be judged, its grace included.
	settling = time.Minute
	// lingering is how old an orphan is that nobody seems to come back for.
	lingering = time.Hour
)

// checkLocks is about the locks that don't go by themselves. None of them is put right by us: what an agent left is evidence, and
// what could be data is somebody's.
func checkLocks(root string, locks []fsnode.LockDump, now time.Time) []Finding {
	const check = "locks"
	counts := map[string]int{}
	kinds := map[string][]Finding{}
	for _, l := range locks {
		counts[l.State]++
		if f := checkLock(root, l, now.Sub(l.CreatedAt)); f != nil {
			kinds[l.State] = append(kinds[l.State], *f)
		}
	}
	findings := []Finding{ok(check, "%s", count(len(locks), counts))}
	for _, state := range keys(kinds) {
		findings = append(findings, some(check, kinds[state])...)
	}
	return findings
}

// checkLock is nil for a lock with which all is well.
func checkLock(root string, l fsnode.LockDump, age time.Duration) *Finding {
	const check = "locks"
	name := cli.Printable(filepath.Join(root, l.Path))
	var f Finding
	switch {
	case l.State == "untracked" && age > settling:
		f = warn(check, "if nobody uses it: rm "+name, "%s was not made through the mount, and keeps others out; verdict %s: %s",
			name, l.Verdict, cli.PrintableText(l.Reason))
	case l.State == "abandoned":
		f = warn(check, "look into it; if it is no data: rm "+name, "%s could be data, so it stays and keeps others out; it was made by %s, which is dead", name, owner(l))
	case l.State == "orphan" && age > lingering:
		f = warn(check, "start its agent again, which sees by it that it was cut off; or: sessionlockfs release "+name,
			"%s is left of %s, which took it %s ago and is dead; it keeps nobody out", name, owner(l), cli.Span(age))
	case l.State == "unknown_owner" && age > lingering:
		f = warn(check, "if whoever took it is gone: sessionlockfs release --force "+name,
			"%s was taken %s ago by a process that the kernel can't name to us: if that is dead, nobody learns of it", name, cli.Span(age))
	default:
		return nil
	}
	return &f
}

func owner(l fsnode.LockDump) string {
	if l.Owner == nil {
		return "a process that is not known"
	}
	return fmt.Sprintf("%s (PID %d)", cli.Printable(l.Owner.Comm), l.Owner.PID)
}

// count says how many locks there are of each kind: "3 locks: 2 held, 1 orphan".
func count(all int, counts map[string]int) string {
	if all == 0 {
		return "there are none"
	}
	var parts []string
	for _, state := range keys(counts) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[state], strings.ReplaceAll(state, "_", " ")))
	}
	return fmt.Sprintf("%d: %s", all, strings.Join(parts, ", "))
}

func keys[V any](m map[string]V) (sorted []string) {
	for k := range m {
		sorted = append(sorted, k)
	}
	slices.Sort(sorted)
	return sorted
}
