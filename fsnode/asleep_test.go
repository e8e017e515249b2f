package fsnode

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// newSleepyFS is newFS where all sleeps that can.
func newSleepyFS(t *testing.T) (*FS, *inodeTable) {
	t.Helper()
	fs, _ := newFS(t)
	if fs.inodes.root < 0 {
		t.Skip("no file can be opened by its handle here: that takes root, and a file system like ext4")
	}
	fs.pressure.bedtime = 0
	return fs, fs.inodes
}

// keptFile makes a file that only the law refers to.
func keptFile(t *testing.T, fs *FS, name string) (n *inode, st *unix.Stat_t) {
	t.Helper()
	root := int(fs.Root.Fd())
	fd, err := unix.Openat(root, name, unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	fd, st, err = statAt(root, name)
	if err != nil {
		t.Fatal(err)
	}
	n = fs.inodes.keep(fd, st)
	fs.Pin(n.real)
	fs.inodes.giveBack(n)
	return n, st
}

func TestSleep(t *testing.T) {
	fs, table := newSleepyFS(t)
	n, st := keptFile(t, fs, "a.lock")
	mustSleep := func(when string) {
		t.Helper()
		if n.fd != -1 || table.asleep != 1 {
			t.Errorf("%s: descriptor %d, %d sleep", when, n.fd, table.asleep)
		}
	}
	mustSleep("when only the law refers to it")

	if b, err := table.borrow(n.real); b != n || err != nil || n.fd < 0 || table.asleep != 0 {
		t.Errorf("borrowed: %v, descriptor %d, %d sleep", err, n.fd, table.asleep)
	}
	table.giveBack(n)
	mustSleep("when it was given back")

	fd, st2, err := statAt(int(fs.Root.Fd()), "a.lock")
	if err != nil {
		t.Fatal(err)
	}
	if seen := table.remember(fd, st2); seen != n || n.fd != fd {
		t.Error("it was not found by its name")
	}
	table.forget(n.id, 1)
	mustSleep("when the kernel forgot it")

	if again := table.enterAsleep(st, n.handle); again != nil {
		t.Error("it was entered twice")
	}
	fs.Unpin(n.real)
	if table.byReal[n.real] != nil || table.asleep != 0 {
		t.Errorf("nobody refers to it: %d sleep", table.asleep)
	}
}

// An inode is gone, and another one has its number: the law must not take that for the one that it tracks.
func TestNumberUsedAgain(t *testing.T) {
	fs, table := newSleepyFS(t)
	n, st := keptFile(t, fs, "a.lock")
	n.handle.bytes[len(n.handle.bytes)-1] ^= 0x55 // so it is another inode's, of an earlier generation
	key := lockmgr.Key{Dir: table.node(1).real, Name: "a.lock"}

	if _, err := table.borrow(n.real); !errors.Is(err, lockmgr.ErrGone) || err == errUnused {
		t.Errorf("borrow what is gone: %v", err)
	}
	if _, err := fs.Content(key, n.real); !errors.Is(err, lockmgr.ErrGone) {
		t.Errorf("read what is gone: %v", err)
	}
	if err := fs.Remove(key, n.real); !errors.Is(err, lockmgr.ErrGone) {
		t.Errorf("remove what is gone: %v", err)
	}
	fd, st2, err := statAt(int(fs.Root.Fd()), "a.lock")
	if err != nil {
		t.Fatal("the file that has the number went: ", err)
	}
	other := table.remember(fd, st2)
	if other == n || other.real == n.real || other.ino != n.ino {
		t.Errorf("the other one is %v, seen as %d", other.real, other.ino)
	}
	if table.id(st) != other.real {
		t.Errorf("the number is that of %v, want %v", table.id(st), other.real)
	}
	fs.Unpin(n.real)
	if table.id(st) != other.real {
		t.Error("the other one has another name when the first is forgotten")
	}
	table.forget(other.id, 1)
	if len(table.reused) > 0 || table.asleep != 0 {
		t.Errorf("left: %v, %d sleep", table.reused, table.asleep)
	}
}
