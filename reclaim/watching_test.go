package reclaim

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// inotify is an instance of this process until the test ends.
func inotify(t *testing.T) int {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func addWatch(t *testing.T, fd int, path string) (wd int, st unix.Stat_t) {
	t.Helper()
	wd, err := unix.InotifyAddWatch(fd, path, unix.IN_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return wd, st
}

func TestWatches(t *testing.T) {
	self := lockmgr.Identity{PID: int32(os.Getpid())}
	asks := func(st unix.Stat_t) bool { // a new Processes remembers nothing
		return New(Options{}).Watches(self, uint64(st.Dev), st.Ino)
	}
	inotify(t) // an instance that watches nothing
	fd := inotify(t)
	watched, other := t.TempDir(), t.TempDir()
	wd, st := addWatch(t, fd, watched)
	var unwatched unix.Stat_t
	if err := unix.Stat(other, &unwatched); err != nil {
		t.Fatal(err)
	}
	if !asks(st) {
		t.Error("the watch is not seen")
	}
	if asks(unwatched) {
		t.Error("a directory that nobody watches is said to be")
	}
	elsewhere := st
	elsewhere.Dev = unix.Mkdev(0, 1<<19)
	if asks(elsewhere) {
		t.Error("the same inode number of another device is taken for it")
	}
	if _, err := unix.InotifyRmWatch(fd, uint32(wd)); err != nil {
		t.Fatal(err)
	}
	if asks(st) {
		t.Error("the watch is seen after its end")
	}
	if New(Options{}).Watches(lockmgr.Identity{PID: startCat(t).pid()}, uint64(st.Dev), st.Ino) {
		t.Error("another process is said to watch")
	}
}

// Of many watches none is overlooked, wherever the text of the kernel is cut.
func TestManyWatches(t *testing.T) {
	fd, dir := inotify(t), t.TempDir()
	var stats []unix.Stat_t
	for i := range 1000 {
		path := dir + "/" + strconv.Itoa(i)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		_, st := addWatch(t, fd, path)
		stats = append(stats, st)
	}
	info := procfs("/proc").of(int32(os.Getpid()), "fdinfo/"+strconv.Itoa(fd))
	for i := 0; i < len(stats); i += 37 { // 8 ms each: the kernel is slow to tell
		if !lists(info, watchOf(uint64(stats[i].Dev), stats[i].Ino)) {
			t.Fatalf("watch %d is not seen", i)
		}
	}
}

// A short while the answer is remembered.
func TestWatchAnswersAreRemembered(t *testing.T) {
	p := New(Options{})
	fd := inotify(t)
	wd, st := addWatch(t, fd, t.TempDir())
	self := lockmgr.Identity{PID: int32(os.Getpid())}
	if !p.Watches(self, uint64(st.Dev), st.Ino) {
		t.Fatal("the watch is not seen")
	}
	if _, err := unix.InotifyRmWatch(fd, uint32(wd)); err != nil {
		t.Fatal(err)
	}
	until(t, "the answer is asked for again", func() bool { return !p.Watches(self, uint64(st.Dev), st.Ino) })
	for i := range 2 * maxAnswers {
		p.Watches(self, uint64(st.Dev), uint64(i))
	}
	if len(p.watching.answers) > maxAnswers {
		t.Errorf("%d answers are kept", len(p.watching.answers))
	}
}
