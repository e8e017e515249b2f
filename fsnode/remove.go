package fsnode

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Unlink removes an entry that is no directory.
func (fs *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fs.removing(h, name, 0)
}

// Rmdir removes an empty directory.
func (fs *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fs.removing(h, name, unix.AT_REMOVEDIR)
}

func (fs *FS) removing(h *fuse.InHeader, name string, flags int) fuse.Status {
	dir := fs.inodes.node(h.NodeId)
	if dir == nil || isControl(h.NodeId, name) {
		return fuse.EACCES
	}
	remove := func() error { return unix.Unlinkat(dir.fd, name, flags) }
	c := fs.caller(h)
	if st := fs.take(dir, c); !st.Ok() {
		return st
	}
	turn := fs.turnKnown(dir, name, c)
	if turn == nil {
		if fs.Locks.Policy().IsLock(name) && c.who() == fs.Locks.Self { // the reaper, come late
			return fuse.ENOENT
		}
		if st := fs.guardName(dir, name, lockmgr.WriteRemove, c); !st.Ok() {
			return st
		}
		defer fs.guarding(dir, name)
		return status(remove())
	}
	defer turn.End()
	o := turn.Remove(c.who())
	if o.Refused() {
		return refusal(o)
	}
	err := remove()
	if err == nil || err == unix.ENOENT {
		turn.Removed(c.who(), o)
	}
	return status(err)
}

// Rename moves an entry: a removal of the old name and, if there is something there, a
// replacement of the new one.
func (fs *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, old, new string) fuse.Status {
	from, to := fs.inodes.node(in.NodeId), fs.inodes.node(in.Newdir)
	if from == nil || to == nil || isControl(in.NodeId, old) || isControl(in.Newdir, new) {
		return fuse.EACCES
	}
	r := renaming{fs: fs, from: from, to: to, old: old, new: new, flags: in.Flags,
		h: &in.InHeader, c: fs.caller(&in.InHeader)}
	return r.run()
}

// renaming is one rename, of which either name may be a lock's.
type renaming struct {
	fs       *FS
	from, to *inode
	old, new string
	flags    uint32
	h        *fuse.InHeader
	c        *caller
	grantee  lockmgr.Process // of a rename onto a lock's name that does not replace

	source, target   *lockmgr.Turn // nil for a name that is no lock
	leaves, replaces lockmgr.Outcome
}

// prepare asks what is to be known before turns are taken.
func (r *renaming) prepare() (st fuse.Status) {
	if st := r.fs.take(r.from, r.c); !st.Ok() {
		return st
	}
	if st := r.fs.put(r.to, r.c); !st.Ok() {
		return st
	}
	locks := r.fs.Locks.Policy()
	if r.flags&unix.RENAME_NOREPLACE != 0 && locks.IsLock(r.new) {
		r.grantee, st = r.fs.grantee(r.c)
		return st
	}
	if locks.IsLock(r.old) || locks.IsLock(r.new) {
		r.c.who()
	}
	return fuse.OK
}

func (r *renaming) run() fuse.Status {
	if st := r.prepare(); !st.Ok() {
		return st
	}
	st := r.inTurn()
	if st.Ok() {
		r.fs.guarding(r.from, r.old)
		r.fs.guarding(r.to, r.new)
		if r.replaces == lockmgr.Grant {
			r.fs.guardLocked(r.to, r.new)
		}
	}
	if !st.Ok() && r.flags&unix.RENAME_WHITEOUT != 0 {
		r.forgetTimes()
	}
	return st
}

// forgetTimes has the kernel ask for the attributes of the directories, which it does by itself only after a rename that
// is done: ext4_rename has made the whiteout, and takes it back, when it finds that the target is not empty.
func (r *renaming) forgetTimes() {
	r.fs.kernel.InodeNotify(r.from.id, -1, 0)
	r.fs.kernel.InodeNotify(r.to.id, -1, 0)
}

func (r *renaming) inTurn() fuse.Status {
	r.takeTurns()
	defer r.endTurns()
	if o := r.decide(); o.Refused() {
		return refusal(o)
	}
	if st := r.guard(); !st.Ok() {
		return st
	}
	if err := r.announce(); err != nil {
		return status(err)
	}
	if err := r.rename(); err != nil {
		r.withdraw()
		return status(err)
	}
	if err := r.record(); err != nil { // nobody was granted the name
		_ = unix.Renameat2(r.to.fd, r.new, r.from.fd, r.old, unix.RENAME_NOREPLACE)
		return status(err)
	}
	return fuse.OK
}

// carries reports whether what is moved to a lock's name, and is no lock itself, may take its grant over.
func (r *renaming) carries() bool {
	return r.target != nil && r.source == nil && r.flags&unix.RENAME_NOREPLACE == 0
}

// announce records a grant that goes on with the inode that is moved to its name. One that is a lock itself has a record of
// its own, which must not be lost if we die before the rename.
func (r *renaming) announce() error {
	if !r.carries() {
		return nil
	}
	n, err := r.fs.inodes.borrow(r.fs.childID(r.from, r.old))
	if err != nil {
		return nil
	}
	defer r.fs.inodes.giveBack(n)
	return r.target.Replacing(n.real)
}

// withdraw takes back what announce did.
func (r *renaming) withdraw() {
	if !r.carries() {
		return
	}
	r.fs.strip(r.from, r.old)
	r.target.NotReplaced()
}

// rename leaves a whiteout that is the caller's, if it asks for one.
func (r *renaming) rename() error {
	do := func() error { return unix.Renameat2(r.from.fd, r.old, r.to.fd, r.new, uint(r.flags)) }
	if r.flags&unix.RENAME_WHITEOUT != 0 {
		return r.fs.asCaller(r.h, do)
	}
	return do()
}

// guard asks about the names that are no locks: the one moves away, the other is replaced.
func (r *renaming) guard() fuse.Status {
	if r.source == nil {
		if st := r.fs.guardName(r.from, r.old, lockmgr.WriteRemove, r.c); !st.Ok() {
			return st
		}
	}
	if r.target == nil {
		return r.fs.guardName(r.to, r.new, lockmgr.WriteReplace, r.c)
	}
	return fuse.OK
}

func (r *renaming) takeTurns() {
	locks := r.fs.Locks
	from, to := locks.Policy().IsLock(r.old), locks.Policy().IsLock(r.new)
	if !from || !to {
		if from {
			r.source = r.fs.turnAt(r.from, r.old, r.c)
		}
		if to {
			r.target = r.fs.turnAt(r.to, r.new, r.c)
		}
		return
	}
	gitFrom, gitTo := r.fs.isGitLock(r.from, r.old), r.fs.isGitLock(r.to, r.new)
	r.source, r.target = locks.Turns(r.from.key(r.old), r.to.key(r.new))
	if gitFrom {
		r.source.InGit()
	}
	if gitTo {
		r.target.InGit()
	}
}

func (r *renaming) endTurns() {
	if r.source != nil {
		r.source.End()
	}
	if r.target != nil && r.target != r.source {
		r.target.End()
	}
}

// decide asks about the source first: an orphan at the target must not go for a rename
// that is refused, or that has nothing to rename.
func (r *renaming) decide() lockmgr.Outcome {
	if r.source != nil && r.source != r.target {
		if r.flags&unix.RENAME_EXCHANGE != 0 {
			r.leaves = r.source.Replace(r.c.who())
		} else {
			r.leaves = r.source.Remove(r.c.who())
		}
		if r.leaves.Refused() {
			return r.leaves
		}
	}
	if r.target == nil {
		return lockmgr.Pass
	}
	if r.flags&unix.RENAME_NOREPLACE == 0 {
		r.replaces = r.target.Replace(r.c.who())
		return r.replaces
	}
	if r.fs.childID(r.from, r.old) == (lockmgr.InodeID{}) {
		return lockmgr.Gone
	}
	if o, err := r.target.Create(r.grantee.Identity); err != nil || o.Refused() {
		return lockmgr.Exists
	}
	r.replaces = lockmgr.Grant
	return lockmgr.Grant
}

// record tells what was done. A lock that was moved takes its record along, which must not be found there.
func (r *renaming) record() (err error) {
	exchange := r.flags&unix.RENAME_EXCHANGE != 0
	if r.source != nil && r.source != r.target {
		r.fs.strip(r.to, r.new)
	}
	if r.target != nil && r.source != r.target {
		if exchange {
			r.fs.strip(r.from, r.old)
		}
		err = r.replaced(r.target, r.replaces, r.to, r.new)
	}
	if r.source != nil && r.source != r.target && err == nil {
		if exchange {
			return r.replaced(r.source, r.leaves, r.from, r.old)
		}
		r.source.Removed(r.c.who(), r.leaves)
	}
	return err
}

// replaced tells which inode a name has now.
func (r *renaming) replaced(turn *lockmgr.Turn, o lockmgr.Outcome, dir *inode, name string) error {
	var now lockmgr.InodeID
	var kind lockmgr.Kind
	fd, st, err := statChild(dir, name)
	if err == nil {
		n := r.fs.inodes.keep(fd, st)
		defer r.fs.inodes.giveBack(n)
		now, kind = n.real, kindOf(st.Mode)
	}
	switch {
	case o != lockmgr.Grant:
		turn.Replaced(r.c.who(), o, now, kind)
	case err == nil: // else it went past the mount, and nobody has it
		_, err := turn.Granted(r.grantee, now, kind, false)
		return err
	}
	return nil
}

// childID is the inode of an entry now; zero if it can't be told.
func (fs *FS) childID(dir *inode, name string) lockmgr.InodeID {
	var st unix.Stat_t
	if unix.Fstatat(dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return lockmgr.InodeID{}
	}
	return fs.inodes.id(&st)
}
