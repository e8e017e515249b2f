package fsnode

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// SetAttr changes attributes, unless somebody else holds the lock.
func (fs *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil {
		return fs.setControlAttr(in.NodeId, out)
	}
	lose, err := fs.attrLoss(n, in)
	if err != nil {
		return status(err)
	}
	c := fs.caller(&in.InHeader)
	set := func() fuse.Status {
		return fs.changing(n, c, func() fuse.Status { return status(fs.setAttr(n, in, lose)) })
	}
	if in.Valid&fuse.FATTR_SIZE != 0 {
		unguarded := set
		set = func() fuse.Status { return fs.guarded(n, lockmgr.WriteTruncate, c.who, unguarded) }
	}
	if refused := set(); !refused.Ok() {
		return refused
	}
	get := fuse.GetAttrIn{InHeader: in.InHeader}
	return fs.GetAttr(nil, &get, out)
}

// changing does something that alters an inode in place, under the turn of the lock
// that it is, if it is one.
func (fs *FS) changing(n *inode, c *caller, do func() fuse.Status) fuse.Status {
	if st := fs.putInto(n, c); !st.Ok() {
		return st
	}
	turn := fs.turnAtInode(n, c)
	if turn == nil {
		return do()
	}
	defer turn.End()
	if o := turn.Change(c.who()); o.Refused() {
		return refusal(o)
	}
	return do()
}

// attrLoss is what set-id bits the change takes away along with what it asks for.
func (fs *FS) attrLoss(n *inode, in *fuse.SetAttrIn) (lose func() error, err error) {
	switch {
	case in.Valid&fuse.FATTR_SIZE != 0:
		return fs.contentLoss(n, &in.InHeader, in.Valid&fuse.FATTR_KILL_SUIDGID != 0, in.Size)
	case in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID) != 0:
		return fs.ownerLoss(n, &in.InHeader)
	case in.Valid&anyAttr == 0:
		return fs.touchLoss(n, &in.InHeader)
	}
	return nothingLost, nil
}

const (
	anyTime = fuse.FATTR_ATIME | fuse.FATTR_MTIME | fuse.FATTR_ATIME_NOW | fuse.FATTR_MTIME_NOW
	anyAttr = anyTime | fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_SIZE
)

// touchLoss is what a request to change nothing takes away. It comes from chown(path, -1, -1), which
// changes the time, and the set-id bits if the caller may, and from a write that will take
// the bits (fuse_setattr drops what tells the two apart). So they go if the caller may do the first:
// somebody else's write takes them itself, and somebody else's chown must not. But while the kernel writes to the file itself, no such
// write comes to us: then it is taken for one. Before a write to a file
// with capabilities it comes from root too, who then loses bits that it might keep.
func (fs *FS) touchLoss(n *inode, h *fuse.InHeader) (lose func() error, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return nil, err
	}
	loses := st.Mode&unix.S_IFMT != unix.S_IFDIR && (st.Mode&unix.S_ISUID != 0 || fs.losesSetGID(&st, h))
	if loses && !ownerOrCapable(h, &st) {
		if n.isWrittenByKernel() {
			return fs.contentLoss(n, h, true, 0)
		}
		return nothingLost, nil
	}
	loseSetGID, err := fs.ownerLoss(n, h)
	return func() error {
		if err := chown(n, owner{-1, -1}); err != nil {
			return err
		}
		return loseSetGID()
	}, err
}

func (fs *FS) setAttr(n *inode, in *fuse.SetAttrIn, lose func() error) error {
	if mode, ok := in.GetMode(); ok {
		if err := fs.chmod(n, mode); err != nil {
			return err
		}
	}
	if in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID) != 0 {
		to, err := ownerIn(in)
		if err != nil {
			return err
		}
		if err := chown(n, to); err != nil {
			return err
		}
	}
	if err := lose(); err != nil {
		return err
	}
	if size, ok := in.GetSize(); ok {
		if err := fs.truncate(n, in, int64(size)); err != nil {
			return err
		}
	}
	return setTimes(n, in)
}

func (fs *FS) chmod(n *inode, mode uint32) error {
	if n.isSymlink() {
		return unix.EOPNOTSUPP
	}
	return unix.Fchmodat(fs.proc, n.link(), mode&07777, 0)
}

// owner is what chown(2) takes: -1 leaves an id as it is.
type owner struct{ uid, gid int }

func ownerIn(in *fuse.SetAttrIn) (owner, error) {
	o := owner{-1, -1}
	uid, setUID := in.GetUID()
	gid, setGID := in.GetGID()
	if setUID && uid == unmapped || setGID && gid == unmapped {
		return o, unix.EINVAL
	}
	if setUID {
		o.uid = int(uid)
	}
	if setGID {
		o.gid = int(gid)
	}
	return o, nil
}

func chown(n *inode, o owner) error {
	return unix.Fchownat(n.fd, "", o.uid, o.gid, unix.AT_EMPTY_PATH)
}

// truncate goes through the caller's handle where there is one: it may write where the
// inode's mode would not let anybody open it for writing.
func (fs *FS) truncate(n *inode, in *fuse.SetAttrIn, size int64) error {
	if fh, ok := in.GetFh(); ok {
		if h := fs.handles.file(fh); h != nil && h.node != nil {
			return ftruncate(h.fd, size)
		}
	}
	fd, err := fs.open(n, unix.O_WRONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return ftruncate(fd, size)
}

func ftruncate(fd int, size int64) error {
	return retry(func() error { return unix.Ftruncate(fd, size) })
}

func setTimes(n *inode, in *fuse.SetAttrIn) error {
	if in.Valid&anyTime == 0 {
		return nil
	}
	times := []unix.Timespec{
		timespec(in.Valid, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec),
		timespec(in.Valid, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec),
	}
	return unix.UtimesNanoAt(n.fd, "", times, unix.AT_EMPTY_PATH)
}

func timespec(valid, set, now uint32, sec uint64, nsec uint32) unix.Timespec {
	switch {
	case valid&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case valid&set != 0:
		return unix.Timespec{Sec: int64(sec), Nsec: int64(nsec)}
	}
	return unix.Timespec{Nsec: unix.UTIME_OMIT}
}
