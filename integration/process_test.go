package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// A second call in the holder's process must not get what the first holds, whatever it takes it for.
func TestScenario12_SecondCallerInTheSameProcess(t *testing.T) {
	scenario{12, "a second caller in the holder's process"}.each(t, func(r *run) {
		m := newMount(r)
		both := startClients(r, m, clientSpec{where: onHost, version: r.version, gateway: r.gateway, noStartTime: true}, r.spec(onHost))
		twiceAtOnce(r, m, both[0])
		for i, kind := range []string{"without-start-time", "with-start-time"} {
			both[i].place(r, "worker", args{"name": "thread"})
			mistakenForALeftover(r, m, both[i], kind+"-doubled.jsonl", args{"instance": "2"})
			mistakenForALeftover(r, m, both[i], kind+"-thread.jsonl", on("thread"))
		}
	})
}

// Without a start time in the payload, a caller that comes between the other's write and its own table entry takes the
// lock for its own leftover. That is a matter of luck, hence many at once.
func twiceAtOnce(r *run, m *mount, c *client) {
	r.Helper()
	type pair struct {
		name     string
		one, two *pendingReply
	}
	var pairs []pair
	for i := range 20 {
		p := pair{name: fmt.Sprintf("twice-%d.jsonl", i)}
		p.one = c.begin(r, "acquire", ask(m, shortWait, inSession(m, p.name)))
		p.two = c.begin(r, "acquire", ask(m, shortWait, inSession(m, p.name)))
		pairs = append(pairs, p)
	}
	for _, p := range pairs {
		winner, loser := p.one.wait(r), p.two.wait(r)
		if loser.OK {
			winner, loser = loser, winner
		}
		if loser.OK {
			r.Fatalf("%s: both calls got the lock", p.name)
		}
		mustWin(r, p.name+": the first call", winner)
		m.mustBeHeldBy(r, p.name+".lock", c.pid)
		c.must(r, "release", args{"lock": winner.Lock})
		mustWinAtOnce(r, p.name+": a call after the release", c.do(r, "acquire", ask(m, longWait, inSession(m, p.name))))
	}
}

func mistakenForALeftover(r *run, m *mount, c *client, name string, second args) {
	r.Helper()
	lock := name + ".lock"
	held := c.must(r, "acquire", ask(m, longWait, inSession(m, name)))
	before := m.stateBelow(r, lock)
	if rep := c.do(r, "acquire", ask(m, shortWait/2, inSession(m, name), second)); rep.OK {
		r.Errorf("%s: the second caller got the lock after %.0f ms", name, rep.MS)
	}
	m.mustBeUnchanged(r, lock, before, "the second caller")
	m.mustBeHeldBy(r, lock, c.pid)
	c.must(r, "release", args{"lock": held.Lock})
	// A lock that a second caller wanted removed goes when its handle closes: nobody sees it any more from then on, and
	// the unlink through the mount follows.
	if _, err := os.Lstat(m.path(lock)); !os.IsNotExist(err) {
		r.Errorf("%s is there after its release: %v", lock, err)
	}
	waitFor(r, lock+" goes", waitDeadline, func() bool { return !m.exists(lock) })
	if m.lock(r, lock).State != "" {
		r.Errorf("%s is known after its release", lock)
	}
}

// 2026.3.1 does not know that a lock may be its own leftover and waits, as it does on a plain directory.
func TestScenario13_OwnLegacyLockWithClosedHandle(t *testing.T) {
	scenario{13, "own legacy lock, handle closed"}.each(t, func(r *run) {
		m := newMount(r)
		c := r.clients(m, onHost)[0]
		made := c.writeLock(r, m.path(sessionLock), payload(c.nsPID, time.Now()))
		c.must(r, "close", args{"handle": made.Handle})
		rep := c.do(r, "acquire", ask(m, shortWait))
		if r.version == "2026.3.1" {
			mustTimeOut(r, "the process", rep, shortWait)
			r.note("waits")
			return
		}
		mustWinAtTry(r, "the process", rep, 2)
		m.mustBeHeldBy(r, sessionLock, c.pid)
		r.note("%.0f ms", rep.MS)
	})
}

// windUp is how long after the declared hold limit a process counts as one that may still know what it holds.
const windUp = 120 * time.Second

// What is left of a process that lost its table is the lock on disk and the handle. Releases that know their own
// leftovers try to remove it, which must be refused as long as the first caller in the process may be there. A refusal ends
// their call, so they ask again and again, as the agent's next turns would.
func TestScenario29_ProcessLostItsTable(t *testing.T) {
	scenario{29, "the process lost its table, the handle leaked"}.eachVersion(t, func(r *run) {
		m := newMount(r)
		c := r.clients(m, onHost)[0]
		const declared = time.Second
		made := time.Now()
		c.writeLock(r, m.path(sessionLock), leftover(c.nsPID, declared))
		before := m.stateBelow(r, sessionLock)
		won := func() bool { return c.do(r, "acquire", ask(m, shortWait)).OK }
		for time.Since(made) < declared+windUp-shortWait*time.Millisecond {
			if won() {
				r.Fatalf("got the lock after %v, want %v at least", time.Since(made), declared+windUp)
			}
			m.mustBeUnchanged(r, sessionLock, before, "the second caller")
			time.Sleep(time.Second) // the agent's own pause; nothing is waited for
		}
		time.Sleep(time.Until(made.Add(declared + windUp)))
		if r.version == "2026.3.1" { // which does not know that a lock may be its own leftover
			mustTimeOut(r, "the process", c.do(r, "acquire", ask(m, shortWait)), shortWait)
			r.note("waits")
			return
		}
		waitFor(r, "the process takes its leftover over", replyDeadline, won)
		m.mustBeHeldBy(r, sessionLock, c.pid)
		r.note("%d s", int(time.Since(made).Seconds()))
	})
}

// leftover is a payload that says how long its maker means to hold, and not when that started: with the right start time
// 2026.3.2 takes it for a living process's, also if that is itself.
func leftover(pid int, maxHold time.Duration) string {
	return strings.TrimSuffix(payload(pid, time.Now()), "\n}") + fmt.Sprintf(",\n  \"maxHoldMs\": %d\n}\n", maxHold.Milliseconds())
}

func TestScenario14_ChildOfTheHolderAsks(t *testing.T) {
	scenario{14, "a child of the holder asks"}.each(t, func(r *run) {
		m := newMount(r)
		c := r.clients(m, onHost)[0]
		held := c.must(r, "acquire", ask(m, longWait))
		before := m.stateBelow(r, sessionLock)
		c.place(r, "fork", args{"name": "forked"})
		c.place(r, "fork", args{"name": "spawned", "how": "spawn"})
		forked := c.begin(r, "acquire", ask(m, shortWait, on("forked")))
		spawned := c.begin(r, "acquire", ask(m, shortWait, on("spawned")))
		mustTimeOut(r, "the forked child", forked.wait(r), shortWait)
		mustTimeOut(r, "the spawned child", spawned.wait(r), shortWait)
		m.mustBeUnchanged(r, sessionLock, before, "the children's attempts")
		m.mustBeHeldBy(r, sessionLock, c.pid)
		c.must(r, "release", args{"lock": held.Lock})
		mustWinAtOnce(r, "the forked child", c.do(r, "acquire", ask(m, longWait, on("forked"))))
	})
}

func TestScenario30_AgentsOwnShell(t *testing.T) {
	scenario{30, "the holder's own bash -c 'rm -f'"}.eachVersion(t, func(r *run) {
		m := newMount(r)
		c := r.clients(m, onHost)[0]
		held := c.must(r, "acquire", ask(m, longWait))
		before := m.stateBelow(r, sessionLock)
		remove := "rm -f '" + m.path(sessionLock) + "'"
		// bash becomes the only command it is given; with a second one, rm is a child of the shell.
		for _, script := range []string{remove, remove + " || exit 7"} {
			rep := c.must(r, "bash", args{"script": script})
			if rep.Status == 0 || !strings.Contains(rep.Stderr, "busy") {
				r.Errorf("%s: status %d, %q", script, rep.Status, rep.Stderr)
			}
			m.mustBeUnchanged(r, sessionLock, before, script)
		}
		c.must(r, "release", args{"lock": held.Lock})
		if m.exists(sessionLock) {
			r.Errorf("the lock is there after its release")
		}
	})
}
