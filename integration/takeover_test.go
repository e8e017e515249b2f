package integration

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// processesOf are the PIDs of the server and of the holder of a mount.
func (m *mount) processesOf(t testing.TB) (server, holder int) {
	t.Helper()
	mount := m.dump(t).Mount
	return mount.PID, mount.HolderPID
}

// killServer ends the server, and returns when another one serves.
func (m *mount) killServer(t testing.TB) {
	t.Helper()
	before, _ := m.processesOf(t)
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.waitSuccessor(t, before)
}

// waitSuccessor waits until another server says that it serves. What the one before said when a file was opened may be read
// until the file is closed.
func (m *mount) waitSuccessor(t testing.TB, before int) {
	t.Helper()
	waitFor(t, "another server", waitDeadline, func() bool {
		now, _ := m.processesOf(t)
		return now != before
	})
}

// killBoth leaves a dead mount.
func (m *mount) killBoth(t testing.TB) {
	t.Helper()
	server, holder := m.processesOf(t)
	syscall.Kill(holder, syscall.SIGKILL)
	syscall.Kill(server, syscall.SIGKILL)
	<-m.exited
	waitFor(t, "the mount is dead", waitDeadline, func() bool {
		var st unix.Stat_t
		return unix.Stat(m.path("."), &st) == unix.ENOTCONN
	})
}

// twoHolders make a lock each; the test ends the one meanwhile.
func (m *mount) twoHolders(t testing.TB) (living, dying *helper) {
	t.Helper()
	living = startHelper(t, nil, "hold-remove", m.path("live.jsonl.lock"))
	dying = startHelper(t, nil, "hold", m.path("dead.jsonl.lock"))
	living.line(t)
	dying.line(t)
	return living, dying
}

func mustNotBeFree(t testing.TB, path string) {
	t.Helper()
	if file, err := createExclusively(path); err == nil {
		file.Close()
		t.Errorf("%s was granted twice", path)
	} else if !errors.Is(err, unix.EEXIST) {
		t.Errorf("create %s: %v, want EEXIST", path, err)
	}
}

func TestScenario22_ServerKilled(t *testing.T) {
	scenario{22, "server killed"}.once(t, func(r *run) {
		m := newMount(r)
		living, dying := m.twoHolders(r)
		before := m.lock(r, "live.jsonl.lock")
		m.killServer(r)
		if after := m.lock(r, "live.jsonl.lock"); after.Token != before.Token || after.State != "held" || !after.HandleOpen {
			r.Errorf("after the takeover: %+v, before: %+v", after, before)
		}
		mustNotBeFree(r, m.path("live.jsonl.lock"))
		mustNotBeFree(r, m.path("dead.jsonl.lock"))
		if errno := removeAs(r, nil, m.path("live.jsonl.lock")); errno != unix.EBUSY {
			r.Errorf("a bystander removes it: %v", errno)
		}
		dying.kill()
		m.waitOrphan(r, "dead.jsonl.lock")
		mustGrantAnew(r, m, before)
		living.stdin.Close()
		waitFor(r, "the owner's release", waitDeadline, func() bool { return !m.exists("live.jsonl.lock") })
	})
}

// While nobody serves, the dead owner of one lock dies, too.
func TestScenario22_HolderAndServerKilled(t *testing.T) {
	scenario{22, "holder and server killed"}.once(t, func(r *run) {
		m := newMount(r)
		_, dying := m.twoHolders(r)
		before := m.lock(r, "live.jsonl.lock")
		m.killBoth(r)
		dying.kill()
		m.start(r)
		mustBeTakenOver(r, m, before)
	})
}

func mustBeTakenOver(t testing.TB, m *mount, before lockEntry) {
	t.Helper()
	if after := m.lock(t, "live.jsonl.lock"); after.Token != before.Token || after.State != "held" || after.Owner.PID != before.Owner.PID {
		t.Errorf("afterwards: %+v, before: %+v", after, before)
	}
	mustNotBeFree(t, m.path("live.jsonl.lock"))
	if state := m.lock(t, "dead.jsonl.lock").State; state != "orphan" {
		t.Errorf("the dead process's lock is %q", state)
	}
	mustGrantAnew(t, m, before)
}

// mustGrantAnew takes the dead process's lock over.
func mustGrantAnew(t testing.TB, m *mount, before lockEntry) {
	t.Helper()
	file, err := createExclusively(m.path("dead.jsonl.lock"))
	if err != nil {
		t.Fatalf("the dead process's lock: %v", err)
	}
	t.Cleanup(func() { file.Close() })
	if token := m.lock(t, "dead.jsonl.lock").Token; token <= before.Token+1 {
		t.Errorf("new token %d, not above %d", token, before.Token+1)
	}
}

func TestScenario21_StopAndStart(t *testing.T) {
	scenario{21, "mount stopped and started"}.once(t, func(r *run) {
		m := newMount(r)
		// A handle that is open in the mount would keep it from being unmounted.
		living := startHelper(r, nil, "make", m.path("live.jsonl.lock"))
		dying := startHelper(r, nil, "make", m.path("dead.jsonl.lock"))
		living.line(r)
		dying.line(r)
		before := m.lock(r, "live.jsonl.lock")
		m.stop(r)
		dying.kill()
		m.start(r)
		mustBeTakenOver(r, m, before)
		living.stdin.Close()
		waitFor(r, "the owner's release", waitDeadline, func() bool { return !m.exists("live.jsonl.lock") })
	})
}

// helpMake makes a lock as a client that does not keep it open, and removes it when its stdin ends.
func helpMake(arguments []string) error {
	file, err := makeLock(arguments[0])
	if err != nil {
		return err
	}
	file.Close()
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return releaseAtEnd(arguments[0])
}

func releaseAtEnd(path string) error {
	os.Stdout.WriteString("held\n")
	untilStdinEnds()
	return syscall.Unlink(path)
}

const recordAttribute = "trusted.slfs"

// rewriteRecord changes a lock's record underneath, while nobody serves.
func (m *mount) rewriteRecord(t testing.TB, name string, change func(k lockmgr.Key, inode lockmgr.InodeID, data []byte) []byte) {
	t.Helper()
	data := make([]byte, 4096)
	n, err := unix.Getxattr(m.pathBelow(name), recordAttribute, data)
	if err != nil {
		t.Fatalf("the record of %s: %v", name, err)
	}
	key := lockmgr.Key{Dir: inodeOf(t, m.pathBelow(".")), Name: name}
	data = change(key, inodeOf(t, m.pathBelow(name)), data[:n])
	if err := unix.Setxattr(m.pathBelow(name), recordAttribute, data, 0); err != nil {
		t.Fatal(err)
	}
}

func TestScenario23_Reboot(t *testing.T) {
	scenario{23, "machine started again"}.once(t, func(r *run) {
		m := newMount(r)
		living := startHelper(r, nil, "make", m.path("a.jsonl.lock"))
		living.line(r)
		m.stop(r)
		machine, _ := os.ReadFile("/etc/machine-id")
		if len(machine) == 0 {
			skip(r, "this machine has no id")
		}
		here := reclaim.New(reclaim.Options{Features: reclaim.Probe()}).Here()
		before := reclaim.NewPlace(string(machine), "another boot", uint64(here.PIDNS))
		m.rewriteRecord(r, "a.jsonl.lock", func(k lockmgr.Key, inode lockmgr.InodeID, data []byte) []byte {
			record, _, err := here.Decode(k, inode, data)
			if err != nil {
				r.Fatal(err)
			}
			return before.Encode(k, inode, record)
		})
		m.start(r)
		if state := m.lock(r, "a.jsonl.lock").State; state != "orphan" {
			r.Errorf("a lock of another boot is %q", state)
		}
		file, err := createExclusively(m.path("a.jsonl.lock"))
		if err != nil {
			r.Fatal(err)
		}
		file.Close()
	})
}

// A record that can't be believed is told of, and its lock counts as one of which nothing is known.
func TestBadRecords(t *testing.T) {
	bad := map[string]func(here reclaim.Place, k lockmgr.Key, inode lockmgr.InodeID, data []byte) []byte{
		"cut off": func(_ reclaim.Place, _ lockmgr.Key, _ lockmgr.InodeID, data []byte) []byte { return data[:len(data)/2] },
		"empty":   func(reclaim.Place, lockmgr.Key, lockmgr.InodeID, []byte) []byte { return nil },
		"forged": func(_ reclaim.Place, _ lockmgr.Key, _ lockmgr.InodeID, data []byte) []byte {
			data[len(data)-10] ^= 1
			return data
		},
		"another version": func(_ reclaim.Place, _ lockmgr.Key, _ lockmgr.InodeID, data []byte) []byte {
			data[0]++
			return data
		},
		"another machine": recoded(func(at *reclaim.Place, _ *lockmgr.Record) { at.Machine++; at.Boot++ }),
		"from the future": recoded(func(_ *reclaim.Place, r *lockmgr.Record) { r.Owner.StartTime = 1 << 62 }),
		"absurd token":    recoded(func(_ *reclaim.Place, r *lockmgr.Record) { r.Token = 1 << 62 }),
		"another name": func(here reclaim.Place, k lockmgr.Key, inode lockmgr.InodeID, data []byte) []byte {
			record, _, _ := here.Decode(k, inode, data)
			k.Name = "b.jsonl.lock"
			return here.Encode(k, inode, record)
		},
	}
	for name, change := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			owner := startHelper(t, nil, "make", m.path("a.lock"))
			owner.line(t)
			m.stop(t)
			here := reclaim.New(reclaim.Options{Features: reclaim.Probe()}).Here()
			m.rewriteRecord(t, "a.lock", func(k lockmgr.Key, inode lockmgr.InodeID, data []byte) []byte {
				return change(here, k, inode, data)
			})
			before := m.stateBelow(t, "a.lock")
			owner.cmd.Process.Signal(syscall.SIGSTOP) // it lives, and nothing tells us
			m.start(t)
			if !strings.Contains(m.log.String(), "not believed") {
				t.Error("nobody is told of the record")
			}
			if state := m.lock(t, "a.lock").State; state == "orphan" {
				t.Errorf("the lock is %q", state)
			}
			mustNotBeFree(t, m.path("a.lock"))
			m.mustBeUnchanged(t, "a.lock", before, "the start")
		})
	}
}

func recoded(change func(*reclaim.Place, *lockmgr.Record)) func(reclaim.Place, lockmgr.Key, lockmgr.InodeID, []byte) []byte {
	return func(here reclaim.Place, k lockmgr.Key, inode lockmgr.InodeID, data []byte) []byte {
		record, _, _ := here.Decode(k, inode, data)
		change(&here, &record)
		return here.Encode(k, inode, record)
	}
}

// The records are nobody's business.
func TestRecordsAreHidden(t *testing.T) {
	m := newMount(t)
	owner := startHelper(t, nil, "make", m.path("a.jsonl.lock"))
	owner.line(t)
	list := make([]byte, 4096)
	if n, err := unix.Listxattr(m.path("a.jsonl.lock"), list); err != nil || strings.Contains(string(list[:n]), "slfs") {
		t.Errorf("listed: %q, %v", list[:n], err)
	}
	if _, err := unix.Getxattr(m.path("a.jsonl.lock"), recordAttribute, list); err != unix.ENODATA {
		t.Errorf("read: %v", err)
	}
	if err := unix.Setxattr(m.path("free.txt"), recordAttribute, []byte("x"), 0); err != unix.ENOENT {
		t.Errorf("set on nothing: %v", err)
	}
	writeFile(t, m.path("free.txt"), "")
	if err := unix.Setxattr(m.path("free.txt"), recordAttribute, []byte("x"), 0); err != unix.EPERM {
		t.Errorf("set: %v", err)
	}
}

// A mount of an ordinary user has no other place for the record of a symbolic link than a file.
func TestRecordsInFiles(t *testing.T) {
	m := newMount(t, asUser(nobody))
	link := startHelper(t, nobody, "make-link", m.path("l.lock"))
	link.line(t)
	if out, err := m.command("ls", "-A", m.dir).Output(); err != nil || strings.Contains(string(out), "sessionlockfs") {
		t.Errorf("the records are listed: %s, %v", out, err)
	}
	before := m.lock(t, "l.lock")
	m.stop(t)
	m.start(t)
	if after := m.lock(t, "l.lock"); after.Token != before.Token || after.State != "held" {
		t.Errorf("afterwards: %+v, before: %+v", after, before)
	}
	link.stdin.Close()
	waitFor(t, "the owner's release", waitDeadline, func() bool { _, err := os.Lstat(m.pathBelow("l.lock")); return err != nil })
	waitFor(t, "its record goes", waitDeadline, func() bool {
		left, _ := os.ReadDir(m.pathBelow(".sessionlockfs"))
		return len(left) == 0
	})
}

func helpMakeLink(arguments []string) error {
	if err := os.Symlink("1", arguments[0]); err != nil {
		return err
	}
	return releaseAtEnd(arguments[0])
}

// The new server is the program that is there by then. Clients notice nothing.
func TestUpgrade(t *testing.T) {
	m := newMount(t)
	living, _ := m.twoHolders(t)
	before := m.lock(t, "live.jsonl.lock")
	server, _ := m.processesOf(t)
	if out, err := m.command(suite.binary, "upgrade", m.dir).CombinedOutput(); err != nil {
		t.Fatalf("upgrade: %v\n%s", err, out)
	}
	if now, _ := m.processesOf(t); now == server {
		t.Errorf("server %d goes on", now)
	}
	if after := m.lock(t, "live.jsonl.lock"); after.Token != before.Token || after.State != "held" {
		t.Errorf("after the upgrade: %+v, before: %+v", after, before)
	}
	living.stdin.Close()
	waitFor(t, "the owner's release", waitDeadline, func() bool { return !m.exists("live.jsonl.lock") })
}

// A server that hangs is found out, says what it does, and is replaced.
func TestHungServer(t *testing.T) {
	m := newMount(t, withFlags("--hang-limit", "1s"))
	server, _ := m.processesOf(t)
	if err := syscall.Kill(server, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	m.waitSuccessor(t, server)
	t.Logf("served again after %v", time.Since(started))
}

// Servers that die one after the other: calls wait, and then fail with EIO, and nobody reaches the bare directory. When it ends all goes on.
func TestCrashLoop(t *testing.T) {
	scenario{0, "servers die one after the other"}.once(t, func(r *run) {
		m := newMount(r)
		_, holder := m.processesOf(r)
		failed := make(chan int, 1)
		go func() {
			var st unix.Stat_t
			for calls := 1; ; calls++ {
				if err := unix.Lstat(m.path(fmt.Sprint("nothing-", calls)), &st); err != unix.ENOENT {
					if err != unix.EIO {
						r.Errorf("call %d: %v", calls, err)
					}
					failed <- calls
					return
				}
			}
		}()
		killed := 0
		waitFor(r, "calls fail", waitDeadline, func() bool {
			for _, pid := range childrenOf(holder) {
				if syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed++
				}
			}
			return len(failed) > 0
		})
		r.note("%d servers killed, call %d failed", killed, <-failed)
		if !served(m.dir) {
			r.Error("the directory is uncovered")
		}
		waitFor(r, "calls are answered again", waitDeadline, func() bool { return os.WriteFile(m.path("after"), nil, 0o644) == nil })
	})
}

// On a kernel that can't send requests again those under way fail, and everything else goes on.
func TestTakeoverWithoutResend(t *testing.T) {
	m := newMount(t, withFlags("--without-resend"))
	living, _ := m.twoHolders(t)
	before := m.lock(t, "live.jsonl.lock")
	file, err := os.OpenFile(m.path("data"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stop, asked := make(chan struct{}), make(chan error, 1)
	go func() {
		var failed error
		for n := 0; ; n++ {
			select {
			case <-stop:
				asked <- failed
				return
			default:
			}
			var st unix.Stat_t
			if err := unix.Stat(m.path("nothing"), &st); err != unix.ENOENT && err != unix.ECONNABORTED {
				failed = err
			}
		}
	}()
	for range 5 {
		server, _ := m.processesOf(t)
		syscall.Kill(server, syscall.SIGKILL)
		waitFor(t, "another server", waitDeadline, func() bool {
			text, err := m.readControl("locks")
			return err == nil && !strings.Contains(string(text), `"pid":`+strconv.Itoa(server)+",")
		})
		if _, err := file.WriteString("x"); err != nil {
			t.Errorf("append through an open handle: %v", err)
		}
	}
	close(stop)
	if err := <-asked; err != nil {
		t.Errorf("stat: %v, want ENOENT, or ECONNABORTED for one that was under way", err)
	}
	if text, err := os.ReadFile(m.path("data")); err != nil || string(text) != "xxxxx" {
		t.Errorf("appended: %q, %v", text, err)
	}
	if after := m.lock(t, "live.jsonl.lock"); after.Token != before.Token || after.State != "held" {
		t.Errorf("after the takeovers: %+v, before: %+v", after, before)
	}
	living.stdin.Close()
	waitFor(t, "the owner's release", waitDeadline, func() bool { return !m.exists("live.jsonl.lock") })
}
