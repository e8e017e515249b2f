package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A person looks at the locks, releases an orphan, and takes a held lock away, which needs a yes of another kind.
func TestTopOnATerminal(t *testing.T) {
	m := newMount(t)
	dead := startHelper(t, nil, "hold", m.path("dead.jsonl.lock"))
	dead.line(t)
	live := startHelper(t, nil, "hold", m.path("live.lock"))
	live.line(t)
	dead.kill()
	m.waitOrphan(t, "dead.jsonl.lock")

	s := openScreen(t, 80, 24, "top", m.dir)
	s.mustShow(t, "dead.jsonl.lock", "live.lock", fmt.Sprint(live.cmd.Process.Pid), "orphaned")
	s.press(t, "r")
	s.mustShow(t, "RELEASE dead.jsonl.lock?")
	s.press(t, "y")
	s.mustShow(t, "released dead.jsonl.lock")
	waitFor(t, "the orphan goes", waitDeadline, func() bool { return !m.exists("dead.jsonl.lock") })
	s.press(t, "g", "r", "y", "y") // the second one is no yes
	s.mustShow(t, "live.lock is not released")
	m.mustBeHeldBy(t, "live.lock", live.cmd.Process.Pid)
	s.press(t, "r", "y", "f")
	s.mustShow(t, "released live.lock")
	waitFor(t, "the lock goes that was taken away", waitDeadline, func() bool { return !m.exists("live.lock") })
	s.press(t, "q")
	s.mustEnd(t)
}

// While the mount gives no answer the screen says so, and takes keys; leaving it does not wait for the mount.
func TestTopOfAMountThatHangs(t *testing.T) {
	m := newMount(t)
	holder := startHelper(t, nil, "hold", m.path("live.lock"))
	holder.line(t)
	s := openScreen(t, 80, 24, "top", m.dir)
	s.mustShow(t, "live.lock")
	server := m.serverPID(t)
	if err := unix.Kill(server, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(server, unix.SIGCONT)
	s.mustShow(t, "no answer since")
	s.press(t, "\r")
	s.mustShow(t, "EVENTS, the last first")
	s.press(t, "q")
	s.mustEnd(t)
}

// screen is a terminal and the command that draws on it.
type screen struct {
	cmd   *exec.Cmd
	keys  *os.File
	drawn *logBuffer
	ended chan error
}

func openScreen(t testing.TB, width, height uint16, argv ...string) *screen {
	t.Helper()
	ours, theirs := openTerminal(t, width, height)
	s := &screen{keys: ours, drawn: &logBuffer{}, ended: make(chan error, 1)}
	s.cmd = command(t, append([]string{suite.binary}, argv...)...)
	s.cmd.Env = append(s.cmd.Environ(), "TERM=xterm")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirs, theirs, theirs
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("it drew %q", s.drawn)
		}
	})
	go io.Copy(s.drawn, ours)
	go func() { s.ended <- s.cmd.Wait() }()
	return s
}

// openTerminal gives both ends of one; see pts(4).
func openTerminal(t testing.TB, width, height uint16) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		skip(t, "no terminals: "+err.Error())
	}
	t.Cleanup(func() { ours.Close() })
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height})
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

func (s *screen) press(t testing.TB, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := s.keys.WriteString(key); err != nil {
			t.Fatal(err)
		}
	}
}

// mustShow waits until all of the words have been drawn.
func (s *screen) mustShow(t testing.TB, words ...string) {
	t.Helper()
	for _, word := range words {
		waitFor(t, fmt.Sprintf("%q is on the screen", word), waitDeadline, func() bool {
			return strings.Contains(s.drawn.String(), word)
		})
	}
}

func (s *screen) mustEnd(t testing.TB) {
	t.Helper()
	var err error
	waitFor(t, "it ends", waitDeadline, func() bool {
		select {
		case err = <-s.ended:
			return true
		default:
			return false
		}
	})
	if err != nil {
		t.Errorf("it ended with %v", err)
	}
}
