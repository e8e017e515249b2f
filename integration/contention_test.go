package integration

import (
	"syscall"
	"testing"
	"time"
)

func TestScenario01_TwoContainersContend(t *testing.T) {
	scenario{1, "two containers, both PID 1, contend"}.each(t, func(r *run) {
		m := newMount(r)
		both := r.clients(m, inContainer, inContainer)
		a, b := both[0], both[1]
		if a.nsPID != 1 || b.nsPID != 1 {
			r.Fatalf("clients are PID %d and %d, want 1", a.nsPID, b.nsPID)
		}
		held := a.must(r, "acquire", ask(m, longWait))
		before := m.stateBelow(r, sessionLock)
		mustTimeOut(r, "B", b.do(r, "acquire", ask(m, shortWait)), shortWait)
		m.mustBeUnchanged(r, sessionLock, before, "B's attempt")
		m.mustBeHeldBy(r, sessionLock, a.pid)

		waiting := b.begin(r, "acquire", ask(m, longWait))
		m.waitContender(r, sessionLock, b.pid)
		asked := time.Now()
		a.must(r, "release", args{"lock": held.Lock})
		free := time.Now()
		mustWinSoon(r, "B", waiting.wait(r), asked, free)
		m.mustBeHeldBy(r, sessionLock, b.pid)
	})
}

func TestScenario02_ContainerOfHolderKilled(t *testing.T) {
	scenario{2, "the holder's container is killed"}.each(t, func(r *run) {
		m := newMount(r)
		both := r.clients(m, inContainer, inContainer)
		a, b := both[0], both[1]
		a.must(r, "acquire", ask(m, longWait))
		waiting := b.begin(r, "acquire", ask(m, longWait))
		m.waitContender(r, sessionLock, b.pid)
		m.mustBeHeldBy(r, sessionLock, a.pid)

		killed := a.kill(r)
		a.waitDead(r)
		free := time.Now()
		mustWinSoon(r, "B", waiting.wait(r), killed, free)
		m.mustBeHeldBy(r, sessionLock, b.pid)
	})
}

func TestScenario03_ContainerRestartsAsPIDOne(t *testing.T) {
	scenario{3, "the container restarts, again PID 1"}.each(t, func(r *run) {
		const legacy = "legacy.jsonl"
		m := newMount(r)
		first := r.clients(m, inContainer)[0]
		first.must(r, "acquire", ask(m, longWait))
		first.writeLock(r, m.path(legacy+".lock"), payload(first.nsPID, time.Now()))
		first.kill(r)
		first.waitDead(r)

		second := r.clients(m, inContainer)[0]
		if second.nsPID != first.nsPID {
			r.Fatalf("the new client is PID %d, want %d", second.nsPID, first.nsPID)
		}
		same := second.do(r, "acquire", ask(m, longWait))
		mustWinAtOnce(r, "the new container", same)
		mustWinAtOnce(r, "the new container, of a legacy payload", second.do(r, "acquire", ask(m, longWait, inSession(m, legacy))))
		m.mustBeHeldBy(r, sessionLock, second.pid)
		r.note("%.0f ms", same.MS)
	})
}

func TestScenario06_KilledBetweenCreateAndPayload(t *testing.T) {
	scenario{6, "killed between create and payload"}.each(t, func(r *run) {
		m := newMount(r)
		both := r.clients(m, inContainer, inContainer)
		a, b := both[0], both[1]
		a.must(r, "open", args{"path": m.path(sessionLock), "flags": "wx"})
		a.kill(r)
		a.waitDead(r)

		won := b.do(r, "acquire", ask(m, longWait))
		mustWinAtOnce(r, "B", won)
		m.mustBeHeldBy(r, sessionLock, b.pid)
		r.note("%.0f ms", won.MS)
	})
}

// What the holder of an empty lock may set, its file times, must not make it look like a leftover.
func TestScenario07_EmptyLockWithOldTimes(t *testing.T) {
	scenario{7, "live holder, zero bytes, times of last year"}.each(t, func(r *run) {
		m := newMount(r)
		both := r.clients(m, inContainer, inContainer)
		a, b := both[0], both[1]
		made := a.must(r, "open", args{"path": m.path(sessionLock), "flags": "wx"})
		a.must(r, "utimes", args{"path": m.path(sessionLock), "seconds": time.Now().AddDate(-1, 0, 0).Unix()})
		before := m.stateBelow(r, sessionLock)
		mustTimeOut(r, "B", b.do(r, "acquire", ask(m, shortWait, hasty)), shortWait)
		m.mustBeUnchanged(r, sessionLock, before, "B's attempt")
		m.mustBeHeldBy(r, sessionLock, a.pid)
		a.must(r, "close", args{"handle": made.Handle})
		a.must(r, "unlink", args{"path": m.path(sessionLock)})
		mustWinAtOnce(r, "B", b.do(r, "acquire", ask(m, longWait)))
	})
}

// The holder of scenarios 10 and 11 looks stale by every limit a client knows. What makes the time pass is the
// contenders' own wait.
var hasty = args{"staleMs": 500, "maxHoldMs": 600}

func TestScenario10_HolderStopped(t *testing.T) {
	scenario{10, "the holder is stopped (SIGSTOP)"}.each(t, func(r *run) {
		m := newMount(r)
		both := r.clients(m, inContainer, inContainer)
		a, b := both[0], both[1]
		held := a.must(r, "acquire", ask(m, longWait, hasty))
		before := m.stateBelow(r, sessionLock)
		a.signal(r, syscall.SIGSTOP)
		a.waitState(r, "T")
		mustTimeOut(r, "B", b.do(r, "acquire", ask(m, shortWait, hasty)), shortWait)
		m.mustBeUnchanged(r, sessionLock, before, "B's attempt")

		a.signal(r, syscall.SIGCONT)
		m.mustBeHeldBy(r, sessionLock, a.pid)
		a.must(r, "release", args{"lock": held.Lock})
		mustWinAtOnce(r, "B", b.do(r, "acquire", ask(m, longWait)))
	})
}

func TestScenario11_HeldLongerThanAllowed(t *testing.T) {
	scenario{11, "held longer than staleMs and maxHoldMs"}.each(t, func(r *run) {
		m := newMount(r)
		all := r.clients(m, inContainer, inContainer, onHost)
		a, b, c := all[0], all[1], all[2]
		held := a.must(r, "acquire", ask(m, longWait, hasty))
		before := m.stateBelow(r, sessionLock)
		inContainer := b.begin(r, "acquire", ask(m, shortWait, hasty))
		onHost := c.begin(r, "acquire", ask(m, shortWait, hasty))
		mustTimeOut(r, "the container", inContainer.wait(r), shortWait)
		mustTimeOut(r, "the process on the host", onHost.wait(r), shortWait)
		m.mustBeUnchanged(r, sessionLock, before, "the attempts")
		m.mustBeHeldBy(r, sessionLock, a.pid)
		a.must(r, "release", args{"lock": held.Lock})
		mustWinAtOnce(r, "B", b.do(r, "acquire", ask(m, longWait)))
	})
}
