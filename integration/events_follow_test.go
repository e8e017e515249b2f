package integration

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionlockfs/internal/events"
)

// eventsFollower is the command as it follows a mount.
type eventsFollower struct {
	cmd    *exec.Cmd
	lines  chan string
	stderr *logBuffer
	exited chan struct{}
}

func (m *mount) follow(t testing.TB, flags ...string) *eventsFollower {
	t.Helper()
	f := &eventsFollower{lines: make(chan string, 1000), stderr: &logBuffer{}, exited: make(chan struct{})}
	f.cmd = m.command(append([]string{suite.binary, "events", "--follow", "--json", m.dir}, flags...)...)
	f.cmd.Stderr = f.stderr
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go f.read(stdout)
	t.Cleanup(func() {
		f.cmd.Process.Kill()
		<-f.exited
	})
	return f
}

func (f *eventsFollower) read(stdout io.Reader) {
	defer close(f.exited)
	defer f.cmd.Wait()
	defer close(f.lines)
	for said := bufio.NewScanner(stdout); said.Scan(); {
		f.lines <- said.Text()
	}
}

// until gives what is said until an event of a kind, of a lock if that is not "".
func (f *eventsFollower) until(t testing.TB, kind, lock string) (all []events.Event) {
	t.Helper()
	deadline := time.After(waitDeadline)
	for {
		select {
		case line, ok := <-f.lines:
			if !ok {
				t.Fatalf("it ended: %s", f.stderr)
			}
			ev := parseEvent(t, line)
			if all = append(all, ev); ev.Event == kind && (lock == "" || ev.Lock == lock) {
				return all
			}
		case <-deadline:
			t.Fatalf("no word of %s %s after %v\n%s", lock, kind, waitDeadline, f.stderr)
		}
	}
}

func TestEventsFollowed(t *testing.T) {
	m := newMount(t)
	f := m.follow(t)
	all := f.until(t, events.Started, "")
	grant := func(name string) time.Duration {
		started := time.Now()
		file, err := createExclusively(m.path(name))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		all = append(all, f.until(t, "granted", name)...)
		return time.Since(started)
	}
	quickest := time.Hour
	for n := range 5 {
		quickest = min(quickest, grant(fmt.Sprintf("%d.lock", n)))
	}
	if quickest > time.Second {
		t.Errorf("a grant is told after %v", quickest)
	}
	m.killServer(t)
	grant("killed.lock")
	if code, said := program(t, "upgrade", m.dir); code != 0 {
		t.Fatalf("upgrade: %d, %s", code, said)
	}
	grant("upgraded.lock")
	late := m.follow(t, "--since", "1h", "--lock", "upgraded.lock")
	late.until(t, "granted", "upgraded.lock")
	if err := os.Remove(m.path("0.lock")); err != nil { // the last is not lost
		t.Fatal(err)
	}
	m.stop(t)
	all = append(all, f.until(t, "released", "0.lock")...)
	mustCount(t, all)
	if all[0].Seq != 1 {
		t.Errorf("the first is %d", all[0].Seq)
	}
	for _, f := range []*eventsFollower{f, late} {
		f.mustEnd(t, 0, "not mounted any more")
	}
}

// mustEnd requires that it has nothing to tell, ends, and says so in one line.
func (f *eventsFollower) mustEnd(t testing.TB, code int, words string) {
	t.Helper()
	select {
	case <-f.exited:
	case <-time.After(waitDeadline):
		t.Fatalf("it goes on: %s", f.stderr)
	}
	said := f.stderr.String()
	if got := f.cmd.ProcessState.ExitCode(); got != code || strings.Count(said, "\n") != 1 || !strings.Contains(said, words) {
		t.Errorf("it ended with %d, want %d, and said %q, want a line with %q", got, code, said, words)
	}
	for line := range f.lines {
		t.Errorf("more is told: %s", line)
	}
}

// A follower that is sent away because it did not read goes on where it stopped.
func TestEventsFollowedSlowly(t *testing.T) {
	m := newMount(t)
	f := m.follow(t)
	all := f.until(t, events.Started, "")
	if err := f.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		file, err := createExclusively(m.path(fmt.Sprintf("%d.lock", n)))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		m.happened(t) // or it may be lost
		m.killServer(t)
	}
	if err := f.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		all = append(all, f.until(t, events.TookOver, "")...)
	}
	mustCount(t, all)
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-f.exited
	if code := f.cmd.ProcessState.ExitCode(); code != 0 || f.stderr.String() != "" {
		t.Errorf("interrupted, it ended with %d, and said %q", code, f.stderr)
	}
}

func TestEventsOfADeadMount(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	f := m.follow(t)
	f.until(t, events.Started, "")
	m.killBoth(t)
	m.cmd = nil
	mustSay(t, exitDead, []string{"dead mount"}, "events", m.dir)
	f.mustEnd(t, exitDead, "dead mount")
	mustSay(t, 0, nil, "unmount", m.dir)
	mustSay(t, exitNotMounted, []string{"not a sessionlockfs mount"}, "events", m.dir)
	mustSay(t, exitNotMounted, []string{"not a sessionlockfs mount"}, "events", "--follow", m.dir)
}

// A server that hangs keeps nobody waiting who does not mean to.
func TestEventsOfAHungServer(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	f := m.follow(t)
	f.until(t, events.Started, "")
	server := m.serverPID(t)
	if err := syscall.Kill(server, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := func() { syscall.Kill(server, syscall.SIGCONT) }
	defer goOn()
	mustSay(t, exitDead, []string{"gives no answer"}, "events", m.dir)
	select {
	case line, ok := <-f.lines:
		t.Errorf("the follower heard %q, %v\n%s", line, ok, f.stderr)
	default:
	}
	goOn()
	file, err := createExclusively(m.path("a.lock"))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	f.until(t, "granted", "a.lock")
}
