package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"sessionlockfs/internal/events"
)

// Others than who mounted are told that it is not for them, but for the group that may ask.
func TestEventsOfOthers(t *testing.T) {
	group := &syscall.Credential{Uid: 1234, Gid: 4321}
	m := newMount(t, withFlags("--control-group", "4321"))
	for _, user := range []*syscall.Credential{nobody, group} {
		if out, err := commandAs(user, "cat", m.path(".sessionlockfs/events")).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("Permission denied")) {
			t.Errorf("user %d reads the control file: %v\n%s", user.Uid, err, out)
		}
	}
	for _, follow := range []string{"--follow=false", "--follow"} {
		out, err := commandAs(nobody, suite.binary, "events", follow, m.dir).CombinedOutput()
		if code := exitCode(err); code != exitNoFUSE || bytes.Count(out, []byte{'\n'}) != 1 || !bytes.Contains(out, []byte("not for you")) {
			t.Errorf("%s: exit code %d, want %d and one line\n%s", follow, code, exitNoFUSE, out)
		}
	}
	text, err := commandAs(group, suite.binary, "events", "--json", m.dir).Output()
	if err != nil || parseEvent(t, string(text)).Event != events.Started {
		t.Errorf("the group: %v\n%s", err, text)
	}
}

func exitCode(err error) int {
	if exit, is := err.(*exec.ExitError); is {
		return exit.ExitCode()
	}
	return 0
}

// An ordinary user's mount tells that user, on a socket if there is a place for one, and root.
func TestEventsOfAnOrdinaryUser(t *testing.T) {
	needRoot(t)
	runtime, err := os.MkdirTemp(suite.dir, "run-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(runtime, int(nobody.Uid), int(nobody.Gid)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	m := newMount(t, asUser(nobody))
	f := m.follow(t)
	f.until(t, events.Started, "")
	lock := startHelper(t, nobody, "make", m.path("a.lock"))
	lock.line(t)
	f.until(t, "granted", "a.lock")
	if err := os.Remove(filepath.Join(runtime, "sessionlockfs", "0-"+connectionOf(m.dir)+".sock")); err != nil {
		t.Fatal(err)
	}
	mustHappen(t, m.happened(t), "granted", "a.lock") // without the socket
	if out, err := m.command(suite.binary, "events", "--follow", m.dir).CombinedOutput(); exitCode(err) != exitNoFUSE || !bytes.Contains(out, []byte("no control socket")) {
		t.Errorf("followed without a socket: %v\n%s", err, out)
	}
}
