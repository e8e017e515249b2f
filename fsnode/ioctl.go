package fsnode

import (
	"encoding/binary"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The requests of lsattr(1) and chattr(1) that golang.org/x/sys/unix has no number for; see
// linux/fs.h (struct fsxattr).
const (
	getFSXAttr = 0x801c581f // FS_IOC_FSGETXATTR
	setFSXAttr = 0x401c5820 // FS_IOC_FSSETXATTR
	fsxSize    = 28
	flagsSize  = 4 // the kernel's own requests have an int, whatever the number says
)

// protecting are the flags that only CAP_LINUX_IMMUTABLE may change: FS_IMMUTABLE_FL and FS_APPEND_FL, and as
// struct fsxattr has them (FS_XFLAG_IMMUTABLE, FS_XFLAG_APPEND).
const (
	protectingFlags  = 0x10 | 0x20
	protectingXFlags = 0x08 | 0x10
)

// Ioctl tells and changes the flags of an inode that are neither mode nor attribute. All other
// requests mean nothing to a file system that is not the real one.
func (fs *FS) Ioctl(_ <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, _ *fuse.IoctlOut, outbuf []byte) fuse.Status {
	h := fs.handles.file(in.Fh)
	if h == nil || h.node == nil {
		return fuse.Status(unix.ENOTTY)
	}
	switch {
	case in.Cmd == unix.FS_IOC_GETFLAGS && len(outbuf) >= flagsSize:
		return status(ioctl(h.fd, in.Cmd, outbuf))
	case in.Cmd == getFSXAttr && len(outbuf) >= fsxSize:
		return status(ioctl(h.fd, in.Cmd, outbuf))
	case in.Cmd == unix.FS_IOC_SETFLAGS && len(inbuf) >= flagsSize:
		return fs.setFlags(h, in, inbuf, unix.FS_IOC_GETFLAGS, protectingFlags)
	case in.Cmd == setFSXAttr && len(inbuf) >= fsxSize:
		return fs.setFlags(h, in, inbuf, getFSXAttr, protectingXFlags)
	}
	return fuse.Status(unix.ENOTTY)
}

// setFlags changes flags, unless somebody else holds the lock. Since Linux 5.13 the kernel has checked the
// caller's rights (vfs_fileattr_set); before, it hands the request through unread.
func (fs *FS) setFlags(h *handle, in *fuse.IoctlIn, value []byte, get, protecting uint32) fuse.Status {
	if fs.ForAll {
		if err := mayFlag(h, in, value, get, protecting); err != nil {
			return status(err)
		}
	}
	return fs.changing(h.node, fs.caller(&in.InHeader), func() fuse.Status {
		return status(ioctl(h.fd, in.Cmd, value))
	})
}

func mayFlag(h *handle, in *fuse.IoctlIn, value []byte, get, protecting uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil {
		return err
	}
	old := make([]byte, fsxSize)
	if err := ioctl(h.fd, get, old); err != nil {
		return err
	}
	changed := binary.NativeEndian.Uint32(old) ^ binary.NativeEndian.Uint32(value)
	if !ownerOrCapable(&in.InHeader, &st) ||
		changed&protecting != 0 && !credentialsOf(&in.InHeader).has(unix.CAP_LINUX_IMMUTABLE) {
		return unix.EPERM
	}
	return nil
}

// ioctl makes a request whose argument is in buf, which is large enough for it.
func ioctl(fd int, request uint32, buf []byte) error {
	return retry(func() error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&buf[0])))
		if errno != 0 {
			return errno
		}
		return nil
	})
}
