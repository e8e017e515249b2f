package integration

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// full has the limits tested in the slow way: on a disk it takes half a minute to make so many files.
var full = flag.Bool("full", false, "make the 100,000 files of TestBigDirectory on disk, and through the mount")

// memoryOn mounts a tmpfs over a directory until the test ends.
func memoryOn(t testing.TB, dir, options string) {
	t.Helper()
	mustRun(t, "mount", "-t", "tmpfs", "-o", "mode=777,"+options, "none", dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// A directory of 100,000 files is listed, and each of them is seen, with fewer descriptors than that.
func TestBigDirectory(t *testing.T) {
	needPrune(t)
	const count = 100_000
	fill := func(dir string) {
		for i := range count {
			f, err := os.OpenFile(fmt.Sprintf("%s/entry-%d", dir, i), os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	prepare := func(dir string) { memoryOn(t, dir, "nr_inodes=0"); fill(dir) }
	if *full {
		prepare = nil
	}
	m := newMount(t, withDescriptors(t, 8192), withContent(prepare))
	if *full {
		fill(m.dir)
	}
	seen := map[string]bool{}
	for i, e := range listing(t, m.dir) {
		if seen[e.name] {
			t.Fatalf("%s is listed twice", e.name)
		}
		seen[e.name] = true
		if i%5 == 0 && stat(t, m.path(e.name)).Ino != e.ino && e.name != ".." {
			t.Fatalf("%s is listed with another number than it has", e.name)
		}
	}
	if len(seen) != count+2 {
		t.Errorf("%d entries are listed, want %d", len(seen), count+2)
	}
	m.waitRelieved(t, 8192, "entry-%d")
}

func TestLongNames(t *testing.T) {
	m := newMount(t)
	for _, name := range []string{strings.Repeat("n", 255), strings.Repeat("ä", 127) + "x", strings.Repeat("l", 250) + ".lock"} {
		f, err := createExclusively(m.path(name))
		if err != nil {
			t.Fatalf("%d bytes: %v", len(name), err)
		}
		f.Close()
		if listedNumber(t, m.path(name)) != stat(t, m.pathBelow(name)).Ino {
			t.Errorf("%d bytes: another number", len(name))
		}
		long := m.path("x" + name)
		for what, err := range map[string]error{
			"create": os.WriteFile(long, nil, 0o644), "mkdir": os.Mkdir(long, 0o755), "rename": unix.Rename(m.path(name), long),
			"symlink": unix.Symlink("x", long), "link": unix.Link(m.path(name), long), "unlink": unix.Unlink(long),
		} {
			if !errors.Is(err, syscall.ENAMETOOLONG) {
				t.Errorf("%s of 256 bytes: %v", what, err)
			}
		}
		if err := os.Remove(m.path(name)); err != nil {
			t.Error(err)
		}
	}
}

// Files get as big as underneath, which for ext4 is a page less than 16 TiB.
func TestSparseFiles(t *testing.T) {
	m := newMount(t)
	const most = 16 << 40
	for _, size := range []int64{1 << 40, most - 4096, most - 4095, most, most + 1, 1<<62 + 1} {
		bothWays(t, m, fmt.Sprint("truncate to ", size), onSparse(t, func(fd int) string {
			err := unix.Ftruncate(fd, size)
			var st unix.Stat_t
			unix.Fstat(fd, &st)
			return fmt.Sprint(err, st.Size, st.Blocks)
		}))
		bothWays(t, m, fmt.Sprint("write before ", size), onSparse(t, func(fd int) string {
			n, err := unix.Pwrite(fd, []byte("the end"), size-7)
			buf := make([]byte, 100)
			got, readErr := unix.Pread(fd, buf, size-7)
			return fmt.Sprint(n, err, got, readErr, string(buf), holes(fd))
		}))
	}
}

// onSparse opens a file for the act, and empties it before anybody reads all of it.
func onSparse(t *testing.T, act func(fd int) string) func(path string) string {
	return onData(t, func(fd int) string {
		unix.Ftruncate(fd, 0)
		defer unix.Ftruncate(fd, 0)
		return act(fd)
	})
}

// A path may be as long as anywhere, and a directory deeper than a path can say: there, too, a lock is one.
func TestLongPaths(t *testing.T) {
	m := newMount(t)
	atLimit := func(root string) string {
		const longest = unix.PathMax - 1 // it counts the NUL
		path := root
		for len(path) < longest-200 {
			path += "/" + strings.Repeat("d", 100)
		}
		return path + "/" + strings.Repeat("f", longest-len(path)-1)
	}
	path := atLimit(m.dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("text"), 0o644); err != nil {
		t.Errorf("a path of %d bytes: %v", len(path), err)
	}
	mustRead(t, path, "text")
	if _, err := os.Stat(path + "f"); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("a path of %d bytes: %v", len(path)+1, err)
	}
	deep := openDir(t, filepath.Dir(path))
	for range 30 {
		if err := unix.Mkdirat(deep, strings.Repeat("d", 200), 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(deep, strings.Repeat("d", 200), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(next) })
		deep = next
	}
	lock := fmt.Sprintf("/proc/%d/fd/%d/x.lock", os.Getpid(), deep)
	holder := startHelper(t, nil, "hold", lock)
	holder.line(t)
	if _, err := createExclusively(lock); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a second create: %v", err)
	}
	if errno := removeAs(t, nil, lock); errno != syscall.EBUSY {
		t.Errorf("another's removal: %v", errno)
	}
	holder.kill()
	waitFor(t, "the dead owner's lock goes", mountDeadline, func() bool { return unix.Faccessat(deep, "x.lock", 0, 0) != nil })
}

// Thousands of files can be open at once, each of which works, and the one too many gets a clear error.
func TestManyHandles(t *testing.T) {
	const limit = 4096
	m := newMount(t, withDescriptors(t, limit))
	writeFile(t, m.path("file"), "text")
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	var err error
	for len(files) < limit && err == nil {
		var f *os.File
		if f, err = os.Open(m.path("file")); err == nil {
			files = append(files, f)
		}
	}
	if !errors.Is(err, syscall.EMFILE) || len(files) < limit*9/10 {
		t.Errorf("after %d files: %v, want EMFILE near %d", len(files), err, limit)
	}
	for _, f := range files {
		buf := make([]byte, 4)
		if n, err := f.ReadAt(buf, 0); n != 4 || string(buf) != "text" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
	}
}
