package integration

import (
	"strconv"
	"testing"
	"time"
)

const (
	idleHolders = 50
	idleLocks   = 20 // of each holder
	idleTime    = 10 * time.Second
)

// Nothing is polled: locks of living processes cost no processor time at all.
func TestIdle(t *testing.T) {
	t.Parallel() // what others do is not counted
	scenario{0, "idle with 1,000 held locks"}.once(t, func(r *run) {
		m := newMount(r)
		var holders []*helper
		for i := range idleHolders {
			holders = append(holders, startHelper(r, nil, "hold-many", m.path("idle-"+strconv.Itoa(i)+"-%d.jsonl.lock"), strconv.Itoa(idleLocks)))
		}
		for _, holder := range holders {
			holder.line(r)
		}
		if n := len(m.locks(r)); n != idleHolders*idleLocks {
			r.Fatalf("%d locks, want %d", n, idleHolders*idleLocks)
		}
		server, holder := m.processesOf(r)
		settle(r, server)
		before := processorTicks(r, server) + processorTicks(r, holder)
		time.Sleep(idleTime)
		used := processorTicks(r, server) + processorTicks(r, holder) - before
		r.note("%d ticks in %v", used, idleTime)
		if used != 0 {
			r.Errorf("server and holder used %d clock ticks in %v", used, idleTime)
		}
	})
}

// settle waits for what the last requests left to do, such as their RELEASE, which comes late.
func settle(t testing.TB, pid int) {
	t.Helper()
	last, since := processorTicks(t, pid), time.Now()
	waitFor(t, "a quiet server", 30*time.Second, func() bool {
		if now := processorTicks(t, pid); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// processorTicks is utime + stime, fields 14 and 15 of /proc/PID/stat.
func processorTicks(t testing.TB, pid int) int {
	t.Helper()
	fields := statFields(pid)
	if len(fields) < 13 {
		t.Fatalf("no process %d", pid)
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return user + system
}
