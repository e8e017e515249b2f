package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mountDeadline   = 30 * time.Second
	unmountDeadline = 30 * time.Second
	waitDeadline    = 30 * time.Second // for what comes in milliseconds on a machine that is not busy
)

// mount is the program serving a sessions directory.
type mount struct {
	parent string   // what containers bind
	dir    string   // the sessions directory, seen through the mount
	below  *os.File // the same directory underneath, opened before the mount

	user         *syscall.Credential // who mounts; nil: we
	pidNamespace bool                // serve from inside a PID namespace of its own
	prepare      func(dir string)
	flags        []string      // of the mount command
	through      []string      // the command that runs it
	limit        time.Duration // of the test

	cmd    *exec.Cmd
	exited chan struct{}
	log    *logBuffer
	dog    *watchdog
}

type mountOption func(*mount)

// asUser has an ordinary user mount, through fusermount3.
func asUser(user *syscall.Credential) mountOption { return func(m *mount) { m.user = user } }

// inPIDNamespace has the server see none of the callers outside of its PID namespace.
func inPIDNamespace() mountOption { return func(m *mount) { m.pidNamespace = true } }

// identifiedByProc has the server do without pidfs, as on an older kernel.
func identifiedByProc() mountOption {
	return func(m *mount) { m.flags = append(m.flags, "--identify-by-proc") }
}

// withContent fills the sessions directory before it is mounted over.
func withContent(fill func(dir string)) mountOption { return func(m *mount) { m.prepare = fill } }

// withFlags starts the mount with more flags.
func withFlags(flags ...string) mountOption {
	return func(m *mount) { m.flags = append(m.flags, flags...) }
}

// before has something done in the sessions directory before it is mounted over.
func before(do func(m *mount)) mountOption {
	return func(m *mount) { m.prepare = func(string) { do(m) } }
}

// lasting gives a test that takes long another deadline.
func lasting(limit time.Duration) mountOption { return func(m *mount) { m.limit = limit } }

// newMount makes a sessions directory and mounts over it until the test ends.
func newMount(t testing.TB, options ...mountOption) *mount {
	t.Helper()
	m := &mount{limit: testDeadline}
	for _, option := range options {
		option(m)
	}
	if m.user == nil {
		needRoot(t)
	}
	m.dog = watch(t, m.limit)
	m.makeDirectories(t)
	t.Cleanup(func() {
		if m.cmd != nil {
			m.stop(t)
		}
		if t.Failed() {
			t.Logf("log of the mount:\n%s", m.log)
		}
	})
	m.start(t)
	return m
}

func (m *mount) makeDirectories(t testing.TB) {
	t.Helper()
	var err error
	if m.parent, err = os.MkdirTemp(suite.dir, "tree-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(m.parent) })
	m.share(t)
	m.dir = filepath.Join(m.parent, "sessions")
	if err := os.Mkdir(m.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	m.open(t)
	if m.prepare != nil {
		m.prepare(m.dir)
	}
	// A path of its own to the directory underneath, which the mount will hide.
	if m.below, err = os.OpenFile(m.dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.below.Close() })
}

// open lets other users in, whatever our umask is.
func (m *mount) open(t testing.TB) {
	t.Helper()
	for dir, mode := range map[string]os.FileMode{m.parent: 0o755, m.dir: 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	if m.user != nil {
		if err := os.Chown(m.dir, int(m.user.Uid), int(m.user.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// share makes the parent a shared mount, as every directory is on a machine with systemd: only then does a container
// which bound it with rslave see a mount made later.
func (m *mount) share(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := unix.Mount(m.parent, m.parent, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(m.parent, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", m.parent, err)
		}
	})
	if err := unix.Mount("", m.parent, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
}

// start runs the server and returns when it serves.
func (m *mount) start(t testing.TB) {
	t.Helper()
	argv := append([]string{suite.binary, "mount", m.dir}, m.flags...)
	if m.pidNamespace {
		// Without a mount namespace of its own, so that the mount is there for everybody.
		argv = append([]string{need(t, "unshare"), "--pid", "--fork", "--kill-child"}, argv...)
	}
	argv = append(slices.Clone(m.through), argv...)
	m.log = &logBuffer{}
	m.cmd = m.command(argv...)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	// If the tests are killed, nobody must hang in a mount that nobody unmounts.
	m.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(m.cmd, m.exited)
	m.waitRunning(t, "there is a mount", func() bool { return served(m.dir) })
	m.dog.guard(m.server())
	m.waitRunning(t, "the mount serves", func() bool {
		_, err := m.readControl("locks")
		return err == nil
	})
}

// waitRunning is waitFor with an eye on the server.
func (m *mount) waitRunning(t testing.TB, what string, ok func() bool) {
	t.Helper()
	waitFor(t, what, mountDeadline, func() bool {
		select {
		case <-m.exited:
			t.Fatalf("mount ended: %v\n%s", m.cmd.ProcessState, m.log)
		default:
		}
		return ok()
	})
}

// server is what is needed to end it whatever it does.
func (m *mount) server() server {
	s := server{m.cmd.Process.Pid, m.exited, m.log, connectionOf(m.dir)}
	generations := 1 // the holder's child
	if m.pidNamespace {
		generations = 2
	}
	for range generations {
		if child := childOf(s.pid); child != 0 {
			s.pid = child
		}
	}
	return s
}

// childOf is the first child of a process's first thread, or 0.
func childOf(pid int) int {
	for _, child := range listedChildren(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) {
		return child
	}
	return 0
}

// childrenOf are the children of all threads of a process.
func childrenOf(pid int) (children []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children = append(children, listedChildren(list)...)
	}
	return children
}

// listedChildren are those of one thread (proc_tid_children(5)); none if it is gone.
func listedChildren(path string) (children []int) {
	text, _ := os.ReadFile(path)
	for _, word := range strings.Fields(string(text)) {
		if child, err := strconv.Atoi(word); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// command runs as the one who mounts.
func (m *mount) command(argv ...string) *exec.Cmd {
	return commandAs(m.user, argv...)
}

func commandAs(user *syscall.Credential, argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	if user != nil {
		cmd.Env = append(os.Environ(), "HOME="+suite.dir)
	}
	return cmd
}

// stop unmounts and checks that nothing is left of it.
func (m *mount) stop(t testing.TB) {
	t.Helper()
	if out, err := m.unmount(); err != nil {
		t.Errorf("unmount: %v\n%s", err, out)
		m.tearDown()
	}
	m.waitExited(t)
}

// waitExited waits for the end of a server that is, or is being, unmounted.
func (m *mount) waitExited(t testing.TB) {
	t.Helper()
	select {
	case <-m.exited:
	case <-time.After(unmountDeadline):
		t.Errorf("the server lives %v after the unmount", unmountDeadline)
		m.tearDown()
		<-m.exited // the watchdog sees to it
	}
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the server ended with %v", m.cmd.ProcessState)
	}
	if served(m.dir) {
		t.Errorf("%s is still mounted", m.dir)
		m.tearDown()
	}
	m.cmd = nil
}

func (m *mount) unmount() (string, error) {
	cmd, out := m.command(suite.binary, "unmount", m.dir), &logBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	watchdog := time.AfterFunc(unmountDeadline, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	err := cmd.Wait()
	return out.String(), err
}

// tearDown is for when the orderly way failed, so that one broken test does not break those after it.
func (m *mount) tearDown() {
	// A thread of the server itself, the reaper's, can't be killed before it is answered (request_wait_answer), and as long
	// as it lives it keeps the device open, and so the request waiting: the connection ends first.
	m.server().abort()
	m.cmd.Process.Kill()
	unix.Unmount(m.dir, unix.MNT_FORCE|unix.MNT_DETACH)
}

// serverPID is the PID of the process that serves.
func (m *mount) serverPID(t testing.TB) int {
	t.Helper()
	pid, _ := m.processesOf(t)
	return pid
}

func onlyChild(t testing.TB, pid int) int {
	t.Helper()
	var child int
	waitFor(t, "a child process", waitDeadline, func() bool {
		child = childOf(pid)
		return child != 0
	})
	return child
}

// path is that of a file in the mount.
func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

// pathBelow is that of the same file underneath, for this process only.
func (m *mount) pathBelow(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", m.below.Fd(), name)
}

// exists says whether the file is there underneath, whatever the mount shows.
func (m *mount) exists(name string) bool {
	_, err := os.Lstat(m.pathBelow(name))
	return err == nil
}

// lockEntry is one lock in the control file "locks".
type lockEntry struct {
	Path  string `json:"path"`
	Kind  string `json:"kind"`
	State string `json:"state"`
	Token uint64 `json:"token"`
	Owner struct {
		PID    int    `json:"pid"`
		NSPIDs []int  `json:"ns_pids"`
		UID    int    `json:"uid"`
		Comm   string `json:"comm"`
	} `json:"owner"`
	HandleOpen bool `json:"handle_open"`
	Contenders []struct {
		PID int `json:"pid"`
	} `json:"contenders"`
	RefusedChanges int    `json:"refused_changes"`
	Verdict        string `json:"verdict"`
	Reason         string `json:"reason"`
}

// readControl reads a file of the control directory as the one who mounted: nobody else may.
func (m *mount) readControl(name string) ([]byte, error) {
	path := m.path(".sessionlockfs/" + name)
	if m.user == nil {
		return os.ReadFile(path)
	}
	return m.command("cat", path).Output()
}

// mountDump is the control file "locks".
type mountDump struct {
	Version int `json:"version"`
	Mount   struct {
		PID       int `json:"pid"`
		HolderPID int `json:"holder_pid"`
	} `json:"mount"`
	Locks []lockEntry `json:"locks"`
}

func (m *mount) dump(t testing.TB) (dump mountDump) {
	t.Helper()
	text, err := m.readControl("locks")
	if err != nil {
		t.Fatalf("read locks: %v", err)
	}
	if err := json.Unmarshal(text, &dump); err != nil {
		t.Fatalf("locks: %v\n%s", err, text)
	}
	return dump
}

func (m *mount) locks(t testing.TB) []lockEntry {
	t.Helper()
	return m.dump(t).Locks
}

// lock returns what the server knows of a lock; its state is "" when it knows nothing.
func (m *mount) lock(t testing.TB, name string) lockEntry {
	t.Helper()
	for _, entry := range m.locks(t) {
		if entry.Path == name {
			return entry
		}
	}
	return lockEntry{}
}

func (m *mount) waitContender(t testing.TB, name string, pid int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("process %d contends for %s", pid, name), waitDeadline, func() bool {
		for _, contender := range m.lock(t, name).Contenders {
			if contender.PID == pid {
				return true
			}
		}
		return false
	})
}

// waitOrphan waits until the server has heard of the owner's death.
func (m *mount) waitOrphan(t testing.TB, name string) {
	t.Helper()
	waitFor(t, name+" is an orphan", waitDeadline, func() bool { return m.lock(t, name).State == "orphan" })
}

// mustBeHeldBy checks both what the server says and what is on disk.
func (m *mount) mustBeHeldBy(t testing.TB, name string, pid int) {
	t.Helper()
	if entry := m.lock(t, name); entry.State != "held" || entry.Owner.PID != pid {
		t.Errorf("%s: %q by %d, want held by %d", name, entry.State, entry.Owner.PID, pid)
	}
	if !m.exists(name) {
		t.Errorf("%s is not on disk", name)
	}
}

// fileState is all of a file that a bystander could change.
type fileState struct {
	ino, nlink    uint64
	mode          uint32
	uid, gid      uint32
	size          int64
	mtime         unix.Timespec
	bytes, xattrs string
}

// stateBelow reads the state of a file underneath, past the views of the mount.
func (m *mount) stateBelow(t testing.TB, name string) fileState {
	t.Helper()
	path := m.pathBelow(name)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s underneath: %v", name, err)
	}
	state := fileState{st.Ino, uint64(st.Nlink), st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, "", ""}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		state.bytes = string(content)
	}
	list := make([]byte, 4096)
	if n, err := unix.Llistxattr(path, list); err == nil {
		state.xattrs = string(list[:n])
	}
	return state
}

func (m *mount) mustBeUnchanged(t testing.TB, name string, before fileState, after string) {
	t.Helper()
	if !m.exists(name) {
		t.Errorf("%s is gone after %s", name, after)
		return
	}
	if now := m.stateBelow(t, name); now != before {
		t.Errorf("%s changed by %s:\n%+v\n%+v", name, after, before, now)
	}
}

// logBuffer keeps what a process writes.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
