package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestScenario04_LegacyLockOfARecycledPID(t *testing.T) {
	scenario{4, "legacy payload, its PID is an unrelated process"}.each(t, func(r *run) {
		unrelated := startSleep(r)
		m := newMount(r, withContent(func(dir string) { writeLegacyLock(r, dir, unrelated) }))
		c := r.clients(m, onHost)[0]
		won := c.do(r, "acquire", ask(m, longWait))
		mustWin(r, "the contender", won)
		m.mustBeHeldBy(r, sessionLock, c.pid)
		r.note("%.0f ms", won.MS)
	})
}

// writeLegacyLock leaves a lock behind that is older than the process whose PID it names, but not so old that clients
// would judge by its age.
func writeLegacyLock(t testing.TB, dir string, pid int) {
	t.Helper()
	path := filepath.Join(dir, sessionLock)
	made := time.Now().Add(-10 * time.Minute)
	writeFile(t, path, payload(pid, made))
	if err := os.Chtimes(path, made, made); err != nil {
		t.Fatal(err)
	}
}

func startSleep(t testing.TB) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

// As scenario 4 for whoever judges by PIDs alone: the holder is PID 1 of a container, as is a process on the host. It made
// its lock before the mount and keeps it open.
func TestScenario05_LegacyLockOfALivingHolder(t *testing.T) {
	scenario{5, "legacy payload, the holder lives in a container"}.each(t, func(r *run) {
		var a *client
		m := newMount(r, before(func(m *mount) {
			a = r.clients(m, inContainer)[0]
			a.writeLock(r, m.path(sessionLock), payload(a.nsPID, time.Now()))
		}))
		b := r.clients(m, onHost)[0]
		before := m.stateBelow(r, sessionLock)
		mustTimeOut(r, "B", b.do(r, "acquire", ask(m, shortWait)), shortWait)
		m.mustBeUnchanged(r, sessionLock, before, "B's attempt")
		m.mustBeHeldBy(r, sessionLock, a.pid)

		waiting := b.begin(r, "acquire", ask(m, longWait))
		m.waitContender(r, sessionLock, b.pid)
		killed := a.kill(r)
		mustWinSoon(r, "B", waiting.wait(r), killed)
		m.mustBeHeldBy(r, sessionLock, b.pid)
	})
}

// One PID namespace; the driver that is PID 1 in it makes children, one of which gets the dead holder's PID.
func TestScenario08_RecycledPIDInOneNamespace(t *testing.T) {
	scenario{8, "PID recycled inside one PID namespace"}.each(t, func(r *run) {
		needRoot(r)
		const other = "other.jsonl"
		m := newMount(r)
		first := r.clients(m, inNamespace)[0]
		holder := first.place(r, "fork", args{"name": "holder"})
		first.must(r, "acquire", ask(m, longWait, on("holder")))
		first.must(r, "acquire", ask(m, longWait, on("holder"), inSession(m, other)))
		first.must(r, "kill", args{"name": "holder"})

		first.place(r, "fork", args{"name": "recycled", "pid": holder.PID})
		won := first.do(r, "acquire", ask(m, longWait))
		mustWinAtOnce(r, "another process", won)
		mustWinAtOnce(r, "the process with the holder's PID", first.do(r, "acquire", ask(m, longWait, on("recycled"), inSession(m, other))))
		m.mustBeHeldBy(r, sessionLock, first.pid)
		r.note("%.0f ms", won.MS)
	})
}

func TestScenario09_HolderIsAZombie(t *testing.T) {
	scenario{9, "the holder is a zombie"}.each(t, func(r *run) {
		m := newMount(r)
		both := r.clients(m, unreaped, onHost)
		a, b := both[0], both[1]
		a.must(r, "acquire", ask(m, longWait))
		m.mustBeHeldBy(r, sessionLock, a.pid)
		a.kill(r)
		a.waitState(r, "Z")

		won := b.do(r, "acquire", ask(m, longWait))
		mustWinAtOnce(r, "B", won)
		if processState(a.pid) != 'Z' {
			r.Errorf("process %s is no zombie any more", strconv.Itoa(a.pid))
		}
		m.mustBeHeldBy(r, sessionLock, b.pid)
		r.note("%.0f ms", won.MS)
	})
}
