package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// dirEntry is one that getdents64(2) gives.
type dirEntry struct {
	name string
	ino  uint64
	next int64 // the cookie of what follows it
}

// openDir opens a directory until the test ends.
func openDir(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// readEntries gives what one call of getdents64(2) with a buffer of this size does; nothing at the end.
func readEntries(t testing.TB, fd, size int) (entries []dirEntry) {
	t.Helper()
	buf := make([]byte, size)
	n, err := unix.Getdents(fd, buf)
	if err != nil {
		t.Fatalf("getdents: %v", err)
	}
	for rest := buf[:n]; len(rest) > 0; {
		length := binary.NativeEndian.Uint16(rest[16:])
		name, _, _ := bytes.Cut(rest[19:length], []byte{0})
		entries = append(entries, dirEntry{
			name: string(name), ino: binary.NativeEndian.Uint64(rest), next: int64(binary.NativeEndian.Uint64(rest[8:])),
		})
		rest = rest[length:]
	}
	return entries
}

// listing is all of a directory, with "." and "..".
func listing(t testing.TB, path string) (entries []dirEntry) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	defer unix.Close(fd)
	return restOf(t, fd)
}

func restOf(t testing.TB, fd int) (entries []dirEntry) {
	t.Helper()
	for {
		more := readEntries(t, fd, 32<<10)
		if len(more) == 0 {
			return entries
		}
		entries = append(entries, more...)
	}
}

func seekTo(t testing.TB, fd int, cookie int64) {
	t.Helper()
	if _, err := unix.Seek(fd, cookie, unix.SEEK_SET); err != nil {
		t.Fatalf("seek to %d: %v", cookie, err)
	}
}

// Cookies hold while entries come and go, also that of an entry that went: what stays is listed once.
func TestCookiesHold(t *testing.T) {
	m := newMount(t)
	name := func(i int) string { return fmt.Sprintf("entry-%04d", i) }
	for i := range 400 {
		writeFile(t, m.path(name(i)), "")
	}
	fd := openDir(t, m.dir)
	for i, at := range restOf(t, fd) {
		if i%40 != 0 {
			continue
		}
		before := listedUpTo(t, fd, at.next)
		os.Remove(m.path(at.name))
		writeFile(t, m.path(fmt.Sprintf("new-%d", i)), "")
		seekTo(t, fd, at.next)
		mustContinue(t, m, before, restOf(t, fd))
	}
}

func listedUpTo(t *testing.T, fd int, cookie int64) map[string]bool {
	t.Helper()
	seekTo(t, fd, 0)
	names := map[string]bool{}
	for _, e := range restOf(t, fd) {
		names[e.name] = true
		if e.next == cookie {
			break
		}
	}
	return names
}

// mustContinue checks that what was listed before a cookie and what is listed after it make up the directory.
func mustContinue(t *testing.T, m *mount, before map[string]bool, rest []dirEntry) {
	t.Helper()
	listed := before
	for _, e := range rest {
		if before[e.name] && e.name[0] == 'e' {
			t.Errorf("%s is listed twice", e.name)
		}
		listed[e.name] = true
	}
	for _, e := range listing(t, fmt.Sprintf("/proc/self/fd/%d", m.below.Fd())) {
		if !listed[e.name] && e.name[0] == 'e' {
			t.Errorf("%s is not listed", e.name)
		}
	}
}

// What is told of entries while they are listed is what a stat of each says below.
func TestListedAndLookedUp(t *testing.T) {
	m := newMount(t)
	shell(t, m.dir, `mkdir d; for i in $(seq 300); do echo $i > file-$i; done; ln file-1 hard; ln -s file-1 symbolic; mkfifo pipe; chmod 640 file-2; touch -d @1000000000.5 file-3`)
	for range 2 { // the second time what was told is believed
		for _, e := range listing(t, m.dir) {
			if e.name == ".." {
				continue
			}
			var here, below unix.Stat_t
			if err := unix.Lstat(m.path(e.name), &here); err != nil {
				t.Fatal(e.name, err)
			}
			if err := unix.Lstat(m.pathBelow(e.name), &below); err != nil {
				t.Fatal(e.name, err)
			}
			if here.Dev = below.Dev; here != below {
				t.Errorf("%s is %+v, want %+v", e.name, here, below)
			}
		}
	}
}
