package fsnode

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// What the write guard means for requests. lockmgr/guard.go has the rule; this is where a
// file is found to be guarded, by its name or its inode.

// guardName asks about an act that makes, replaces or removes an entry that is no lock.
func (fs *FS) guardName(dir *inode, name string, kind lockmgr.WriteKind, c *caller) fuse.Status {
	file := dir.key(name)
	if !fs.Locks.GuardsName(file) {
		return fuse.OK
	}
	if o := fs.Locks.WriteName(file, kind, c.who()); o.Refused() {
		return refusal(o)
	}
	return fuse.OK
}

// guarded does something that alters a file's content, if the caller may.
func (fs *FS) guarded(n *inode, kind lockmgr.WriteKind, who func() lockmgr.Identity, do func() fuse.Status) fuse.Status {
	if !fs.denies() && !fs.Locks.GuardsInode(n.real, kind) {
		return do()
	}
	// Where writes are refused a grant may come at any time: WriteInode is where it waits for us.
	st := fuse.OK
	if o := fs.Locks.WriteInode(n.real, kind, who, func() { st = do() }); o.Refused() {
		return refusal(o)
	}
	return st
}

// guarding tells the guard which inode a name has now, if it guards that name. It may wait
// for writes under way, which may wait for a turn: none may be taken.
func (fs *FS) guarding(dir *inode, name string) {
	if file := dir.key(name); fs.Locks.GuardsName(file) {
		fs.Locks.Guarding(file, fs.childID(dir, name))
	}
}

// guardLocked begins to guard the file whose lock was granted, before that is answered, and
// as guarding with no turn taken.
func (fs *FS) guardLocked(dir *inode, lock string) {
	if file, level := fs.Locks.Policy().Guards(lock); level != lockmgr.GuardOff {
		fs.guarding(dir, file)
	}
}

// denies reports whether any writes are refused.
func (fs *FS) denies() bool { return fs.Locks.Policy().Denies() }

// found remembers of an inode that it was found under a name whose writes may be refused.
func (fs *FS) found(n *inode, name string) *inode {
	if fs.denies() && fs.Locks.Policy().GuardOf(name) == lockmgr.GuardDeny {
		n.deniable.Store(true)
	}
	return n
}

// writing prepares a handle of what is no lock and may be open for writing, and says how it should go. Where a
// later write may be refused, each must come to us with its caller: not through the page
// cache, and not through a shared mapping, which the kernel refuses for a handle with direct
// I/O (ENODEV, fuse_file_mmap).
func (fs *FS) writing(h *handle, flags uint32, c *caller, st *unix.Stat_t) way {
	if flags&unix.O_ACCMODE != unix.O_RDONLY && fs.denies() {
		h.opener = c.who()
		if h.node.deniable.Load() {
			return direct
		}
	}
	return fs.wayOf(h.fd, st, flags)
}

// writerOf is who writes through a handle. A page that is written back has no caller: it
// counts as written by who opened the handle, which was a file that is no session by then.
func (fs *FS) writerOf(h *handle, c *caller, cached bool) func() lockmgr.Identity {
	if cached {
		return func() lockmgr.Identity { return h.opener }
	}
	return c.who
}
