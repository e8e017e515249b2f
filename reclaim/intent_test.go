package reclaim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	stack = " 0x7ffd12345678 0x7f0011223344\n"
	flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL
)

// blocked writes a line as the kernel does.
func blocked(number int, args ...uint64) string {
	line := fmt.Sprint(number)
	for i := range 6 {
		arg := uint64(0)
		if i < len(args) {
			arg = args[i]
		}
		line += fmt.Sprintf(" %#x", arg)
	}
	return line + stack
}

func TestIntentOfALine(t *testing.T) {
	const at = 0xffffff9c
	memory := map[uint64]uint64{0x1000: flags | unix.O_CLOEXEC, 0x2000: unix.O_CREAT}
	peek := func(at uint64) (uint64, bool) {
		v, ok := memory[at]
		return v, ok
	}
	for _, c := range []struct {
		what       string
		line       string
		yes, known bool
	}{
		{"create", blocked(unix.SYS_OPENAT, at, 1, flags), true, true},
		{"create, other flags too", blocked(unix.SYS_OPENAT, at, 1, flags|unix.O_RDWR|unix.O_CLOEXEC), true, true},
		{"create or open", blocked(unix.SYS_OPENAT, at, 1, unix.O_CREAT), false, true},
		{"O_EXCL alone", blocked(unix.SYS_OPENAT, at, 1, unix.O_EXCL), false, true},
		{"read", blocked(unix.SYS_OPENAT, at, 1, 0), false, true},
		{"openat2, create", blocked(unix.SYS_OPENAT2, at, 1, 0x1000, 24), true, true},
		{"openat2, open", blocked(unix.SYS_OPENAT2, at, 1, 0x2000, 24), false, true},
		{"openat2, unreadable", blocked(unix.SYS_OPENAT2, at, 1, 0x3000, 24), false, false},
		{"mkdirat", blocked(unix.SYS_MKDIRAT, at, 1, 0o777), true, true},
		{"mknodat", blocked(unix.SYS_MKNODAT, at, 1, 0o644), true, true},
		{"symlinkat", blocked(unix.SYS_SYMLINKAT, 1, at, 2), true, true},
		{"linkat", blocked(unix.SYS_LINKAT, at, 1, at, 2), true, true},
		{"rename", blocked(unix.SYS_RENAMEAT2, at, 1, at, 2, 0), false, true},
		{"rename, RENAME_NOREPLACE", blocked(unix.SYS_RENAMEAT2, at, 1, at, 2, 1), true, true},
		{"rename, RENAME_EXCHANGE", blocked(unix.SYS_RENAMEAT2, at, 1, at, 2, 2), false, true},
		{"unlink", blocked(unix.SYS_UNLINKAT, at, 1), false, true},
		{"stat", blocked(unix.SYS_NEWFSTATAT, at, 1), false, true},
		{"statx", blocked(unix.SYS_STATX, at, 1), false, true},
		{"io_uring", blocked(unix.SYS_IO_URING_ENTER, 3, 1, 1), false, false},
		{"getpid", blocked(unix.SYS_GETPID), false, false},
		{"x32", blocked(unix.SYS_OPENAT|1<<30, at, 1, flags), false, false},
		{"32-bit", "257 0xffffff9c 0x1 0xc1 0x0 0x0 0x0 0xffd12345 0xf7f01122\n", false, false},
		{"io_uring worker", fmt.Sprintf("%d 0x1 0x1 0xc1 0x0 0x0 0x0 0x0 0x0\n", unix.SYS_OPENAT), false, false},
		{"running", "running\n", false, false},
		{"not in a call", "-1" + stack, false, false},
		{"nothing", "", false, false},
		{"nonsense", "a b c d e f g h i", false, false},
		{"no such call", blocked(1 << 40), false, false},
	} {
		call, ok := parseCall(c.line)
		yes, known := false, false
		if ok {
			yes, known = call.exclusive(peek)
		}
		if yes != c.yes || known != c.known {
			t.Errorf("%s: %v, %v; want %v, %v", c.what, yes, known, c.yes, c.known)
		}
	}
}

func TestIntentOfAProcess(t *testing.T) {
	p := New(Options{Features: Probe()})
	if !p.CanReadIntent() {
		t.Skip("intents can't be read")
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, exec.Command("/bin/cat", fifo)) // blocks in open, as there is no writer
	until(t, "an open that waits", func() bool {
		yes, known := p.ExclusiveCreate(uint32(c.pid()), "x.lock")
		return known && !yes && state(p, c.pid()) == 'S' && opensFifo(p, c.pid())
	})
	c.kill(t)
	if yes, known := p.ExclusiveCreate(uint32(c.pid()), "x.lock"); yes || known {
		t.Errorf("a dead caller: %v, %v", yes, known)
	}
	if yes, known := p.ExclusiveCreate(0, "x.lock"); yes || known {
		t.Errorf("nobody: %v, %v", yes, known)
	}
}

func state(p *Processes, pid int32) byte {
	st, _ := p.proc.stat(pid)
	return st.state
}

func opensFifo(p *Processes, pid int32) bool {
	line, _ := os.ReadFile(p.proc.of(pid, "syscall"))
	call, ok := parseCall(string(line))
	return ok && call.number == unix.SYS_OPENAT
}

// wedge mounts a FUSE file system that never answers, so that every call on it blocks.
// The mount's descriptor is closed at the end of the test: all calls then fail.
func wedge(t *testing.T) (dir string, release func()) {
	t.Helper()
	needRoot(t)
	dir = t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("wedge", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			unix.Close(fd)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	t.Cleanup(release)
	return dir, release
}

// Every call on real threads that wait for a FUSE server.
func TestIntentOfBlockedCallers(t *testing.T) {
	p := New(Options{Features: Probe()})
	dir, release := wedge(t)
	name := filepath.Join(dir, "a.lock")
	how := unix.OpenHow{Flags: flags, Mode: 0o600}
	open := unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o600}
	calls := []struct {
		what string
		yes  bool
		call func()
	}{
		{"open O_CREAT|O_EXCL", true, func() { _, _ = unix.Open(name, flags, 0o600) }},
		{"open O_CREAT", false, func() { _, _ = unix.Open(name, unix.O_CREAT|unix.O_WRONLY, 0o600) }},
		{"openat2 O_CREAT|O_EXCL", true, func() { _, _ = unix.Openat2(unix.AT_FDCWD, name, &how) }},
		{"openat2 O_CREAT", false, func() { _, _ = unix.Openat2(unix.AT_FDCWD, name, &open) }},
		{"mkdir", true, func() { _ = unix.Mkdir(name, 0o700) }},
		{"mknod", true, func() { _ = unix.Mknod(name, unix.S_IFREG|0o600, 0) }},
		{"symlink", true, func() { _ = unix.Symlink("1", name) }},
		{"link", true, func() { _ = unix.Link("/etc/hostname", name) }},
		{"rename NOREPLACE onto it", true, func() { _ = unix.Renameat2(-100, name+"2", -100, name, unix.RENAME_NOREPLACE) }},
		{"rename NOREPLACE of it", false, func() { _ = unix.Renameat2(-100, name, -100, name+"2", unix.RENAME_NOREPLACE) }},
		{"link of it", false, func() { _ = unix.Link(name, name+"2") }},
		{"rename", false, func() { _ = unix.Rename(name, name+"2") }},
		{"unlink", false, func() { _ = unix.Unlink(name) }},
		{"rmdir", false, func() { _ = unix.Rmdir(name) }},
		{"stat", false, func() { _ = unix.Stat(name, &unix.Stat_t{}) }},
		{"lstat", false, func() { _ = unix.Lstat(name, &unix.Stat_t{}) }},
		{"access", false, func() { _ = unix.Access(name, 0) }},
		{"bind", true, func() {
			s, _ := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			_ = unix.Bind(s, &unix.SockaddrUnix{Name: name})
			unix.Close(s)
		}},
	}
	ended := make(chan struct{}, len(calls))
	for _, c := range calls {
		tid := make(chan int)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tid <- unix.Gettid()
			c.call()
			ended <- struct{}{}
		}()
		id := uint32(<-tid)
		var yes, known bool
		until(t, c.what+" to block", func() bool {
			yes, known = p.ExclusiveCreate(id, "a.lock")
			return known
		})
		if yes != c.yes {
			t.Errorf("%s: %v", c.what, yes)
		}
	}
	release()
	for range calls {
		<-ended
	}
}

func TestYama(t *testing.T) {
	for scope, want := range map[string]string{"0": "all", "1": "cap", "2": "cap", "3": "none", "": "none", "9": "none"} {
		with, without := scopeAllows(scope, func() bool { return true }), scopeAllows(scope, func() bool { return false })
		if with != (want != "none") || without != (want == "all") {
			t.Errorf("scope %q: with the capability %v, without %v", scope, with, without)
		}
	}
	if p := New(Options{}); os.Getuid() == 0 && !p.mayTrace() {
		t.Log("root without CAP_SYS_PTRACE")
	}
}

func BenchmarkExclusiveCreate(b *testing.B) {
	p := New(Options{Features: Probe()})
	fifo := filepath.Join(b.TempDir(), "fifo")
	_ = unix.Mkfifo(fifo, 0o600)
	c := start(b, exec.Command("/bin/cat", fifo))
	until(b, "an open that waits", func() bool { return state(p, c.pid()) == 'S' && opensFifo(p, c.pid()) })
	for b.Loop() {
		p.ExclusiveCreate(uint32(c.pid()), "x.lock")
	}
}
