package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cachedFor sets how long the kernel believes the mount about names and attributes.
func cachedFor(d time.Duration) mountOption {
	return func(m *mount) { m.flags = append(m.flags, "--cache-time", d.String()) }
}

// longCached is longer than any test, so that what is seen does not come from a cache that ran out.
const longCached = time.Hour

// underneath are changes of a file, past the mount, that keep its inode.
var underneath = map[string]func(t *testing.T, path string){
	"grown":       func(t *testing.T, path string) { inPlace(t, path, os.O_APPEND, " and more"+strings.Repeat(".", 9000)) },
	"shrunk":      func(t *testing.T, path string) { mustTruncate(t, path, 3) },
	"emptied":     func(t *testing.T, path string) { mustTruncate(t, path, 0) },
	"overwritten": func(t *testing.T, path string) { inPlace(t, path, 0, "BEFORE") },
}

func mustTruncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func inPlace(t *testing.T, path string, flags int, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// Whoever opens a file reads what is in it, however long attributes may be cached, and whether or not somebody else has
// the file open and read.
func TestContentsChangedUnderneath(t *testing.T) {
	m := newMount(t, cachedFor(longCached))
	for name, change := range underneath {
		for _, kept := range []string{"closed", "open"} {
			name := name + "-" + kept
			writeFile(t, m.path(name), "before"+strings.Repeat("-", 9000))
			before := readThrough(t, m.path(name))
			if kept == "open" {
				f, err := os.Open(m.path(name))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				f.Read(make([]byte, 100))
			}
			change(t, m.pathBelow(name))
			want := m.stateBelow(t, name).bytes
			if want == before {
				t.Fatalf("%s: nothing changed", name)
			}
			mustRead(t, m.path(name), want)
		}
	}
}

func readThrough(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// mustRead checks what is read in one go, what is mapped, and the size that the open file has; that last, because a
// read makes the time of access unknown, for which a stat then asks, and learns all.
func mustRead(t *testing.T, path, want string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, len(want)+100)
	if n, _ := f.ReadAt(buf, 0); string(buf[:n]) != want {
		t.Errorf("%s: read %d bytes, starting with %.10q, want %d, with %.10q", path, n, buf[:n], len(want), want)
	}
	if info, err := f.Stat(); err != nil || info.Size() != int64(len(want)) {
		t.Errorf("%s: size %d (%v), want %d", path, info.Size(), err, len(want))
	}
	if want == "" {
		return
	}
	pages, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(pages)
	if string(pages) != want {
		t.Errorf("%s: mapped pages start with %.10q, want %.10q", path, pages, want)
	}
}

// Names and attributes are seen as they are when the cache time is over, contents of replaced files with them.
func TestNamesChangedUnderneath(t *testing.T) {
	m := newMount(t, cachedFor(100*time.Millisecond))
	for _, name := range []string{"replaced", "removed", "mode", "times", "size", "dir/file"} {
		writeFile(t, m.path(name), "before")
		readThrough(t, m.path(name))
	}
	writeFile(t, m.pathBelow("other"), "after")
	shell(t, ".", `cd "`+m.pathOfBelow()+`"
		mv other replaced; rm removed; chmod 640 mode; touch -d 2001-02-03 times; truncate -s 1M size; mv dir moved`)
	within := func(what string, ok func() bool) { t.Helper(); waitFor(t, what, 5*time.Second, ok) }
	within("the new file is read", func() bool { text, _ := os.ReadFile(m.path("replaced")); return string(text) == "after" })
	within("the name is gone", func() bool { _, err := os.Lstat(m.path("removed")); return os.IsNotExist(err) })
	within("the mode is seen", func() bool { return stat(t, m.path("mode")).Mode&0o777 == 0o640 })
	within("the time is seen", func() bool { return stat(t, m.path("times")).Mtim == stat(t, m.pathBelow("times")).Mtim })
	within("the size is seen", func() bool { return stat(t, m.path("size")).Size == 1<<20 })
	within("the directory moved", func() bool { _, err := os.Lstat(m.path("dir")); return os.IsNotExist(err) })
	mustRead(t, m.path("moved/file"), "before")
}

// pathOfBelow is that of the directory underneath, for other processes.
func (m *mount) pathOfBelow() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), m.below.Fd()) }

// A name that was not there is not remembered as such, and a listing is never an old one.
func TestNamesMadeUnderneath(t *testing.T) {
	m := newMount(t, cachedFor(longCached))
	for _, name := range []string{"new", "new.lock"} {
		if _, err := os.Lstat(m.path(name)); !os.IsNotExist(err) {
			t.Fatal(err)
		}
		listing(t, m.dir)
		writeFile(t, m.pathBelow(name), "new")
		listedNumber(t, m.path(name))
		mustRead(t, m.path(name), "new")
	}
	if err := os.Remove(m.pathBelow("new")); err != nil {
		t.Fatal(err)
	}
	for _, e := range listing(t, m.dir) {
		if e.name == "new" {
			t.Error("a name is listed that was removed underneath")
		}
	}
}

// What is written through the mount is there underneath at once, and the other way round also in a file that is open.
func TestOpenFileSeesBothSides(t *testing.T) {
	m := newMount(t, cachedFor(50*time.Millisecond))
	f, err := os.OpenFile(m.path("file"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, text := range []string{"one", "three", "two"} {
		if _, err := f.WriteAt([]byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if got := m.stateBelow(t, "file").bytes; !strings.HasPrefix(got, text) {
			t.Errorf("underneath %q, want %q", got, text)
		}
		inPlace(t, m.pathBelow("file"), os.O_TRUNC, strings.Repeat("x", i+10))
		waitFor(t, "the open file shows it", 5*time.Second, func() bool {
			buf := make([]byte, 100)
			n, _ := f.ReadAt(buf, 0)
			return string(buf[:n]) == strings.Repeat("x", i+10)
		})
	}
}
