package fsnode

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

func fillAttr(a *fuse.Attr, st *unix.Stat_t) {
	a.Ino, a.Size, a.Blocks = st.Ino, uint64(st.Size), uint64(st.Blocks)
	a.Atime, a.Atimensec = uint64(st.Atim.Sec), uint32(st.Atim.Nsec)
	a.Mtime, a.Mtimensec = uint64(st.Mtim.Sec), uint32(st.Mtim.Nsec)
	a.Ctime, a.Ctimensec = uint64(st.Ctim.Sec), uint32(st.Ctim.Nsec)
	a.Mode, a.Nlink = st.Mode, uint32(st.Nlink)
	a.Uid, a.Gid = st.Uid, st.Gid
	a.Rdev, a.Blksize = uint32(st.Rdev), uint32(st.Blksize)
}

// freshen makes the times those of a lock that was made just now (rule 5).
func freshen(a *fuse.Attr, now time.Time) { a.SetTimes(&now, &now, &now) }

// sight says how an inode is shown to the caller, and for how long the kernel may
// believe it. Nearly every inode is no lock: then nobody asks who the caller is.
func (fs *FS) sight(n *inode, c *caller) (lockmgr.Sight, time.Duration) {
	turn := fs.Locks.AtInode(n.real)
	if turn == nil {
		return lockmgr.AsItIs, fs.CacheTime
	}
	defer turn.End()
	return turn.Stat(c.who()), 0
}

// GetAttr tells the attributes of an inode.
func (fs *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil {
		return fs.controlAttr(in.NodeId, out)
	}
	sight, valid := fs.sight(n, fs.caller(&in.InHeader))
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return status(err)
	}
	fillAttr(&out.Attr, &st)
	out.Attr.Ino = n.ino
	n.told.set(versionOf(&st))
	out.SetTimeout(valid)
	if sight == lockmgr.Fresh {
		freshen(&out.Attr, time.Now())
	}
	return fuse.OK
}

// Statx is GetAttr with the time of birth.
func (fs *FS) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil {
		return fs.controlStatx(in.NodeId, out)
	}
	sight, valid := fs.sight(n, fs.caller(&in.InHeader))
	var st unix.Statx_t
	flags := unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW | int(in.SxFlags)&(unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC)
	if err := unix.Statx(n.fd, "", flags, int(in.SxMask), &st); err != nil {
		return status(err)
	}
	if sight == lockmgr.Fresh {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		stamp := unix.StatxTimestamp{Sec: now.Sec, Nsec: uint32(now.Nsec)}
		st.Atime, st.Mtime, st.Ctime, st.Btime = stamp, stamp, stamp, stamp
	}
	st.Ino = n.ino
	n.told.set(versionOfStatx(&st))
	out.FromStatx(&st)
	out.SetTimeout(valid)
	return fuse.OK
}

// SetAttr changes attributes, unless somebody else holds the lock.
func (fs *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil {
		return fs.setControlAttr(in.NodeId, out)
	}
	c := fs.caller(&in.InHeader)
	change := func() fuse.Status { return fs.changing(n, c, func() fuse.Status { return status(fs.setAttr(n, in)) }) }
	if _, sized := in.GetSize(); sized {
		unguarded := change
		change = func() fuse.Status { return fs.guarded(n, lockmgr.WriteTruncate, c.who, unguarded) }
	}
	refused := change()
	if !refused.Ok() {
		return refused
	}
	get := fuse.GetAttrIn{InHeader: in.InHeader}
	return fs.GetAttr(nil, &get, out)
}

// changing does something that alters an inode in place, under the turn of the lock
// that it is, if it is one.
func (fs *FS) changing(n *inode, c *caller, do func() fuse.Status) fuse.Status {
	turn := fs.Locks.AtInode(n.real)
	if turn == nil {
		return do()
	}
	defer turn.End()
	if o := turn.Change(c.who()); o.Refused() {
		return refusal(o)
	}
	return do()
}

func (fs *FS) setAttr(n *inode, in *fuse.SetAttrIn) error {
	if mode, ok := in.GetMode(); ok {
		if err := fs.chmod(n, mode); err != nil {
			return err
		}
	}
	uid, setUID := in.GetUID()
	gid, setGID := in.GetGID()
	if setUID && uid == noID || setGID && gid == noID {
		return unix.EINVAL
	}
	if setUID || setGID {
		if err := chown(n, uid, setUID, gid, setGID); err != nil {
			return err
		}
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
	return unix.Fchmodat(fs.proc, n.link, mode&07777, 0)
}

func chown(n *inode, uid uint32, setUID bool, gid uint32, setGID bool) error {
	u, g := -1, -1
	if setUID {
		u = int(uid)
	}
	if setGID {
		g = int(gid)
	}
	return unix.Fchownat(n.fd, "", u, g, unix.AT_EMPTY_PATH)
}

// truncate goes through the caller's handle where there is one: it may write where the
// inode's mode would not let anybody open it for writing.
func (fs *FS) truncate(n *inode, in *fuse.SetAttrIn, size int64) error {
	if fh, ok := in.GetFh(); ok {
		if h := fs.handles.file(fh); h != nil && h.node != nil {
			return fs.ftruncate(h.fd, in, size)
		}
	}
	fd, err := fs.open(n, unix.O_WRONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fs.ftruncate(fd, in, size)
}

func (fs *FS) ftruncate(fd int, in *fuse.SetAttrIn, size int64) error {
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		if err := fs.killPrivileges(fd); err != nil {
			return err
		}
	}
	return retry(func() error { return unix.Ftruncate(fd, size) })
}

func setTimes(n *inode, in *fuse.SetAttrIn) error {
	const any = fuse.FATTR_ATIME | fuse.FATTR_MTIME | fuse.FATTR_ATIME_NOW | fuse.FATTR_MTIME_NOW
	if in.Valid&any == 0 {
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

// Access is asked only where the kernel does not check permissions itself: then it is
// our own user's rights that count.
func (fs *FS) Access(_ <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil || n.isSymlink() {
		return fuse.OK
	}
	return status(unix.Faccessat2(fs.proc, n.link, in.Mask, unix.AT_EACCESS))
}

// Readlink reads a symbolic link.
func (fs *FS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		return nil, fuse.EINVAL
	}
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(n.fd, "", buf)
	if err != nil {
		return nil, status(err)
	}
	return buf[:size], fuse.OK
}
