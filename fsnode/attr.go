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
	turn := fs.turnAtInode(n, c)
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
	out.SetTimeout(n.tell(versionOf(&st), valid))
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
	out.FromStatx(&st)
	out.SetTimeout(n.tell(versionOfStatx(&st), valid))
	return fuse.OK
}

// Access is asked only where the kernel does not check permissions itself: then it is
// our own user's rights that count.
func (fs *FS) Access(_ <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil || n.isSymlink() {
		return fuse.OK
	}
	return status(unix.Faccessat2(fs.proc, n.link(), in.Mask, unix.AT_EACCESS))
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
	c := fs.caller(h)
	if sight, _ := fs.sight(n, c); sight == lockmgr.Fresh {
		return fs.rendered(n, c, buf[:size]), fuse.OK
	}
	return buf[:size], fuse.OK
}
