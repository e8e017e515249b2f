package fsnode

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// reaper removes the locks that are to go, by an unlink through the mount, so that
// watchers of the directory see it: a change past the mount, or a notification to the
// kernel, would make no inotify event. Each of its unlinks comes back to us as a request.
//
// While it is inside the mount nobody can unmount that, so it is in there only as long as
// it has something to do, and leaves when it is asked to.
//
// mu guards the fields below it and is never held during a system call, so that Reap never
// waits. changed tells of every change to them.
type reaper struct {
	fs    *FS
	ended chan struct{}

	mu      sync.Mutex
	changed *sync.Cond
	todo    []reaping
	done    bool
	dev     uint64    // device of the mounted file system, 0 where it is not to be used
	inside  bool      // it has a directory of the mount open
	away    time.Time // until then it stays out
}

type reaping struct {
	key   lockmgr.Key
	token lockmgr.Token
}

func newReaper(fs *FS) *reaper {
	r := &reaper{fs: fs, ended: make(chan struct{})}
	r.changed = sync.NewCond(&r.mu)
	return r
}

// set changes fields.
func (r *reaper) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.changed.Broadcast()
}

// Reap queues a lock for removal. FS is lockmgr's Reaper.
func (fs *FS) Reap(k lockmgr.Key, token lockmgr.Token) {
	r := fs.reaping
	r.set(func() { r.todo = append(r.todo, reaping{k, token}) })
}

// Mounted tells the device number under which the mount is seen. With 0 locks are removed
// past it: there is no mount any more.
func (fs *FS) Mounted(dev uint64) {
	r := fs.reaping
	r.set(func() { r.dev = dev })
}

// device is that of the mount, 0 if there is none.
func (r *reaper) device() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dev
}

// Withdraw keeps us out of our own mount for a while, in which it can be unmounted, and
// returns when we are out. What is to be removed waits; it is hidden from everybody and
// free for the next create all the same. Return ends the while.
func (fs *FS) Withdraw(d time.Duration) {
	r := fs.reaping
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = time.Now().Add(d)
	time.AfterFunc(d, func() { r.set(func() {}) })
	for r.inside {
		r.changed.Wait()
	}
}

// Return ends what Withdraw began.
func (fs *FS) Return() {
	r := fs.reaping
	r.set(func() { r.away = time.Time{} })
}

func (r *reaper) close() { r.set(func() { r.done = true }) }

// run reaps until the reaper is closed, and then what is left, which can only be done
// past the mount.
func (r *reaper) run() {
	defer close(r.ended)
	for {
		batch, ok := r.next()
		for dir, group := range byDirectory(batch) {
			r.reapIn(dir, group)
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
		r.changed.Wait()
	}
	batch, r.todo = r.todo, nil
	return batch, !r.done
}

func byDirectory(batch []reaping) map[lockmgr.InodeID][]reaping {
	groups := map[lockmgr.InodeID][]reaping{}
	for _, one := range batch {
		groups[one.key.Dir] = append(groups[one.key.Dir], one)
	}
	return groups
}

// reapIn removes locks of one directory, which it opens once, and again for each time that
// it had to leave the mount in between.
func (r *reaper) reapIn(dir lockmgr.InodeID, group []reaping) {
	for len(group) > 0 {
		fd := r.enter(dir)
		for len(group) > 0 && !(fd >= 0 && r.wantedOut()) {
			r.reap(group[0], fd)
			group = group[1:]
		}
		r.leave(fd)
	}
}

// enter opens a directory of the mount, as soon as nobody wants us out of it. -1 means that
// it can't be reached: the mount may be unmounted here and alive in a container.
func (r *reaper) enter(dir lockmgr.InodeID) (fd int) {
	r.mu.Lock()
	for r.dev != 0 && r.staysOut() {
		r.changed.Wait()
	}
	dev := r.dev
	r.inside = dev != 0
	r.mu.Unlock()
	if dev == 0 {
		return -1
	}
	fd, err := r.fs.openInMount(dir, dev)
	if err != nil {
		r.fs.Log.Debug().Err(err).Msg("a directory of the mount can't be reached: its locks are removed past it")
		r.leave(-1)
		return -1
	}
	return fd
}

func (r *reaper) leave(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
	r.set(func() { r.inside = false })
}

// staysOut reports whether Withdraw is in force. Caller holds mu.
func (r *reaper) staysOut() bool { return time.Now().Before(r.away) }

func (r *reaper) wantedOut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.staysOut()
}

// reap removes a lock as any process would, from a directory of the mount, and past the
// mount what is still there then.
func (r *reaper) reap(one reaping, dir int) {
	if !r.leaving(one) { // an exclusive create took it over
		return
	}
	if dir >= 0 {
		if err := unlinkAny(dir, one.key.Name); err != nil && err != unix.ENOENT {
			r.fs.Log.Debug().Err(err).Str("lock", one.key.Name).Msg("not removed through the mount")
		}
	}
	r.reapPastMount(one)
}

func (r *reaper) leaving(one reaping) bool {
	turn := r.fs.Locks.Known(one.key)
	if turn == nil {
		return false
	}
	defer turn.End()
	return turn.Leaving(one.token)
}

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

// openInMount opens a directory as everybody sees it. ESTALE if the mount, whose device
// is dev, is not where it was.
func (fs *FS) openInMount(dir lockmgr.InodeID, dev uint64) (fd int, err error) {
	rel, err := fs.dirPath(dir)
	if err != nil {
		return -1, err
	}
	root, err := unix.Open(fs.Mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	fd, err = openBeneath(root, rel)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if uint64(st.Dev) != dev || st.Ino != fs.inodes.numbers.of(dir) {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is not our mount: %w", fs.Mountpoint, unix.ESTALE)
	}
	return fd, nil
}
