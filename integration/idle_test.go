package integration

import (
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	idleHolders = 50
	idleLocks   = 20 // of each holder
	idleTime    = 10 * time.Second
)

// Nothing is polled: locks of living processes cost less processor time than a clock tick.
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
		before := processorTime(r, server) + processorTime(r, holder)
		time.Sleep(idleTime)
		used := processorTime(r, server) + processorTime(r, holder) - before
		r.note("%v in %v", used.Round(10*time.Microsecond), idleTime)
		if used >= tick {
			r.Errorf("server and holder used the processor for %v in %v", used, idleTime)
		}
	})
}

// tick is what processor time is told in elsewhere (USER_HZ). A count of them goes up by one wherever it happens to stand before one.
const tick = 10 * time.Millisecond

// settle waits for what the last requests left to do, such as their RELEASE, which comes late.
func settle(t testing.TB, pid int) {
	t.Helper()
	last, since := processorTime(t, pid), time.Now()
	waitFor(t, "a quiet server", 30*time.Second, func() bool {
		if now := processorTime(t, pid); now-last >= tick/10 {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// processorTime is what all threads of a process used, by its clock (clock_getcpuclockid(3)).
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		t.Fatalf("the clock of process %d: %v", pid, err)
	}
	return time.Duration(used.Nano())
}
