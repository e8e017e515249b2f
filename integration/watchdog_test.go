package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	testDeadline    = 3 * time.Minute  // of a test with a mount, if it does not ask for another one
	commandDeadline = 2 * time.Minute  // of a command that runs to its end
	lookDeadline    = 3 * time.Second  // to look at what may hang itself
	breakDeadline   = 30 * time.Second // for a test to end after its mounts are broken
)

// watchdog makes a test that hangs say where, and fail: it breaks the test's mounts, so that whatever waits for them
// gets ENOTCONN. If that does not help it ends the whole run.
type watchdog struct {
	t     testing.TB
	limit time.Duration

	mu      sync.Mutex
	ended   bool
	servers []server
	timer   *time.Timer
}

// server is a running mount process.
type server struct {
	pid        int
	exited     <-chan struct{}
	log        *logBuffer
	connection string // its directory in fusectl
}

// watch gives a test a deadline, cleanups that are registered later included.
func watch(t testing.TB, limit time.Duration) *watchdog {
	d := &watchdog{t: t, limit: limit}
	d.timer = time.AfterFunc(limit, d.bark)
	t.Cleanup(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ended = true
		d.timer.Stop()
	})
	return d
}

func (d *watchdog) guard(s server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.servers = append(d.servers, s)
}

func (d *watchdog) bark() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	fmt.Fprintf(os.Stderr, "integration: %s hangs: %v are over\n%s\n%s", d.t.Name(), d.limit, ownStacks(), stuckThreads())
	for _, s := range d.servers {
		s.breakDown()
	}
	d.t.Errorf("hung for %v; what it waited for is on stderr", d.limit)
	d.timer = time.AfterFunc(breakDeadline, d.giveUp)
}

// giveUp ends the run: the test waits for something else than its mounts.
func (d *watchdog) giveUp() {
	fmt.Fprintf(os.Stderr, "integration: %s hangs on after its mounts were broken\n%s", d.t.Name(), ownStacks())
	ended := make(chan struct{})
	go func() {
		endEverything()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(breakDeadline):
	}
	os.Exit(1)
}

// breakDown has the server say what it does, and ends it and all requests to it.
func (s server) breakDown() {
	select {
	case <-s.exited:
		return
	default:
	}
	syscall.Kill(s.pid, syscall.SIGQUIT) // Go prints its stacks
	syscall.Kill(s.pid, syscall.SIGCONT)
	select {
	case <-s.exited:
	case <-time.After(lookDeadline):
	}
	s.abort()
	syscall.Kill(s.pid, syscall.SIGKILL)
	fmt.Fprintf(os.Stderr, "log of the mount process %d:\n%s\n", s.pid, s.log)
}

// abort ends all requests, also those whose server can't be killed because it waits for itself. Where there is no
// systemd nobody has mounted the control file system.
func (s server) abort() {
	control, err := os.MkdirTemp(suite.dir, "fusectl-")
	if err != nil {
		return
	}
	defer os.Remove(control)
	if unix.Mount("none", control, "fusectl", 0, "") == nil {
		defer unix.Unmount(control, unix.MNT_DETACH)
	}
	os.WriteFile(filepath.Join(control, s.connection, "abort"), []byte("1"), 0)
}

// connectionOf gives the connection's number of the mount at dir: the minor one of the device, see fuse.rst.
func connectionOf(dir string) string {
	info, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[4] == dir && strings.Contains(line, " - fuse.sessionlockfs ") {
			_, minor, _ := strings.Cut(fields[2], ":")
			return minor
		}
	}
	return "none"
}

// endEverything leaves nothing behind when the run is cut short.
func endEverything() {
	for _, pid := range ourProcesses() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for dir := range ourMounts() {
		server{connection: connectionOf(dir)}.abort()
		unix.Unmount(dir, unix.MNT_DETACH)
	}
	if len(ourMounts()) == 0 {
		os.RemoveAll(suite.dir)
	}
}

func ownStacks() string {
	buf := make([]byte, 4<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// stuckThreads tells of the threads that can't be interrupted, or wait for a FUSE server: in which function of the
// kernel. Others' are among them, as nobody can tell whose a stuck process is without hanging with it.
func stuckThreads() string {
	var text strings.Builder
	tasks, _ := filepath.Glob("/proc/[0-9]*/task/*")
	for _, task := range tasks {
		wchan := look(task, "wchan")
		waits := strings.Contains(wchan, "fuse") || strings.Contains(wchan, "request_wait_answer")
		status := look(task, "status")
		if !waits && !strings.Contains(status, "\nState:\tD") || strings.Contains(wchan, "fuse_dev") {
			continue
		}
		head, _, _ := strings.Cut(status, "\nTracerPid:")
		fmt.Fprintf(&text, "%s waits in %s\n%s\n%s\n", task, wchan, head, look(task, "stack"))
	}
	return text.String()
}

// look reads a file of /proc, and gives up on one that can't be read now.
func look(dir, name string) string {
	content := make(chan string, 1)
	go func() {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		content <- string(text)
	}()
	select {
	case text := <-content:
		return text
	case <-time.After(lookDeadline):
		return "(reading " + name + " hangs)"
	}
}

// command is exec.Command for what runs to its end, within commandDeadline. Who keeps its output open does not hold
// up the test.
func command(t testing.TB, argv ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), commandDeadline)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = breakDeadline
	return cmd
}
