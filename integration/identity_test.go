package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
		a.waitDead(r)
		free := time.Now()
		mustWinSoon(r, "B", waiting.wait(r), killed, free)
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
		a.waitDead(r)

		won := b.do(r, "acquire", ask(m, longWait))
		mustWinAtOnce(r, "B", won)
		if processState(a.pid) != 'Z' {
			r.Errorf("process %s is no zombie any more", strconv.Itoa(a.pid))
		}
		m.mustBeHeldBy(r, sessionLock, b.pid)
		r.note("%.0f ms", won.MS)
	})
}

// Scripts' locks from before the mount say nothing but a PID, and nobody has them open: who bears the PID holds it, if it
// was there when the lock was made.
func TestBarePIDsFromBeforeTheMount(t *testing.T) {
	old, young := startSleep(t), startSleep(t)
	const nobodys = 1<<22 + 7 // above every PID (PID_MAX_LIMIT)
	made := time.Now().Add(-10 * time.Minute)
	leave := func(dir, name, text string) {
		writeFile(t, filepath.Join(dir, name), text)
		if err := os.Chtimes(filepath.Join(dir, name), made, made); err != nil {
			t.Fatal(err)
		}
	}
	m := newMount(t, withContent(func(dir string) {
		leave(dir, "alive.lock", strconv.Itoa(old)+"\n")
		leave(dir, "dead.lock", strconv.Itoa(nobodys)+"\n")
		leave(dir, "json.lock", fmt.Sprintf("{\"pid\":%d,\"startedAt\":%q}", young, made.Format(time.RFC3339)))
		leave(dir, "dead-json.lock", fmt.Sprintf("{\"pid\":%d}", nobodys))
		leave(dir, "data.lock", "version: 1\n")
		leave(dir, "empty.lock", "")
		if err := os.Symlink(strconv.Itoa(old), filepath.Join(dir, "link.lock")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "dir.lock"), 0o777); err != nil {
			t.Fatal(err)
		}
	}), withFlags("--grace=0s"))
	for name, pid := range map[string]int{"alive.lock": old, "json.lock": young, "link.lock": old} {
		waitFor(t, name+" is held", waitDeadline, func() bool { return m.lock(t, name).State == "held" })
		m.mustBeHeldBy(t, name, pid)
		if _, err := createExclusively(m.path(name)); !os.IsExist(err) {
			t.Errorf("creating %s: %v", name, err)
		}
	}
	for _, name := range []string{"dead.lock", "dead-json.lock"} {
		waitFor(t, name+" goes", waitDeadline, func() bool { return !m.exists(name) })
	}
	for name, reason := range map[string]string{"data.lock": "could be data", "empty.lock": "empty", "dir.lock": "directory"} {
		if l := m.lock(t, name); l.State != "untracked" || l.Verdict != "unknown" || !strings.Contains(l.Reason, reason) {
			t.Errorf("%s: %s, %s: %q", name, l.State, l.Verdict, l.Reason)
		}
	}
}
