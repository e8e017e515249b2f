package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// bothWays does the same on the mount and underneath; what it says must be the same.
func bothWays(t *testing.T, m *mount, name string, act func(path string) string) {
	t.Helper()
	got, want := act(m.path("mount")), act(m.pathBelow("bare"))
	if got != want {
		t.Errorf("%s: %s; underneath %s", name, got, want)
	}
	if a, b := m.stateBelow(t, "mount"), m.stateBelow(t, "bare"); a.bytes != b.bytes || a.size != b.size {
		t.Errorf("%s: another content than underneath, sizes %d and %d", name, a.size, b.size)
	}
}

// onData opens a new file of 64 KiB for the act and closes it.
func onData(t *testing.T, act func(fd int) string) func(path string) string {
	return func(path string) string {
		if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcdef"), 4096), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return act(int(f.Fd()))
	}
}

func TestFallocate(t *testing.T) {
	m := newMount(t)
	for name, mode := range map[string]uint32{
		"allocate": 0, "allocate, same size": unix.FALLOC_FL_KEEP_SIZE,
		"punch": unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, "punch wrongly": unix.FALLOC_FL_PUNCH_HOLE,
		"zero": unix.FALLOC_FL_ZERO_RANGE, "zero, same size": unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE,
	} {
		for _, at := range [][2]int64{{4096, 8192}, {100, 5000}, {60_000, 100_000}, {0, 0}} {
			bothWays(t, m, fmt.Sprint(name, at), onData(t, func(fd int) string {
				err := unix.Fallocate(fd, mode, at[0], at[1])
				var st unix.Stat_t
				_ = unix.Fstat(fd, &st)
				said := fmt.Sprint(err, st.Size, st.Blocks)
				// Blocks that are allocated and zero are a hole or not as their pages happen to be cached.
				if mode&unix.FALLOC_FL_ZERO_RANGE == 0 {
					said += holes(fd)
				}
				return said
			}))
		}
	}
}

// The kernel's fuse_file_fallocate knows no other modes: what a file system below may have is refused, and nothing done.
func TestFallocateRefused(t *testing.T) {
	m := newMount(t)
	for _, mode := range []uint32{unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE} {
		said := onData(t, func(fd int) string { return fmt.Sprint(unix.Fallocate(fd, mode, 4096, 4096)) })(m.path("file"))
		if said != syscall.EOPNOTSUPP.Error() {
			t.Errorf("mode %#x: %s", mode, said)
		}
		if size := m.stateBelow(t, "file").size; size != 65536 {
			t.Errorf("mode %#x: size %d", mode, size)
		}
	}
}

// holes says where lseek(2) finds data and holes.
func holes(fd int) string {
	var found []string
	for at := int64(0); ; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err != nil {
			return fmt.Sprint(found, err)
		}
		if at, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
			return fmt.Sprint(found, err)
		}
		found = append(found, fmt.Sprintf("%d-%d", data, at))
	}
}

func TestDataAndHoles(t *testing.T) {
	m := newMount(t)
	bothWays(t, m, "sparse", onData(t, func(fd int) string {
		for _, at := range []int64{1 << 20, 5 << 20, 5<<20 + 8192} {
			if _, err := unix.Pwrite(fd, []byte("data"), at); err != nil {
				t.Fatal(err)
			}
		}
		said := holes(fd)
		for _, at := range []int64{0, 70_000, 1<<20 + 2, 6 << 20, -1} {
			for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE, unix.SEEK_END, 99} {
				off, err := unix.Seek(fd, at, whence)
				said += fmt.Sprint(";", off, err)
			}
		}
		return said
	}))
}

func TestCopyFileRange(t *testing.T) {
	m := newMount(t)
	for _, c := range []struct {
		from, to int64
		size     int
	}{{0, 100_000, 65536}, {100, 200_000, 5000}, {60_000, 70_000, 50_000}, {0, 10, 1000}, {70_000, 0, 10}, {0, 70_000, 0}} {
		bothWays(t, m, fmt.Sprint(c), onData(t, func(fd int) string {
			from, to := c.from, c.to
			n, err := unix.CopyFileRange(fd, &from, fd, &to, c.size, 0)
			return fmt.Sprint(n, err, from, to)
		}))
	}
	out, err := os.Create(m.parent + "/outside")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	onData(t, func(fd int) string { return fmt.Sprint(unix.Sendfile(int(out.Fd()), fd, nil, 1<<20)) })(m.path("file"))
	if text := readThrough(t, out.Name()); text != m.stateBelow(t, "file").bytes {
		t.Errorf("%d bytes arrived outside", len(text))
	}
}

// Descriptors of a file map the same pages, and who reads it past the mount sees them when they are written back.
func TestSharedMapping(t *testing.T) {
	m := newMount(t)
	writeFile(t, m.path("file"), strings.Repeat("-", 8192))
	pages := func(prot int) []byte {
		f, err := os.OpenFile(m.path("file"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p, err := unix.Mmap(int(f.Fd()), 0, 8192, prot, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Munmap(p) })
		return p
	}
	one, two, seen := pages(unix.PROT_READ|unix.PROT_WRITE), pages(unix.PROT_READ|unix.PROT_WRITE), pages(unix.PROT_READ)
	copy(one[10:], "one")
	copy(two[5000:], "two")
	if string(seen[10:13]) != "one" || string(one[5000:5003]) != "two" {
		t.Error("a mapping does not show what was written through another")
	}
	for _, p := range [][]byte{one, two} {
		if err := unix.Msync(p, unix.MS_SYNC); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.stateBelow(t, "file").bytes; got != string(seen) {
		t.Errorf("underneath %q and %q", got[10:13], got[5000:5003])
	}
}

// lockings are the three kinds of advisory locks.
var lockings = map[string]func(fd int, kind int16) error{
	"flock": func(fd int, kind int16) error {
		how := map[int16]int{unix.F_WRLCK: unix.LOCK_EX, unix.F_RDLCK: unix.LOCK_SH, unix.F_UNLCK: unix.LOCK_UN}[kind]
		return unix.Flock(fd, how|unix.LOCK_NB)
	},
	"POSIX": func(fd int, kind int16) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: kind, Start: 10, Len: 10})
	},
	"OFD": func(fd int, kind int16) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: 10, Len: 10})
	},
}

// helpLocking takes a lock of a kind and keeps it.
func helpLocking(arguments []string) error {
	f, err := os.OpenFile(arguments[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	kind := map[string]int16{"shared": unix.F_RDLCK, "exclusive": unix.F_WRLCK}[arguments[2]]
	if err := lockings[arguments[1]](int(f.Fd()), kind); err != nil {
		return err
	}
	fmt.Println("locked")
	untilStdinEnds()
	return nil
}

// An advisory lock of a process keeps others out, as long as it lives, and what is not locked is free.
func TestAdvisoryLocks(t *testing.T) {
	m := newMount(t)
	f, err := os.Create(m.path("file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f, err = os.OpenFile(m.path("file"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, lock := range lockings {
		for _, how := range []string{"shared", "exclusive"} {
			holder := startHelper(t, nil, "locking", m.path("file"), name, how)
			holder.line(t)
			if err := lock(int(f.Fd()), unix.F_WRLCK); !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("%s: exclusive beside %s: %v", name, how, err)
			}
			if err := lock(int(f.Fd()), unix.F_RDLCK); (err == nil) != (how == "shared") {
				t.Errorf("%s: shared beside %s: %v", name, how, err)
			}
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 20, Len: 5}); err != nil {
				t.Errorf("%s: another range: %v", name, err)
			}
			holder.kill()
			waitFor(t, "the dead process's lock is gone", mountDeadline, func() bool { return lock(int(f.Fd()), unix.F_WRLCK) == nil })
			for _, unlock := range lockings {
				unlock(int(f.Fd()), unix.F_UNLCK)
			}
		}
	}
}

// The file system has the size, the room and the limits of that underneath; also one that is mounted below it.
func TestStatfs(t *testing.T) {
	m := newMount(t, withContent(func(dir string) {
		memoryOn(t, dir, "size=10M")
		writeFile(t, dir+"/file", strings.Repeat("x", 1<<20))
		mustRun(t, "mkdir", dir+"/sub")
		memoryOn(t, dir+"/sub", "size=3M")
	}))
	for _, name := range []string{".", "file", "sub"} {
		var got, want unix.Statfs_t
		if err := errors.Join(unix.Statfs(m.path(name), &got), unix.Statfs(m.pathBelow(name), &want)); err != nil {
			t.Fatal(err)
		}
		got.Type, got.Fsid, got.Flags = want.Type, want.Fsid, want.Flags // these are the mount's own
		if got != want {
			t.Errorf("%s: %+v; underneath %+v", name, got, want)
		}
	}
}
