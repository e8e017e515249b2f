package fsnode

import (
	"runtime"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// asCaller does something that creates an entry with the caller's fsuid and fsgid, so
// that the entry is the caller's from the first moment. The kernel has checked by then
// that the caller may (default_permissions), by all its groups, which we don't know: so
// the thread keeps its power over permissions, except the one that would keep a set-gid
// bit the caller may not have.
func (fs *FS) asCaller(h *fuse.InHeader, do func() error) error {
	if !fs.ForAll || h.Uid == 0 && h.Gid == 0 {
		return do()
	}
	if h.Uid == noID || h.Gid == noID {
		return unix.EOVERFLOW // what a caller gets that the file system has no number for
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.SetfsgidRetGid(int(h.Gid))
	defer unix.SetfsgidRetGid(0)
	unix.SetfsuidRetUid(int(h.Uid))
	defer unix.SetfsuidRetUid(0) // gives the capabilities of the file system kind back
	if h.Uid != 0 {
		if err := keepCapabilities(); err != nil {
			return err
		}
	}
	return do()
}

// noID is FUSE_INVALID_UIDGID of the kernel's fuse.h. Where mounts may be idmapped, every
// request bears it but those that create something. For setfsuid(2) and chown(2) it means
// something else.
const noID = 1<<32 - 1

// unowned is the header of an act that makes nothing which somebody would own: there it
// does not matter who acts, and the kernel may not say.
func unowned(h fuse.InHeader) *fuse.InHeader {
	h.Uid, h.Gid = 0, 0
	return &h
}

// masked applies the caller's umask, where the kernel leaves that to us: not in a directory
// that has a default ACL, which the real file system applies instead.
func (fs *FS) masked(dir *inode, mode, umask uint32) uint32 {
	if !fs.ForAll {
		return mode
	}
	path, _ := dir.attrPath()
	if size, err := unix.Getxattr(path, "system.posix_acl_default", nil); err == nil && size > 0 {
		return mode
	}
	return mode &^ (umask & 0777)
}

// keepCapabilities raises again what setfsuid dropped from this thread's effective set.
func keepCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective = data[0].Permitted &^ (1 << unix.CAP_FSETID)
	data[1].Effective = data[1].Permitted
	return unix.Capset(&header, &data[0])
}
