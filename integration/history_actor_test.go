package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// errand is one act that a process of TestHistory is told to do.
type errand struct {
	Act  string
	Lock string // path of the lock
	Text string // what is written, where a link points, the name in a directory and what is written there, or another lock
}

// answer is what came of it.
type answer struct {
	Errno syscall.Errno
	Text  string // what was read, or the PID of a new process
	Size  int64
	Mtime int64
	Ino   uint64
}

// performer is a process that does what it is told, each act in whatever thread it comes to.
type performer struct {
	open map[string]int // the creating handles, by the locks' paths
	tmp  string
}

func helpHistory([]string) error {
	unix.Umask(0)
	p := &performer{open: map[string]int{}}
	requests, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var e errand
		if err := requests.Decode(&e); err != nil {
			return nil
		}
		done := make(chan answer)
		go func() { done <- p.perform(e) }()
		answers.Encode(<-done)
	}
}

func (p *performer) perform(e errand) (a answer) {
	p.tmp = filepath.Join(filepath.Dir(e.Lock), fmt.Sprint("tmp-", os.Getpid()))
	act, ok := historyActs[e.Act]
	if !ok {
		a.Errno = syscall.ENOSYS
		return a
	}
	if err := act(p, e, &a); err != nil && !errors.As(err, &a.Errno) {
		a.Errno, a.Text = syscall.ENOTRECOVERABLE, err.Error()
	}
	return a
}

var historyActs = map[string]func(p *performer, e errand, a *answer) error{
	"create":    func(p *performer, e errand, _ *answer) error { return p.create(e) },
	"close":     func(p *performer, e errand, _ *answer) error { return p.close(e.Lock) },
	"mknod":     func(_ *performer, e errand, _ *answer) error { return unix.Mknod(e.Lock, unix.S_IFREG|0o666, 0) },
	"mkdir":     func(_ *performer, e errand, _ *answer) error { return unix.Mkdir(e.Lock, 0o777) },
	"symlink":   func(_ *performer, e errand, _ *answer) error { return unix.Symlink(e.Text, e.Lock) },
	"link onto": func(p *performer, e errand, _ *answer) error { return p.withTmp(e, unix.Link) },
	"rename onto": func(p *performer, e errand, _ *answer) error {
		return p.withTmp(e, func(from, to string) error { return renameat(from, to, unix.RENAME_NOREPLACE) })
	},
	"rename over": func(p *performer, e errand, _ *answer) error { return p.withTmp(e, unix.Rename) },
	"unlink":      func(_ *performer, e errand, _ *answer) error { return unix.Unlink(e.Lock) },
	"rmdir":       func(_ *performer, e errand, _ *answer) error { return unix.Rmdir(e.Lock) },
	"rename away": func(p *performer, e errand, _ *answer) error {
		err := unix.Rename(e.Lock, p.tmp)
		os.RemoveAll(p.tmp)
		return err
	},
	"move":      func(_ *performer, e errand, _ *answer) error { return renameat(e.Lock, e.Text, 0) },
	"move onto": func(_ *performer, e errand, _ *answer) error { return renameat(e.Lock, e.Text, unix.RENAME_NOREPLACE) },
	"exchange":  func(_ *performer, e errand, _ *answer) error { return renameat(e.Lock, e.Text, unix.RENAME_EXCHANGE) },
	"link away": func(p *performer, e errand, _ *answer) error {
		err := unix.Link(e.Lock, p.tmp)
		unix.Unlink(p.tmp)
		return err
	},
	"write":    func(_ *performer, e errand, _ *answer) error { return overwrite(e.Lock, 0, e.Text) },
	"put":      func(_ *performer, e errand, _ *answer) error { return overwrite(e.Lock, unix.O_CREAT, e.Text) },
	"truncate": func(_ *performer, e errand, _ *answer) error { return lengthen(e.Lock) },
	"chmod":    func(_ *performer, e errand, _ *answer) error { return unix.Chmod(e.Lock, 0o777) },
	"touch": func(_ *performer, e errand, _ *answer) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, e.Lock, nil, 0)
	},
	"setxattr": func(_ *performer, e errand, _ *answer) error { return unix.Setxattr(e.Lock, "user.a", []byte("b"), 0) },
	"stat":     func(_ *performer, e errand, a *answer) error { return lookAt(e.Lock, a) },
	"read":     func(_ *performer, e errand, a *answer) error { return readLock(e.Lock, a) },
	"list":     func(_ *performer, e errand, a *answer) error { return listAround(e.Lock, a) },
	"put into": func(_ *performer, e errand, _ *answer) error {
		name, text, _ := strings.Cut(e.Text, "=")
		return overwrite(e.Lock+"/"+name, unix.O_CREAT, text)
	},
	"take from": func(_ *performer, e errand, _ *answer) error { return unix.Unlink(e.Lock + "/" + e.Text) },
	"spawn":     func(_ *performer, e errand, a *answer) error { return spawn(strings.Fields(e.Text), a) },
}

func (p *performer) create(e errand) error {
	fd, err := unix.Open(e.Lock, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return err
	}
	p.close(e.Lock) // of a lock that it had before
	p.open[e.Lock] = fd
	if e.Text == "" {
		return nil
	}
	_, err = unix.Write(fd, []byte(e.Text))
	return err
}

func (p *performer) close(lock string) error {
	fd, ok := p.open[lock]
	if !ok {
		return syscall.EBADF
	}
	delete(p.open, lock)
	return unix.Close(fd)
}

// withTmp makes a file beside the lock for an act with both.
func (p *performer) withTmp(e errand, act func(from, to string) error) error {
	if err := overwrite(p.tmp, unix.O_CREAT, e.Text); err != nil {
		return fmt.Errorf("a file of its own: %v", err)
	}
	defer unix.Unlink(p.tmp)
	return act(p.tmp, e.Lock)
}

func overwrite(path string, flags int, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_TRUNC|flags|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return err
	}
	if text != "" {
		_, err = unix.Write(fd, []byte(text))
	}
	return errors.Join(err, unix.Close(fd))
}

// lengthen adds a NUL byte by truncate(2): what is recognised then no more.
func lengthen(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	return unix.Truncate(path, st.Size+1)
}

func lookAt(path string, a *answer) error {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	a.Size, a.Mtime, a.Ino = st.Size, st.Mtim.Nano(), st.Ino
	return err
}

// readLock reads whatever it is: a file's content, a link's target, what is in a directory.
func readLock(path string, a *answer) error {
	target, err := os.Readlink(path)
	if err == nil {
		a.Text = target
		return nil
	}
	if errors.Is(err, syscall.ENOENT) {
		return err
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, syscall.EISDIR) {
		return listIn(path, a)
	}
	a.Text = string(content)
	return err
}

func listAround(path string, a *answer) error { return listIn(filepath.Dir(path), a) }

func listIn(dir string, a *answer) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	sort.Strings(names)
	a.Text = strings.Join(names, " ")
	return err
}

// spawn starts a process like this one, which is told what to do through the pipes of these paths. It inherits nothing.
func spawn(pipes []string, a *answer) error {
	in, err := os.OpenFile(pipes[0], os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(pipes[1], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Stdin, cmd.Stdout = in, out
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait()
	a.Text = fmt.Sprint(cmd.Process.Pid)
	return nil
}

// performing is such a process, seen from the test.
type performing struct {
	number  int
	pid     int
	uid     int
	in, out *os.File
	replies *bufio.Reader
	end     func()
}

// startActor starts a process, as a child of another one if parent is not nil.
func startActor(t testing.TB, number int, user *syscall.Credential, parent *performing) *performing {
	t.Helper()
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer stdout.Close()
	a := &performing{number: number, in: in, out: out, replies: bufio.NewReader(out)}
	if parent != nil {
		a.bornOf(t, parent, stdin, stdout)
	} else {
		a.started(t, user, stdin, stdout)
	}
	t.Cleanup(a.kill)
	return a
}

func (a *performing) started(t testing.TB, user *syscall.Credential, stdin, stdout *os.File) {
	t.Helper()
	cmd := commandAs(user, suite.helper)
	cmd.Env = append(cmd.Environ(), helperEnv+"=history")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.pid, a.end = cmd.Process.Pid, func() { cmd.Process.Kill(); cmd.Wait() }
	if user != nil {
		a.uid = int(user.Uid)
	}
}

func (a *performing) bornOf(t testing.TB, parent *performing, stdin, stdout *os.File) {
	t.Helper()
	self := fmt.Sprintf("/proc/%d/fd/", os.Getpid())
	got := parent.do(t, errand{Act: "spawn", Lock: "/", Text: fmt.Sprint(self, stdin.Fd(), " ", self, stdout.Fd())})
	if got.Errno != 0 {
		t.Fatalf("a process starts another: %v %s", got.Errno, got.Text)
	}
	fmt.Sscan(got.Text, &a.pid)
	pidfd, err := unix.PidfdOpen(a.pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.end = func() { // who reaps it is its parent's business
		unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(waitDeadline.Milliseconds()))
		unix.Close(pidfd)
	}
}

// kill may be called again. The process is dead when it returns.
func (a *performing) kill() {
	if a.end != nil {
		a.end()
		a.end = nil
		a.in.Close()
		a.out.Close()
	}
}

func (a *performing) do(t testing.TB, e errand) (got answer) {
	t.Helper()
	if err := json.NewEncoder(a.in).Encode(e); err != nil {
		t.Fatalf("P%d: %v", a.number, err)
	}
	a.out.SetReadDeadline(time.Now().Add(waitDeadline))
	line, err := a.replies.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &got)
	}
	if err != nil {
		t.Fatalf("no word of P%d that was to %s %s: %v", a.number, e.Act, filepath.Base(e.Lock), err)
	}
	return got
}
