package fsnode

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// attrPath is a path to the inode that follows no link of the tree. Symbolic links have
// none: the kernel has no extended attributes by descriptor for them.
func (n *inode) attrPath() (string, bool) { return "/proc/self/fd/" + n.link, !n.isSymlink() }

// GetXAttr reads an extended attribute.
func (fs *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		return 0, fuse.ENODATA
	}
	path, ok := n.attrPath()
	if !ok {
		return 0, fuse.ENODATA
	}
	size, err := unix.Getxattr(path, attr, dest)
	return xattrSize(size, len(dest), err, func() (int, error) { return unix.Getxattr(path, attr, nil) })
}

// ListXAttr lists the names of extended attributes.
func (fs *FS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		return 0, fuse.OK
	}
	path, ok := n.attrPath()
	if !ok {
		return 0, fuse.OK
	}
	size, err := unix.Listxattr(path, dest)
	return xattrSize(size, len(dest), err, func() (int, error) { return unix.Listxattr(path, nil) })
}

// xattrSize answers with the size that is needed, which go-fuse wants along with ERANGE
// and instead of it where the caller only asked for the size.
func xattrSize(size, room int, err error, ask func() (int, error)) (uint32, fuse.Status) {
	if err == unix.ERANGE || err == nil && room == 0 {
		if need, err := ask(); err == nil && need > room {
			return uint32(need), fuse.ERANGE
		}
	}
	return uint32(max(size, 0)), status(err)
}

// SetXAttr sets an extended attribute, unless somebody else holds the lock.
func (fs *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	return fs.changingXAttr(&in.InHeader, func(path string) error {
		return unix.Setxattr(path, attr, data, int(in.Flags))
	})
}

// RemoveXAttr removes an extended attribute, unless somebody else holds the lock.
func (fs *FS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string) fuse.Status {
	return fs.changingXAttr(h, func(path string) error { return unix.Removexattr(path, attr) })
}

func (fs *FS) changingXAttr(h *fuse.InHeader, do func(path string) error) fuse.Status {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		return fuse.EPERM
	}
	path, ok := n.attrPath()
	if !ok {
		return fuse.EPERM
	}
	return fs.changing(n, fs.caller(h), func() fuse.Status { return status(do(path)) })
}
