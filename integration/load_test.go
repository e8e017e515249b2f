package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// How long and how often: the numbers that are asked for are -kills 200 and -upgrades 50.
var (
	kills    = flag.Int("kills", 25, "how many servers TestServerKills kills")
	upgrades = flag.Int("upgrades", 8, "how many times TestUpgrades upgrades")
)

const loaders = 16

// load has processes work in a directory while disturb runs, and gives their calls that took long.
func load(r *run, dir string, disturb func()) (stalls []stall, calls int) {
	r.Helper()
	var all []*helper
	for i := range loaders {
		all = append(all, startHelper(r, nil, "load", dir, fmt.Sprint(i)))
	}
	for _, h := range all {
		h.lineWithin(r, time.Minute)
	}
	disturb()
	for _, h := range all {
		h.stdin.Close()
	}
	for i, h := range all {
		var done loadDone
		if err := json.Unmarshal([]byte(h.lineWithin(r, time.Minute)), &done); err != nil {
			r.Errorf("worker %d: %v", i, err)
		}
		stalls, calls = append(stalls, done.Stalls...), calls+done.Calls
	}
	return stalls, calls
}

// The load itself is right: nothing fails on a plain directory, nor when nobody disturbs it.
func TestLoadUndisturbed(t *testing.T) {
	scenario{0, "mixed load of 16 processes, undisturbed"}.once(t, func(r *run) {
		_, bare := load(r, r.TempDir(), func() { time.Sleep(time.Second) })
		m := newMount(r)
		_, calls := load(r, m.dir, func() { time.Sleep(2 * time.Second) })
		r.note("%d calls in 2 s (%d in 1 s on the bare directory)", calls, bare)
	})
}

// longestStall is what a client may at most notice of a takeover, in 99 of 100.
const longestStall = 250 * time.Millisecond

const betweenKills = 300 * time.Millisecond

func TestServerKills(t *testing.T) {
	scenario{22, "mixed load of 16 processes, servers killed"}.once(t, func(r *run) {
		m := newMount(r, lasting(testDeadline+time.Duration(*kills)*5*betweenKills))
		before := m.metrics(r)
		disturbed(r, m, *kills, func() { m.killServer(r) })
		mustKeepNothing(r, m, before)
	})
}

// settled is more than whoever was answered by a server may take to make something of it (fsnode/recount.go).
const settled = 6 * time.Second

// mustKeepNothing removes everything, and waits until the server has no more in use than before: FORGETs that servers died with are lost, which
// the next server finds out of what was given to the kernel long enough ago.
func mustKeepNothing(r *run, m *mount, before map[string]float64) {
	r.Helper()
	shell(r, m.dir, "rm -rf *")
	time.Sleep(settled)
	m.killServer(r)
	var after map[string]float64
	enough := func(name string) bool { return after[name] <= before[name]+inUse[name] }
	waitFor(r, "inodes, handles and descriptors are given back", waitDeadline, func() bool {
		after = m.metrics(r)
		return enough("sessionlockfs_inodes") && enough("sessionlockfs_handles") && enough("process_open_fds")
	})
}

func TestUpgrades(t *testing.T) {
	scenario{0, "mixed load of 16 processes, upgrades in place"}.once(t, func(r *run) {
		m := newMount(r, lasting(testDeadline+time.Duration(*upgrades)*5*betweenKills))
		disturbed(r, m, *upgrades, func() {
			if out, err := m.command(suite.binary, "upgrade", m.dir).CombinedOutput(); err != nil {
				r.Errorf("upgrade: %v\n%s", err, out)
			}
		})
	})
}

// disturbed measures the longest stall in any process after each time.
func disturbed(r *run, m *mount, times int, disturb func()) {
	r.Helper()
	var at []time.Time
	stalls, calls := load(r, m.dir, func() {
		for range times {
			time.Sleep(betweenKills)
			at = append(at, time.Now())
			disturb()
		}
		time.Sleep(betweenKills)
	})
	longest := make([]time.Duration, len(at))
	for _, s := range stalls {
		for i, moment := range at {
			if s.Began.Before(moment.Add(betweenKills)) && s.Began.Add(s.Took).After(moment) {
				longest[i] = max(longest[i], s.Took)
			}
		}
	}
	slices.Sort(longest)
	p99 := longest[len(longest)*99/100]
	r.note("%d calls, %d times, longest stall of any process: p50 %v, p99 %v, max %v", calls, times,
		longest[len(longest)/2].Round(time.Millisecond), p99.Round(time.Millisecond), longest[len(longest)-1].Round(time.Millisecond))
	if p99 > longestStall {
		r.Errorf("stalls of %v, want %v in 99 of 100", p99, longestStall)
	}
}

// Memory of server and holder stays what it is, however many locks come and go.
func TestMemoryIsFlat(t *testing.T) {
	t.Parallel()
	scenario{0, "memory after many lock cycles"}.once(t, func(r *run) {
		m := newMount(r, lasting(testDeadline+time.Duration(*operations)*time.Millisecond))
		path := m.path("x.jsonl.lock")
		cycle := func(n int) {
			for range n {
				if err := takeAndRelease(path); err != nil {
					r.Fatal(err)
				}
			}
		}
		count := *operations / 3
		cycle(count / 10)
		server, holder := m.processesOf(r)
		before := [2]int{residentKiB(r, server), residentKiB(r, holder)}
		cycle(count)
		after := [2]int{residentKiB(r, server), residentKiB(r, holder)}
		r.note("%d cycles: server %d -> %d KiB, holder %d -> %d KiB", count, before[0], after[0], before[1], after[1])
		for i, name := range []string{"server", "holder"} {
			if after[i] > before[i]*5/4+4096 { // the runtime's own ups and downs
				r.Errorf("the %s's memory grew from %d to %d KiB", name, before[i], after[i])
			}
		}
	})
}

// residentKiB is the memory of a process that no other one shares (Private in smaps_rollup).
func residentKiB(t testing.TB, pid int) (total int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var size int
		if name, rest, _ := strings.Cut(line, ":"); strings.HasPrefix(name, "Private_") {
			fmt.Sscan(rest, &size)
			total += size
		}
	}
	return total
}
