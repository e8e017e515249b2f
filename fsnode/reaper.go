package fsnode

import (
	"sync"
	"time"

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
	inside  bool      // it has something removed through the mount
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

// Sweeper removes entries of a directory by unlinks through the mount. It is another process than ours: a thread that waits
// for our answer can't be killed before it has it, so one of our own could keep us from dying.
type Sweeper interface {
	// Sweep says where the directory is, relative to the mount's root, what it is seen as there, and which entries are
	// to go. It returns when all of that is done, or can't be.
	Sweep(dir string, dev, ino uint64, names []string) error
}

// sweepBatch is how many removals whoever wants to unmount may have to wait for.
const sweepBatch = 64

// reapIn removes locks of one directory.
func (r *reaper) reapIn(dir lockmgr.InodeID, group []reaping) {
	for len(group) > 0 {
		batch := group[:min(len(group), sweepBatch)]
		group = group[len(batch):]
		if dev := r.enter(); dev != 0 {
			r.sweep(dir, dev, batch)
			r.set(func() { r.inside = false })
		}
		for _, one := range batch {
			r.reapPastMount(one)
		}
	}
}

// enter waits until nobody wants us out of the mount, and gives its device; 0 if there is none.
func (r *reaper) enter() (dev uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.dev != 0 && r.staysOut() {
		r.changed.Wait()
	}
	r.inside = r.dev != 0
	return r.dev
}

// sweep has locks removed as any process would. What can't be had, since the mount may be unmounted here and alive in
// a container, is removed past it.
func (r *reaper) sweep(dir lockmgr.InodeID, dev uint64, batch []reaping) {
	path, err := r.fs.dirPath(dir)
	if err != nil {
		return
	}
	var names []string
	for _, one := range batch {
		if r.leaving(one) { // else an exclusive create took it over
			names = append(names, one.key.Name)
		}
	}
	if err := r.fs.Sweeper.Sweep(path, dev, r.fs.inodes.numbers.of(dir), names); err != nil {
		r.fs.Log.Debug().Err(err).Msg("not removed through the mount")
	}
}

// staysOut reports whether Withdraw is in force. Caller holds mu.
func (r *reaper) staysOut() bool { return time.Now().Before(r.away) }

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
