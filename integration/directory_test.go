package integration

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helpMkdir makes a directory and files in it, and holds it until stdin ends.
func helpMkdir(arguments []string) error {
	if err := os.Mkdir(arguments[0], 0o777); err != nil {
		return err
	}
	for _, file := range arguments[1:] {
		name, text, _ := strings.Cut(file, "=")
		text = strings.ReplaceAll(text, "$$", strconv.Itoa(os.Getpid()))
		if err := os.WriteFile(arguments[0]+"/"+name, []byte(text), 0o666); err != nil {
			return err
		}
	}
	return untilTold("held")
}

func untilTold(word string) error {
	os.Stdout.WriteString(word + "\n")
	untilStdinEnds()
	return nil
}

// What is in a lock directory is its owner's alone, also below it.
func TestLockDirectoryIsProtectedInside(t *testing.T) {
	m := newMount(t)
	h := startHelper(t, nil, "mkdir", m.path("x.lock"), "owner=$$")
	h.line(t)
	m.mustBeHeldBy(t, "x.lock", h.cmd.Process.Pid)
	writeFile(t, m.path("other"), "other\n")
	before := m.stateBelow(t, "x.lock/owner")
	for what, act := range map[string]func() error{
		"create":    func() error { return os.WriteFile(m.path("x.lock/mine"), nil, 0o666) },
		"mkdir":     func() error { return os.Mkdir(m.path("x.lock/mine"), 0o777) },
		"symlink":   func() error { return os.Symlink("x", m.path("x.lock/mine")) },
		"link":      func() error { return os.Link(m.path("other"), m.path("x.lock/mine")) },
		"rename in": func() error { return os.Rename(m.path("other"), m.path("x.lock/mine")) },
		"rename":    func() error { return os.Rename(m.path("x.lock/owner"), m.path("x.lock/mine")) },
		"out":       func() error { return os.Rename(m.path("x.lock/owner"), m.path("mine")) },
		"remove":    func() error { return os.Remove(m.path("x.lock/owner")) },
		"write":     func() error { return os.WriteFile(m.path("x.lock/owner"), nil, 0o666) },
		"truncate":  func() error { return os.Truncate(m.path("x.lock/owner"), 0) },
		"chmod":     func() error { return os.Chmod(m.path("x.lock/owner"), 0) },
		"times":     func() error { return os.Chtimes(m.path("x.lock/owner"), time.Now(), time.Now()) },
		"xattr":     func() error { return unix.Setxattr(m.path("x.lock/owner"), "user.a", []byte("b"), 0) },
		"rmdir":     func() error { return os.Remove(m.path("x.lock")) },
		"move":      func() error { return os.Rename(m.path("x.lock"), m.path("y")) },
		"its times": func() error { return os.Chtimes(m.path("x.lock"), time.Now(), time.Now()) },
	} {
		if err := act(); !errors.Is(err, syscall.EBUSY) {
			t.Errorf("%s by somebody else: %v", what, err)
		}
	}
	m.mustBeUnchanged(t, "x.lock/owner", before, "what others did")
	if names := shell(t, m.pathBelow("x.lock"), "ls"); names != "owner" {
		t.Errorf("in it: %q", names)
	}
}

// A dead owner's directory goes with the lock files in it, and with nothing else.
func TestLockDirectoryOfTheDead(t *testing.T) {
	for title, row := range map[string]struct {
		files []string
		after func(t *testing.T, m *mount)
		stays bool
	}{
		"empty":            {nil, nil, false},
		"a PID":            {[]string{"pid=$$"}, nil, false},
		"an empty file":    {[]string{"x="}, nil, false},
		"somebody's PID":   {[]string{"pid=1"}, nil, true},
		"data":             {[]string{"pid=$$", "data=important\n"}, nil, true},
		"65 files":         {numbered(65), nil, true},
		"64 files":         {numbered(64), nil, false},
		"a link":           {nil, func(t *testing.T, m *mount) { os.Symlink("/etc/passwd", m.pathBelow("x.lock/l")) }, true},
		"a directory":      {nil, func(t *testing.T, m *mount) { os.Mkdir(m.pathBelow("x.lock/d"), 0o777) }, true},
		"a file too large": {nil, func(t *testing.T, m *mount) { writeFile(t, m.pathBelow("x.lock/f"), strings.Repeat(" ", 1<<20)) }, true},
	} {
		t.Run(title, func(t *testing.T) {
			m := newMount(t)
			h := startHelper(t, nil, "mkdir", append([]string{m.path("x.lock")}, row.files...)...)
			h.line(t)
			if row.after != nil {
				row.after(t, m)
			}
			content := shell(t, m.pathBelow("x.lock"), "find . | sort")
			h.kill()
			if !row.stays {
				waitFor(t, "it goes", waitDeadline, func() bool { return !m.exists("x.lock") })
				return
			}
			waitFor(t, "it is abandoned", waitDeadline, func() bool { return m.lock(t, "x.lock").State == "abandoned" })
			if err := os.Mkdir(m.path("x.lock"), 0o777); !errors.Is(err, syscall.EEXIST) {
				t.Errorf("mkdir of it: %v", err)
			}
			if now := shell(t, m.pathBelow("x.lock"), "find . | sort"); now != content {
				t.Errorf("in it: %q, before %q", now, content)
			}
			shell(t, m.dir, "rm -r x.lock")
		})
	}
}

func numbered(n int) (files []string) {
	for i := range n {
		files = append(files, "f"+strconv.Itoa(i)+"=$$")
	}
	return files
}

// A script fences what it does by the token, which grows with each grant.
func TestTokenAndOwnerAsAttributes(t *testing.T) {
	m := newMount(t)
	get := func(path, attr string) (string, error) {
		buf := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, attr, buf)
		return string(buf[:max(n, 0)]), err
	}
	var last uint64
	for range 2 {
		file, dir := startHelper(t, nil, "hold", m.path("a.lock")), startHelper(t, nil, "mkdir", m.path("b.lock"))
		for name, h := range map[string]*helper{"a.lock": file, "b.lock": dir} {
			h.line(t)
			token, err := get(m.path(name), "user.sessionlockfs.token")
			if want := m.lock(t, name).Token; err != nil || token != strconv.FormatUint(want, 10) {
				t.Errorf("%s: token %q, %v; want %d", name, token, err, want)
			}
			if n, _ := strconv.ParseUint(token, 10, 64); n <= last && name == "a.lock" {
				t.Errorf("token %d comes after %d", n, last)
			} else if name == "a.lock" {
				last = n
			}
			var owner struct{ PID int }
			text, err := get(m.path(name), "user.sessionlockfs.owner")
			if err != nil || json.Unmarshal([]byte(text), &owner) != nil || owner.PID != h.cmd.Process.Pid {
				t.Errorf("%s: owner %q, %v; want PID %d", name, text, err, h.cmd.Process.Pid)
			}
			list := make([]byte, 4096)
			if n, err := unix.Llistxattr(m.path(name), list); err != nil || strings.Contains(string(list[:n]), "sessionlockfs") {
				t.Errorf("%s: listed %q, %v", name, list[:n], err)
			}
			for _, attr := range []string{"user.sessionlockfs.token", "user.sessionlockfs.x"} {
				if err := unix.Lsetxattr(m.path(name), attr, []byte("1"), 0); err != syscall.EPERM {
					t.Errorf("%s: setting %s: %v", name, attr, err)
				}
			}
		}
		for _, h := range []*helper{file, dir} {
			h.kill()
		}
		waitFor(t, "the dead one's locks go", waitDeadline, func() bool { return !m.exists("a.lock") && !m.exists("b.lock") })
	}
	writeFile(t, m.path("free.lock"), "")
	if _, err := get(m.path("free.lock"), "user.sessionlockfs.token"); err != syscall.ENODATA {
		t.Errorf("the token of what nobody holds: %v", err)
	}
}
