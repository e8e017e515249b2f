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
	if fs.Locks.Policy.IsLock(name) {
		return fs.lookupLock(dir, name, fs.caller(h), out)
	}
	fd, st, err := statChild(dir, name)
	if err != nil {
		return status(err)
	}
	fs.entry(fd, st, out)
	return fuse.OK
}

// lookupLock finds an entry with a lock's name. If nothing is known of it, it is shown
// as it is, and it does not matter who asks unless it stands in a create's way.
func (fs *FS) lookupLock(dir *inode, name string, c *caller, out *fuse.EntryOut) fuse.Status {
	turn := fs.Locks.Known(dir.key(name))
	known := turn != nil
	fd, st, err := statChild(dir, name)
	if !known {
		if err != nil {
			return status(err)
		}
		if !c.creating() {
			fs.lockEntry(fd, st, lockmgr.AsItIs, out)
			return fuse.OK
		}
		turn = fs.Locks.At(dir.key(name))
	}
	defer turn.End()
	var found lockmgr.InodeID
	if err == nil {
		found = realID(st)
	}
	sight := turn.Look(c.who(), found, c.creating)
	if err != nil {
		return status(err)
	}
	if sight == lockmgr.Hidden {
		unix.Close(fd)
		return fuse.ENOENT
	}
	fs.lockEntry(fd, st, sight, out)
	return fuse.OK
}

// statChild opens an entry as a path and looks at it, without following links.
func statChild(dir *inode, name string) (fd int, st *unix.Stat_t, err error) {
	fd, err = retryFd(func() (int, error) {
		return unix.Openat(dir.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
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

// entry answers with an ordinary inode, which the kernel has one more reference to.
func (fs *FS) entry(fd int, st *unix.Stat_t, out *fuse.EntryOut) *inode {
	n := fs.inodes.remember(fd, st)
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(fs.CacheTime)
	out.SetAttrTimeout(fs.CacheTime)
	fillAttr(&out.Attr, st)
	return n
}

// lockEntry answers with a lock: the kernel must come back every time.
func (fs *FS) lockEntry(fd int, st *unix.Stat_t, sight lockmgr.Sight, out *fuse.EntryOut) *inode {
	n := fs.entry(fd, st, out)
	out.SetEntryTimeout(0)
	out.SetAttrTimeout(0)
	if sight == lockmgr.Fresh {
		freshen(&out.Attr, time.Now())
	}
	return n
}
