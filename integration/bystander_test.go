package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestScenario15_BystanderChangesALiveLock(t *testing.T) {
	scenario{15, "a bystander changes a live lock"}.eachVersion(t, func(r *run) {
		m := newMount(r)
		outside := makeOutside(r, m)
		c := r.clients(m, onHost)[0]
		held := c.must(r, "acquire", ask(m, longWait))
		for name, user := range map[string]*syscall.Credential{"root": nil, "nobody": nobody} {
			bystanderCalls(r, m, name, user)
			bystanderCommands(r, m, outside, name, user)
		}
		m.mustBeHeldBy(r, sessionLock, c.pid)
		c.must(r, "release", args{"lock": held.Lock})
		if m.exists(sessionLock) {
			r.Errorf("the lock is there after its release")
		}
	})
}

// makeOutside makes a directory beside the mount that everybody may write.
func makeOutside(t testing.TB, m *mount) string {
	t.Helper()
	dir := filepath.Join(m.parent, "outside")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// attempts are the ways to change a file, as system calls. "other" is a file of the bystander in the same directory,
// "away" a free name there.
var attempts = map[string]func(lock, other, away string) error{
	"unlink":          func(lock, _, _ string) error { return unix.Unlink(lock) },
	"rename away":     func(lock, _, away string) error { return unix.Rename(lock, away) },
	"rename over":     func(lock, other, _ string) error { return unix.Rename(other, lock) },
	"rename exchange": exchange,
	"link over":       func(lock, other, _ string) error { return unix.Link(other, lock) },
	"link elsewhere":  func(lock, _, away string) error { return unix.Link(lock, away) },
	"open to write":   func(lock, _, _ string) error { return openAndClose(lock, unix.O_WRONLY) },
	"open to both":    func(lock, _, _ string) error { return openAndClose(lock, unix.O_RDWR) },
	"open to append":  func(lock, _, _ string) error { return openAndClose(lock, unix.O_WRONLY|unix.O_APPEND) },
	"open and empty":  func(lock, _, _ string) error { return openAndClose(lock, unix.O_WRONLY|unix.O_TRUNC) },
	"create":          func(lock, _, _ string) error { return openAndClose(lock, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC) },
	"truncate":        func(lock, _, _ string) error { return unix.Truncate(lock, 0) },
	"chmod":           func(lock, _, _ string) error { return unix.Chmod(lock, 0o600) },
	"chown":           func(lock, _, _ string) error { return unix.Chown(lock, 1, 1) },
	"touch":           func(lock, _, _ string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, lock, nil, 0) },
	"set times":       func(lock, _, _ string) error { return unix.Utimes(lock, make([]unix.Timeval, 2)) },
	"setxattr":        func(lock, _, _ string) error { return unix.Setxattr(lock, "user.bystander", []byte("1"), 0) },
}

func exchange(lock, other, _ string) error {
	return unix.Renameat2(unix.AT_FDCWD, lock, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
}

func openAndClose(path string, flags int) error {
	fd, err := unix.Open(path, flags, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// helpBystander makes one attempt for each line of stdin, so that the test can look at the file between them.
func helpBystander(arguments []string) error {
	lock, dir := arguments[0], arguments[1]
	other := filepath.Join(dir, fmt.Sprintf("other-%d", os.Getuid()))
	if err := os.WriteFile(other, []byte("mine"), 0o644); err != nil {
		return err
	}
	fmt.Println("ready")
	requests, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var name string
		if err := requests.Decode(&name); err != nil {
			return nil
		}
		var errno syscall.Errno
		errors.As(attempts[name](lock, other, other+".away"), &errno)
		answers.Encode(int(errno))
	}
}

func bystanderCalls(r *run, m *mount, who string, user *syscall.Credential) {
	r.Helper()
	before := m.stateBelow(r, sessionLock)
	bystander := startHelper(r, user, "bystander", m.path(sessionLock), m.dir)
	bystander.line(r)
	requests := json.NewEncoder(bystander.stdin)
	var names []string
	for name := range attempts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		requests.Encode(name)
		var errno syscall.Errno
		if err := json.Unmarshal([]byte(bystander.line(r)), &errno); err != nil {
			r.Fatalf("%s as %s: %v", name, who, err)
		}
		if !refusal(name, errno, user != nil) {
			r.Errorf("%s as %s: %v (%d), want EBUSY", name, who, errno, errno)
		}
		m.mustBeUnchanged(r, sessionLock, before, name+" as "+who)
		if r.Failed() {
			return
		}
	}
}

// refusal says whether an error is as it should be: root has every right and is told that the lock is busy; the kernel
// may turn an ordinary user away before we are asked.
func refusal(name string, errno syscall.Errno, ordinary bool) bool {
	switch errno {
	case syscall.EBUSY:
		return true
	case syscall.EACCES, syscall.EPERM:
		return ordinary
	case syscall.EEXIST:
		return name == "link over"
	}
	return false
}

// commands are the same attempts with the programs people use; $lock, $other, $away and $outside are set.
var commands = []string{
	`rm -f "$lock"`,
	`mv "$lock" "$away"`,
	`mv "$lock" "$outside/"`,
	`mv -f "$other" "$lock"`,
	`ln -f "$other" "$lock"`,
	`ln -sf "$other" "$lock"`,
	`ln "$lock" "$away"`,
	`: > "$lock"`,
	`echo x >> "$lock"`,
	`truncate -s 0 "$lock"`,
	`touch "$lock"`,
	`touch -d 2001-01-01 "$lock"`,
	`chmod 600 "$lock"`,
	`dd if=/dev/null of="$lock" status=none`,
	`cp -f "$other" "$lock"`,
}

var refusalText = regexp.MustCompile(`busy|Permission denied|Operation not permitted`)

func bystanderCommands(r *run, m *mount, outside, who string, user *syscall.Credential) {
	r.Helper()
	before := m.stateBelow(r, sessionLock)
	// Owned by the bystander: what it may do with this file is not in question.
	other := m.path("script-" + who)
	writeFile(r, other, "mine")
	if user != nil {
		os.Chown(other, int(user.Uid), int(user.Gid))
	}
	for _, script := range commands {
		cmd := commandAs(user, "bash", "-c", script)
		cmd.Env = append(cmd.Environ(), "LC_ALL=C", "lock="+m.path(sessionLock), "other="+other, "away="+other+".away", "outside="+outside)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !refusalText.Match(out) {
			r.Errorf("%s as %s: %v, %q", script, who, err, out)
		}
		m.mustBeUnchanged(r, sessionLock, before, script+" as "+who)
		if r.Failed() {
			return
		}
	}
}
