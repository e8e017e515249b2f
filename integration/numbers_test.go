package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// foreignTree has two file systems mounted in it, of which the inode numbers are those of each other and of the
// directory's own.
func foreignTree(t *testing.T) func(dir string) {
	return func(dir string) {
		for _, name := range []string{"one", "two"} {
			point := filepath.Join(dir, name)
			mustRun(t, "mkdir", point)
			memoryOn(t, point, "size=10M")
			writeFile(t, point+"/sub/file", "of "+name)
			mustRun(t, "ln", point+"/sub/file", point+"/sub/second")
		}
		writeFile(t, dir+"/own", "own")
	}
}

// What lies on another file system must not look like hard links of what has its numbers there.
func TestNumbersOfAnotherFileSystem(t *testing.T) {
	m := newMount(t, withContent(foreignTree(t)))
	seen := map[uint64]string{}
	for _, name := range []string{"one", "two", "one/sub", "two/sub", "one/sub/file", "two/sub/file", "own"} {
		st := stat(t, m.path(name))
		if other := seen[st.Ino]; other != "" {
			t.Errorf("%s has the number of %s", name, other)
		}
		seen[st.Ino] = name
		if listed := listedNumber(t, m.path(name)); listed != st.Ino {
			t.Errorf("%s is listed with number %d, its own is %d", name, listed, st.Ino)
		}
	}
	if below := stat(t, m.pathBelow("own")); seen[below.Ino] != "own" {
		t.Errorf("the directory's own file has another number than %d", below.Ino)
	}
	if stat(t, m.path("one/sub/file")).Ino != stat(t, m.path("one/sub/second")).Ino {
		t.Error("two names of one file have two numbers")
	}
	for _, copy := range []string{`cp -a "$1" "$2"`, `mkdir "$2" && tar -C "$1" -cf - . | tar -C "$2" -xf -`} {
		to := t.TempDir() + "/copy"
		mustRun(t, "sh", "-c", copy, "sh", m.dir, to)
		for name, want := range map[string]string{"one/sub/second": "of one", "two/sub/second": "of two", "own": "own"} {
			if got, err := os.ReadFile(to + "/" + name); err != nil || string(got) != want {
				t.Errorf("%s: %s is %q (%v), want %q", copy, name, got, err, want)
			}
		}
	}
}

// A lock on such a file system is taken off it, as anywhere, when its owner dies.
func TestLockOnAnotherFileSystem(t *testing.T) {
	m := newMount(t, withContent(foreignTree(t)))
	holder := startHelper(t, nil, "hold", m.path("one/sub/a.lock"))
	holder.line(t)
	holder.kill()
	waitFor(t, "the dead owner's lock goes", mountDeadline, func() bool { return !m.exists("one/sub/a.lock") })
	if strings.Contains(m.log.String(), "not our mount") {
		t.Error("it was removed past the mount")
	}
}

func stat(t testing.TB, path string) *unix.Stat_t {
	t.Helper()
	st := new(unix.Stat_t)
	if err := unix.Lstat(path, st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return st
}

// listedNumber is the inode number that the directory of a file lists it with.
func listedNumber(t testing.TB, path string) uint64 {
	t.Helper()
	dir, name := filepath.Split(path)
	for _, e := range listing(t, dir) {
		if e.name == name {
			return e.ino
		}
	}
	t.Fatalf("%s is not listed", path)
	return 0
}
