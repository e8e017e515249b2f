package reclaim

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// bare is a lock file that says nothing but a PID, and when it was written.
func bare(t *testing.T, pid int32, written time.Time) Subject {
	t.Helper()
	s := subject(t, lockFile(t))
	s.KeepsOpen, s.PID, s.Written, s.Unopened = false, pid, written, true
	return s
}

func TestBearer(t *testing.T) {
	if procfs("/proc").namespace(int32(os.Getpid()), "pid") != InitialPIDNamespace {
		t.Skip("not in the initial PID namespace")
	}
	c := startCat(t)
	asCat(t, c.pid())
	p := New(Options{Features: Probe()})
	gone := startCat(t)
	gone.kill(t)
	young := bare(t, gone.pid(), time.Now())
	young.Age = time.Second
	remote := bare(t, gone.pid(), time.Now())
	remote.Remote = true
	for title, row := range map[string]struct {
		subject Subject
		verdict lockmgr.Verdict
		reason  string
	}{
		"alive":                     {bare(t, c.pid(), time.Now()), lockmgr.Alive, "bears the PID"},
		"started after it was made": {bare(t, c.pid(), time.Now().Add(-time.Hour)), lockmgr.Recycled, "started after"},
		"dead":                      {bare(t, gone.pid(), time.Now()), lockmgr.Dead, "no process"},
		"dead, but young":           {young, lockmgr.Unknown, "younger than"},
		"of another machine":        {remote, lockmgr.Unknown, "network file system"},
	} {
		f := p.Judge(row.subject)
		if f.Verdict != row.verdict || !strings.Contains(f.Reason, row.reason) {
			t.Errorf("%s: %v, %q; want %v, %q", title, f.Verdict, f.Reason, row.verdict, row.reason)
		}
		if f.Verdict == lockmgr.Alive && f.Owner.PID != c.pid() {
			t.Errorf("%s: the owner is %d, want %d", title, f.Owner.PID, c.pid())
		}
	}
}

// Who has the file open holds it, whatever PID it names.
func TestBearerHasItOpen(t *testing.T) {
	path := lockFile(t)
	h := holder(t, path)
	s := subject(t, path)
	s.KeepsOpen, s.PID, s.Written = false, 1<<22+1, time.Now()
	f := New(Options{Features: Probe()}).Judge(s)
	if f.Verdict != lockmgr.Alive || f.Owner.PID != h.pid() {
		t.Errorf("%v by %d, %q; want alive by %d", f.Verdict, f.Owner.PID, f.Reason, h.pid())
	}
}

// Who only reads it holds nothing, but while it is read nobody is sure of anything.
func TestBearerIsRead(t *testing.T) {
	if procfs("/proc").namespace(int32(os.Getpid()), "pid") != InitialPIDNamespace {
		t.Skip("not in the initial PID namespace")
	}
	p, path := New(Options{Features: Probe()}), lockFile(t)
	maker, reader := startCat(t), readerOf(t, path)
	s := subject(t, path)
	s.PID, s.Written, s.KeepsOpen = maker.pid(), time.Now(), false
	if f := p.Judge(s); f.Verdict != lockmgr.Alive || f.Owner.PID != maker.pid() {
		t.Errorf("%v by %d, %q; want alive by %d", f.Verdict, f.Owner.PID, f.Reason, maker.pid())
	}
	s.Written = time.Now().Add(-time.Hour)
	if f := p.Judge(s); f.Verdict != lockmgr.Unknown || !strings.Contains(f.Reason, "has it open") {
		t.Errorf("while it is read: %v, %q", f.Verdict, f.Reason)
	}
	reader.kill(t)
	if f := p.Judge(s); f.Verdict != lockmgr.Recycled {
		t.Errorf("then: %v, %q", f.Verdict, f.Reason)
	}
}

func readerOf(t *testing.T, path string) child {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/cat")
	cmd.ExtraFiles = []*os.File{f}
	return start(t, cmd)
}

// Of two processes that may have written it neither is its owner: with the other it lives on.
func TestBearersAreSeveral(t *testing.T) {
	if procfs("/proc").namespace(int32(os.Getpid()), "pid") != InitialPIDNamespace {
		t.Skip("not in the initial PID namespace")
	}
	needRoot(t)
	c := start(t, exec.Command("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo; read x"))
	c.line(t)
	f := New(Options{Features: Probe()}).Judge(bare(t, 1, time.Now()))
	if f.Verdict != lockmgr.Alive || f.Owner.Known() || !strings.Contains(f.Reason, "and so does") {
		t.Errorf("%v by %d, %q", f.Verdict, f.Owner.PID, f.Reason)
	}
}

// A kernel thread bears PIDs that a container's process may have, and wrote none of them.
func TestKernelThreads(t *testing.T) {
	const kthreadd = 2
	p := New(Options{Features: Probe()})
	status, err := p.proc.status(kthreadd)
	if err != nil || !isKernelThread(status) {
		t.Skip("no kernel thread in sight")
	}
	if self, _ := p.proc.status(int32(os.Getpid())); isKernelThread(self) {
		t.Error("this process is taken for one")
	}
	if p.bears(kthreadd, kthreadd) {
		t.Error("it is taken for the writer of its PID")
	}
	if id := p.Identify(kthreadd); id.Known() {
		t.Errorf("it may own locks: %+v", id)
	}
}

func TestProxies(t *testing.T) {
	p := New(Options{Features: Probe()})
	for comm, want := range map[string]bool{"smbd": true, "smbd[10.1.2.3]": true, "sftp-server": true, "smbdx": false, "node": false, "": false} {
		if got := p.isProxy(comm); got != want {
			t.Errorf("%q: %t", comm, got)
		}
	}
}

// A process in whose mount namespace the file system is not mounted reaches it by its working directory.
func TestBearerIsInside(t *testing.T) {
	if procfs("/proc").namespace(int32(os.Getpid()), "pid") != InitialPIDNamespace {
		t.Skip("not in the initial PID namespace")
	}
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	path := dir + "/a.lock"
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := start(t, exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", `cd "$1" && umount -l "$1" && umount -l -a -t fuse.sessionlockfs; echo; read x`, "sh", dir))
	c.line(t)
	s := subject(t, path)
	s.KeepsOpen, s.PID, s.Written, s.Unopened = false, c.pid(), time.Now(), true
	if f := New(Options{Features: Probe()}).Judge(s); f.Verdict != lockmgr.Alive || f.Owner.PID != c.pid() {
		t.Errorf("%v by %d, %q; want that %d holds it", f.Verdict, f.Owner.PID, f.Reason, c.pid())
	}
}
