package fsnode

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Turns are taken here. Who is asking, and what is to be said of it, is found out before:
// to look at a process can mean to wait for one that is inside execve(2), which may wait
// for an answer of ours that needs the turn. And nobody has two turns at once but by
// Manager.Turns.

// turnAt takes a turn at a lock's name.
func (fs *FS) turnAt(dir *inode, name string, c *caller) *lockmgr.Turn {
	c.who()
	git := fs.isGitLock(dir, name)
	turn := fs.Locks.At(dir.key(name))
	if git {
		turn.InGit()
	}
	return turn
}

// turnKnown is turnAt for a name of which something is known; nil if nothing is.
func (fs *FS) turnKnown(dir *inode, name string, c *caller) *lockmgr.Turn {
	if !fs.Locks.Knows(dir.key(name)) {
		return nil
	}
	c.who()
	git := fs.isGitLock(dir, name)
	turn := fs.Locks.Known(dir.key(name))
	if turn != nil && git { // a free name may be known for who gave it up
		turn.InGit()
	}
	return turn
}

// turnAtInode takes a turn at the lock that an inode is; nil if it is none. Nearly every
// inode is none: then nobody asks who the caller is.
func (fs *FS) turnAtInode(n *inode, c *caller) *lockmgr.Turn {
	if !fs.Locks.KnowsInode(n.real) {
		return nil
	}
	c.who()
	return fs.Locks.AtInode(n.real)
}

// grantee is who an exclusive act would be granted to. The error says why that can't be
// told: nobody may be taken for unnamed because we are short of something.
func (fs *FS) grantee(c *caller) (lockmgr.Process, fuse.Status) {
	if !c.who().Known() {
		if err := fs.Callers.Untold(c.tid); err != nil {
			return lockmgr.Process{}, status(err)
		}
	}
	p := fs.Callers.Describe(c.who())
	p.ByHelper = c.byHelper
	return p, fuse.OK
}

// winning has an exclusive act done if the law grants it. do answers with the inode that the
// name has since, which is kept until granted has returned.
func (fs *FS) winning(turn *lockmgr.Turn, p lockmgr.Process, do func() (*inode, fuse.Status), handle bool) (lockmgr.Token, fuse.Status) {
	o, err := turn.Create(p.Identity)
	switch {
	case err != nil:
		return 0, status(err)
	case o.Refused():
		return 0, refusal(o)
	}
	n, st := do()
	if !st.Ok() {
		return 0, st
	}
	token, err := turn.Granted(p, n.real, kindOf(n.mode), handle)
	return token, status(err)
}

// kindOf is what sort of lock an entry of a file type is.
func kindOf(mode uint32) lockmgr.Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return lockmgr.KindFile
	case unix.S_IFDIR:
		return lockmgr.KindDir
	case unix.S_IFLNK:
		return lockmgr.KindSymlink
	}
	return lockmgr.KindOther
}
