package fsnode

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// reaper removes the locks that are to go, by an unlink through the mount, so that
// watchers of the directory see it: a change past the mount, or a notification to the
// kernel, would make no inotify event. Each of its unlinks comes back to us as a request.
//
// mu guards the queue and is never held during a system call, so that Reap never waits.
type reaper struct {
	fs   *FS
	mu   sync.Mutex
	more *sync.Cond
	todo []reaping
	done bool
	dev  uint64 // device of the mounted file system, 0 where it is not to be used

	ended chan struct{}
}

type reaping struct {
	key   lockmgr.Key
	token lockmgr.Token
}

func newReaper(fs *FS) *reaper {
	r := &reaper{fs: fs, ended: make(chan struct{})}
	r.more = sync.NewCond(&r.mu)
	return r
}

// Reap queues a lock for removal. FS is lockmgr's Reaper.
func (fs *FS) Reap(k lockmgr.Key, token lockmgr.Token) {
	r := fs.reaping
	r.mu.Lock()
	defer r.mu.Unlock()
	r.todo = append(r.todo, reaping{k, token})
	r.more.Signal()
}

// Mounted tells the device number under which the mount is seen. With 0 locks are removed
// past it: whoever unmounts must not be in its own way.
func (fs *FS) Mounted(dev uint64) {
	fs.reaping.mu.Lock()
	defer fs.reaping.mu.Unlock()
	fs.reaping.dev = dev
}

func (r *reaper) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	r.more.Signal()
}

// run reaps until the reaper is closed, and then what is left, which can only be done
// past the mount.
func (r *reaper) run() {
	defer close(r.ended)
	for {
		batch, ok := r.next()
		for _, one := range batch {
			r.reap(one)
		}
		if !ok {
			return
		}
	}
}

func (r *reaper) next() (batch []reaping, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.todo) == 0 && !r.done {
		r.more.Wait()
	}
	batch, r.todo = r.todo, nil
	return batch, !r.done
}

// device is that of the mount, 0 if it can't be used to reap.
func (r *reaper) device() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dev
}

func (r *reaper) reap(one reaping) {
	if !r.leaving(one) { // an exclusive create took it over
		return
	}
	dev := r.device()
	if dev == 0 {
		r.reapPastMount(one)
		return
	}
	err := r.unlinkThroughMount(one.key, dev)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		r.fs.Log.Debug().Err(err).Str("lock", one.key.Name).Msg("not removed through the mount")
	}
	r.reapPastMount(one)
}

// reapPastMount removes what is still there when the mount can't be reached: it may be
// unmounted here and alive in a container.
func (r *reaper) reapPastMount(one reaping) {
	turn := r.fs.Locks.Known(one.key)
	if turn == nil {
		return
	}
	defer turn.End()
	if !turn.Leaving(one.token) {
		return
	}
	if err := turn.Reap(); err != nil {
		r.fs.Log.Warn().Err(err).Str("lock", r.fs.pathOfKey(one.key)).Msg("orphan can't be removed; the next exclusive create will try again")
	}
}

func (r *reaper) leaving(one reaping) bool {
	turn := r.fs.Locks.Known(one.key)
	if turn == nil {
		return false
	}
	defer turn.End()
	return turn.Leaving(one.token)
}

// unlinkThroughMount removes the entry as any process would.
func (r *reaper) unlinkThroughMount(k lockmgr.Key, dev uint64) error {
	rel, err := r.fs.dirPath(k.Dir)
	if err != nil {
		return err
	}
	root, err := unix.Open(r.fs.Mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	dir, err := unix.Openat2(root, rel, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if uint64(st.Dev) != dev || st.Ino != r.fs.inodes.numbers.of(k.Dir) {
		return fmt.Errorf("%s is not our mount: %w", r.fs.Mountpoint, unix.ESTALE)
	}
	return unlinkAny(dir, k.Name)
}

// dirPath is where a directory is now, relative to the real root; "." for the root.
func (fs *FS) dirPath(dir lockmgr.InodeID) (string, error) {
	n := fs.inodes.borrow(dir)
	if n == nil {
		return "", lockmgr.ErrGone
	}
	defer fs.inodes.unpin(dir)
	root, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fs.Root.Fd()))
	if err != nil {
		return "", err
	}
	path, err := os.Readlink("/proc/self/fd/" + n.link)
	if err != nil {
		return "", err
	}
	if path == root {
		return ".", nil
	}
	rel, inside := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	if !inside {
		return "", fmt.Errorf("%s has left the tree", path)
	}
	return rel, nil
}

// pathOfKey is a lock's path relative to the mount, for people.
func (fs *FS) pathOfKey(k lockmgr.Key) string {
	dir, err := fs.dirPath(k.Dir)
	switch {
	case err != nil:
		return fmt.Sprintf("(directory %d)/%s", k.Dir.Ino, k.Name)
	case dir == ".":
		return k.Name
	}
	return dir + "/" + k.Name
}

// PathOf is a lock's path relative to the mount, for people. It may be called with a
// turn taken.
func (fs *FS) PathOf(k lockmgr.Key) string { return fs.pathOfKey(k) }
