package fsnode

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Root may change a file and keep its set-id bits, so where the server is root the bits that
// a caller's change takes away are taken by us. Of an ordinary user the real file system
// takes them itself.

// nothingLost is what a change takes from a file without set-id bits.
func nothingLost() error { return nil }

// contentLoss says what set-id bits a change of a file's content takes away, and gives
// what takes them. kill is whether the kernel said so (WRITE_KILL_SUIDGID and the like), which it
// does if the caller has no CAP_FSETID. end is how far into the file the change reaches: one that
// the file system has no room for takes nothing. As it may read the caller's groups, it must be
// called before a turn is taken.
func (fs *FS) contentLoss(n *inode, h *fuse.InHeader, kill bool, end uint64) (lose func() error, err error) {
	if !fs.ForAll || !kill {
		return nothingLost, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nothingLost, nil
	}
	mode := st.Mode &^ unix.S_ISUID
	if fs.losesSetGID(&st, h) {
		mode &^= unix.S_ISGID
	}
	if mode == st.Mode || fs.isTooFar(n, end) {
		return nothingLost, nil
	}
	return func() error { return fs.chmod(n, mode) }, nil
}

// isTooFar reports whether a place is beyond what a file can have (EFBIG): the real file system
// says so before anything else (inode_newsize_ok, generic_write_check_limits).
func (fs *FS) isTooFar(n *inode, end uint64) bool {
	if end == 0 {
		return false
	}
	if end > 1<<63-1 {
		return true
	}
	fd, err := fs.reopen(n.fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.Seek(fd, int64(end), unix.SEEK_SET)
	return err == unix.EINVAL
}

// unsaidLoss is contentLoss for requests that don't say whether the caller may keep the
// bits: FALLOCATE and COPY_FILE_RANGE.
func (fs *FS) unsaidLoss(n *inode, h *fuse.InHeader, end uint64) (lose func() error, err error) {
	if !fs.ForAll || !n.hasSetID() || credentialsOf(h).has(unix.CAP_FSETID) {
		return nothingLost, nil
	}
	return fs.contentLoss(n, h, true, end)
}

// ownerLoss is contentLoss for a change of owner or group. The real file system takes from
// root too what always goes (chown_common, fs/open.c); what is left is a set-gid bit without
// the right to execute.
func (fs *FS) ownerLoss(n *inode, h *fuse.InHeader) (lose func() error, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return nil, err
	}
	if !fs.ForAll || st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Mode&unix.S_IXGRP != 0 || !fs.losesSetGID(&st, h) {
		return nothingLost, nil
	}
	return func() error { return fs.chmod(n, st.Mode&^(unix.S_ISUID|unix.S_ISGID)) }, nil
}

// losesSetGID is setattr_should_drop_sgid (fs/attr.c, Linux 6.0): without the right to execute,
// the bit stays for those who might set it.
func (fs *FS) losesSetGID(st *unix.Stat_t, h *fuse.InHeader) bool {
	if st.Mode&unix.S_ISGID == 0 || st.Mode&unix.S_IXGRP != 0 {
		return st.Mode&unix.S_ISGID != 0
	}
	if h.Gid == st.Gid {
		return false
	}
	c := credentialsOf(h)
	return !c.in(st.Gid) && !c.hasOver(unix.CAP_FSETID, st)
}

func (n *inode) hasSetID() bool {
	var st unix.Stat_t
	return unix.Fstat(n.fd, &st) == nil && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0
}
