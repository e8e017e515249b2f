package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketMode(t *testing.T) {
	old := unix.Umask(0) // as in a server
	defer unix.Umask(old)
	for group, want := range map[int]os.FileMode{-1: 0o600, os.Getgid(): 0o660} {
		path := filepath.Join(t.TempDir(), "deep", "x.sock")
		l, err := Listen(path, group)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != want|os.ModeSocket {
			t.Errorf("for group %d: %v, %v, want %v", group, info.Mode(), err, want)
		}
		if gid := info.Sys().(*syscall.Stat_t).Gid; group >= 0 && int(gid) != group {
			t.Errorf("its group is %d, want %d", gid, group)
		}
		if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o755 {
			t.Errorf("its directory: %v, %v", dir.Mode(), err)
		}
		mustBeAlone(t, path)
		l.Close()
		if _, err := os.Lstat(path); err == nil {
			t.Error("it is there after its end")
		}
	}
}

// mustBeAlone requires that nothing is left of how a socket was made.
func mustBeAlone(t *testing.T, path string) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the socket there are %v, %v", entries, err)
	}
}

// A server that was killed leaves its socket, or was about to make it.
func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.sock")
	stale, err := Listen(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	stale.UnixListener.Close()
	if err := os.MkdirAll(filepath.Join(filepath.Dir(path), ".x.sock.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if !(Socket{Path: path}).Dead() {
		t.Error("somebody listens on the stale one")
	}
	l, err := Listen(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mustBeAlone(t, path)
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	stale.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the end of the one before took the new one away: %v", err)
	}
}

func TestListeningAddress(t *testing.T) {
	for text, want := range map[string]string{
		"9100": "127.0.0.1:9100", ":9100": "127.0.0.1:9100", "0.0.0.0:9100": "0.0.0.0:9100", "[::1]:9100": "[::1]:9100", "host:9100": "host:9100",
		"": "", "host": "", "99999": "", "1:2:3": "", "host:": "",
	} {
		got, err := Listening(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than one line: %v", text, err)
		}
	}
}
