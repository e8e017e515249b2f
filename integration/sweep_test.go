package integration

import (
	"slices"
	"testing"
	"time"
)

func TestScenario16_StartSweepInASecondContainer(t *testing.T) {
	scenario{16, "start sweep in a second container"}.each(t, func(r *run) {
		m := newMount(r)
		all := r.clients(m, inContainer, inContainer, inContainer)
		live, dead, sweeper := all[0], all[1], all[2]
		held := live.must(r, "acquire", ask(m, longWait, hasty, inSession(m, "live.jsonl")))
		dead.must(r, "acquire", ask(m, longWait, inSession(m, "dead.jsonl")))
		before := m.stateBelow(r, "live.jsonl.lock")
		dead.kill(r)
		m.waitOrphan(r, "dead.jsonl.lock")

		swept := sweeper.must(r, "sweep", args{"dir": m.dir, "staleMs": 1})
		if !slices.Equal(swept.Cleaned, []string{"dead.jsonl.lock"}) || len(swept.Warnings) != 1 {
			r.Errorf("swept %v, warnings %v, want dead.jsonl.lock", swept.Cleaned, swept.Warnings)
		}
		if m.exists("dead.jsonl.lock") {
			r.Errorf("the dead client's lock is still there")
		}
		m.mustBeUnchanged(r, "live.jsonl.lock", before, "the sweep")
		m.mustBeHeldBy(r, "live.jsonl.lock", live.pid)
		live.must(r, "release", args{"lock": held.Lock})
	})
}

// An orphan is evidence: the sweep of a new container must find it, call it stale and remove it, or the turn that was
// aborted is never resumed. 2026.7.1 is the release that resumes.
func TestScenario28_SweepFindsTheOrphan(t *testing.T) {
	for _, where := range []struct {
		title string
		dead  place
	}{
		{"start sweep finds an orphan, its PID lives there", inContainer},
		{"start sweep finds an orphan, its PID is nobody there", onHost},
	} {
		t.Run(where.title, func(t *testing.T) {
			scenario{28, where.title}.each(t, func(r *run) {
				if r.version != "2026.7.1" {
					r.note("resumes nothing")
					return
				}
				m := newMount(r)
				holder := r.clients(m, where.dead)[0]
				holder.must(r, "acquire", ask(m, longWait))
				holder.kill(r)
				m.waitOrphan(r, sessionLock)
				sweeper := r.clients(m, inContainer)[0]
				if here := sweeper.nsPID == holder.nsPID; here != (where.dead == inContainer) {
					r.Fatalf("the holder was PID %d, the sweeper is PID %d", holder.nsPID, sweeper.nsPID)
				}
				swept := sweeper.must(r, "sweep", args{"dir": m.dir})
				if !slices.Equal(swept.Cleaned, []string{sessionLock}) {
					r.Errorf("found %v, cleaned %v, want %s", swept.Locks, swept.Cleaned, sessionLock)
				}
				if m.exists(sessionLock) {
					r.Errorf("%s is there after the sweep", sessionLock)
				}
				mustWinAtOnce(r, "the new container", sweeper.do(r, "acquire", ask(m, longWait)))
			})
		})
	}
}

// The contender's own flow is: look, judge, remove. The name is granted to somebody else before the last step.
func TestScenario32_GrantedBetweenLookAndRemoval(t *testing.T) {
	scenario{32, "granted between a contender's look and removal"}.eachVersion(t, func(r *run) {
		m := newMount(r)
		all := r.clients(m, onHost, inContainer, onHost)
		holder, contender, next := all[0], all[1], all[2]
		path := args{"path": m.path(sessionLock)}
		holder.writeLock(r, m.path(sessionLock), payload(holder.nsPID, time.Now()))
		holder.kill(r)
		m.waitOrphan(r, sessionLock)
		contender.must(r, "readFile", path)

		next.must(r, "acquire", ask(m, longWait))
		before := m.stateBelow(r, sessionLock)
		mustFail(r, "the removal of what is gone", contender.do(r, "unlink", path), "ENOENT")
		m.mustBeUnchanged(r, sessionLock, before, "the contender's removal")
		m.mustBeHeldBy(r, sessionLock, next.pid)

		// It has seen the new lock now.
		mustTimeOut(r, "the contender", contender.do(r, "acquire", ask(m, shortWait)), shortWait)
		mustFail(r, "the removal of a live lock", contender.do(r, "unlink", path), "EBUSY")
		m.mustBeUnchanged(r, sessionLock, before, "the contender's waiting")
	})
}
