package integration

import (
	"testing"
	"time"
)

// Locks of packages from npm, with the real code: two processes in containers and one on the host.
func packageClients(r *run, m *mount, where ...place) []*client {
	r.Helper()
	var specs []clientSpec
	for _, place := range where {
		specs = append(specs, clientSpec{where: place, packages: true})
	}
	return startClients(r, m, specs...)
}

const target = "state.json"

// properLock is a call with the shortest time after which proper-lockfile calls a lock stale, and no retries.
func properLock(m *mount) args {
	return args{"path": m.path(target), "staleMs": 5000, "updateMs": 1000, "retries": 0}
}

func mustNotBeCompromised(r *run, c *client) {
	r.Helper()
	if lost := c.must(r, "compromised", nil).Warnings; len(lost) > 0 {
		r.Errorf("the holder takes its lock for lost: %q", lost)
	}
}

// properHold is longer than the three times after which others call a lock stale that nobody touches.
const properHold = 30 * time.Second

func TestScenario18_ProperLockfile(t *testing.T) {
	t.Parallel()
	scenario{18, "proper-lockfile: 30 s, then killed"}.once(t, func(r *run) {
		m := newMount(r)
		writeFile(r, m.path(target), "{}")
		all := packageClients(r, m, inContainer, inContainer, onHost)
		holder, contenders := all[0], all[1:]
		held := holder.must(r, "properLock", properLock(m))
		for end := time.Now().Add(properHold); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
			for _, c := range contenders {
				if rep := c.do(r, "properLock", properLock(m)); rep.OK || rep.Code != "ELOCKED" {
					r.Fatalf("a contender while it is held: %v", rep)
				}
			}
		}
		mustNotBeCompromised(r, holder)
		m.mustBeHeldBy(r, target+".lock", holder.pid)
		holder.must(r, "release", args{"lock": held.Lock})

		contenders[0].must(r, "properLock", properLock(m))
		killed := contenders[0].kill(r)
		contenders[0].waitDead(r)
		mustWin(r, "somebody", contenders[1].do(r, "properLock", properLock(m)))
		m.mustBeHeldBy(r, target+".lock", contenders[1].pid)
		r.note("%d ms", time.Since(killed).Milliseconds())
	})
}

func TestFsSafe(t *testing.T) {
	t.Parallel()
	scenario{0, "@openclaw/fs-safe: held past stale, then killed"}.once(t, func(r *run) {
		m := newMount(r)
		writeFile(r, m.path(target), "{}")
		all := packageClients(r, m, inContainer, inContainer, onHost)
		holder, contenders := all[0], all[1:]
		lock := func(timeoutMs int) args { return args{"path": m.path(target), "staleMs": 200, "timeoutMs": timeoutMs} }
		held := holder.must(r, "safeLock", lock(longWait))
		for range 2 {
			for _, c := range contenders {
				if rep := c.do(r, "safeLock", lock(1000)); rep.OK || rep.MS < 900 {
					r.Fatalf("a contender while it is held: %v", rep)
				}
			}
		}
		if !holder.must(r, "stillHeld", args{"lock": held.Lock}).Held {
			r.Errorf("the holder takes its lock for lost")
		}
		mustNotBeCompromised(r, holder)
		holder.must(r, "release", args{"lock": held.Lock})
		contenders[0].must(r, "safeLock", lock(longWait))
		waiting := contenders[1].begin(r, "safeLock", lock(longWait))
		killed := contenders[0].kill(r)
		contenders[0].waitDead(r)
		free := time.Now()
		mustWinSoon(r, "the other", waiting.wait(r), killed, free)
		m.mustBeHeldBy(r, target+".lock", contenders[1].pid)
	})
}
