package fsnode

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Lookup finds an entry of a directory.
func (fs *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if isControl(h.NodeId, name) {
		return fs.lookupControl(h.NodeId, name, out)
	}
	dir := fs.inodes.node(h.NodeId)
	if dir == nil {
		return fuse.ENOENT
	}
	if fs.Locks.Policy().IsLock(name) {
		return fs.lookupLock(dir, name, fs.caller(h), out)
	}
	fd, st, err := fs.look(dir, name)
	if err != nil {
		return status(err)
	}
	fs.found(fs.entry(fd, st, out), name)
	return fuse.OK
}

// lookupLock finds an entry with a lock's name. If nothing is known of it, it is shown
// as it is, and it does not matter who asks unless it stands in a create's way.
func (fs *FS) lookupLock(dir *inode, name string, c *caller, out *fuse.EntryOut) fuse.Status {
	turn := fs.turnKnown(dir, name, c)
	known := turn != nil
	creating := c.creating(name)
	fd, st, err := fs.look(dir, name)
	if !known {
		if err != nil {
			return status(err)
		}
		if !creating() {
			fs.lockEntry(fd, st, out)
			return fuse.OK
		}
		unix.Close(fd)
		turn = fs.turnAt(dir, name, c)
		fd, st, err = fs.look(dir, name) // as it is in our turn
	}
	defer turn.End()
	if err != nil {
		if err == unix.ENOENT { // any other error says nothing about the lock
			turn.Look(c.who(), lockmgr.InodeID{}, creating)
		}
		return status(err)
	}
	n := fs.inodes.remember(fd, st) // before it can be tracked, so that its number stays its own
	sight := turn.Look(c.who(), n.real, creating)
	if sight == lockmgr.Hidden {
		fs.inodes.takeBack(n)
		return fuse.ENOENT
	}
	fs.answerLock(n, st, sight, out)
	return fuse.OK
}

// statChild opens an entry as a path and looks at it, without following links.
func statChild(dir *inode, name string) (fd int, st *unix.Stat_t, err error) {
	return statAt(dir.fd, name)
}

func statAt(dir int, name string) (fd int, st *unix.Stat_t, err error) {
	fd, err = retryFd(func() (int, error) {
		return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, nil, err
	}
	st = new(unix.Stat_t)
	if err := unix.Fstat(fd, st); err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, st, nil
}

// entry answers with an ordinary inode, which the kernel has one more reference to. It
// takes fd over.
func (fs *FS) entry(fd int, st *unix.Stat_t, out *fuse.EntryOut) *inode {
	n := fs.inodes.remember(fd, st)
	answer(n, st, fs.CacheTime, out)
	return n
}

// lockEntry is entry for what has a lock's name.
func (fs *FS) lockEntry(fd int, st *unix.Stat_t, out *fuse.EntryOut) *inode {
	n := fs.inodes.remember(fd, st)
	fs.answerLock(n, st, lockmgr.AsItIs, out)
	return n
}

func answer(n *inode, st *unix.Stat_t, valid time.Duration, out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(valid)
	out.SetAttrTimeout(n.tell(versionOf(st), valid))
	fillAttr(&out.Attr, st)
	out.Attr.Ino = n.ino
}

// answerLock answers with a lock: the kernel must come back every time.
func (fs *FS) answerLock(n *inode, st *unix.Stat_t, sight lockmgr.Sight, out *fuse.EntryOut) {
	answer(n, st, 0, out)
	if sight == lockmgr.Fresh {
		freshen(&out.Attr, time.Now())
	}
}
