package fsnode

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Open opens a file. Opening a lock for writing is a change of it.
func (fs *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil {
		return fs.openControl(in, out)
	}
	turn := fs.Locks.AtInode(n.real)
	if turn == nil {
		return fs.openFile(n, in, out, fuse.FOPEN_NOFLUSH)
	}
	defer turn.End()
	c := fs.caller(&in.InHeader)
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY || in.Flags&unix.O_TRUNC != 0 {
		if o := turn.Change(c.who()); o.Refused() {
			return refusal(o)
		}
	}
	turn.Opened(c.who())
	return fs.openFile(n, in, out, fuse.FOPEN_NOFLUSH|fuse.FOPEN_DIRECT_IO)
}

func (fs *FS) openFile(n *inode, in *fuse.OpenIn, out *fuse.OpenOut, flags uint32) fuse.Status {
	fd, err := fs.open(n, realFlags(in.Flags))
	if err != nil {
		return status(err)
	}
	if in.Flags&unix.O_TRUNC != 0 && in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		if err := fs.killPrivileges(fd); err != nil {
			unix.Close(fd)
			return status(err)
		}
	}
	out.Fh = fs.handles.add(&handle{fd: fd, node: n})
	out.OpenFlags = flags
	return fuse.OK
}

// realFlags are the flags with which the real file is opened. Not to append: the flag may
// be changed later, and pages that are written back have a place of their own. Each write
// says whether it appends. Nor for direct I/O: requests are not aligned.
func realFlags(flags uint32) int {
	return int(flags) &^ (unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_APPEND | unix.O_DIRECT)
}

// Read reads from a file; a lock that somebody else holds is rendered.
func (fs *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := fs.handles.file(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	if h.node == nil {
		return fuse.ReadResultData(window(h.text, in.Offset, len(buf))), fuse.OK
	}
	if sight, _ := fs.sight(h.node, fs.caller(&in.InHeader)); sight == lockmgr.Fresh {
		view, err := fs.render(h, in.Offset == 0)
		if err != nil {
			return nil, status(err)
		}
		if view != nil {
			return fuse.ReadResultData(window(view, in.Offset, len(buf))), fuse.OK
		}
	}
	return fuse.ReadResultFd(uintptr(h.fd), int64(in.Offset), len(buf)), fuse.OK
}

// render gives a held lock as others see it, or nil if it is too big to be one. A
// handle goes on with what it rendered when it read the start, so that a reader in
// several steps does not get halves of two times.
func (fs *FS) render(h *handle, anew bool) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.view != nil && !anew {
		return h.view, nil
	}
	data, err := fs.readAll(h.node)
	if err != nil || len(data) > lockmgr.MaxPayload {
		return nil, err
	}
	h.view = lockmgr.Render(data, time.Now())
	return h.view, nil
}

// readAll reads what may be a payload, and one byte more.
func (fs *FS) readAll(n *inode) ([]byte, error) {
	fd, err := fs.open(n, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readPayload(fd)
}

func readPayload(fd int) ([]byte, error) {
	data := make([]byte, 0, 512)
	for len(data) <= lockmgr.MaxPayload {
		if len(data) == cap(data) {
			data = append(data, make([]byte, len(data))...)[:len(data)]
		}
		room := data[len(data):min(cap(data), lockmgr.MaxPayload+1)]
		n, err := retryFd(func() (int, error) { return unix.Pread(fd, room, int64(len(data))) })
		if err != nil {
			return nil, err
		}
		data = data[:len(data)+n]
		if n < len(room) { // the end of a regular file
			break
		}
	}
	return data, nil
}

func window(data []byte, offset uint64, size int) []byte {
	if offset >= uint64(len(data)) {
		return nil
	}
	data = data[offset:]
	return data[:min(size, len(data))]
}

// Write writes to a file.
func (fs *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := fs.handles.file(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	if h.node == nil {
		return fs.writeControl(in, data)
	}
	var written int
	st := fs.writing(h, &in.InHeader, in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0, func() (err error) {
		written, err = pwrite(h.fd, data, in)
		return err
	})
	return uint32(max(written, 0)), st
}

// pwrite writes where the caller said, or at the end if its handle appends. A page that
// is written back has its place whatever the handle says.
func pwrite(fd int, data []byte, in *fuse.WriteIn) (int, error) {
	if in.Flags&unix.O_APPEND != 0 && in.WriteFlags&fuse.WRITE_CACHE == 0 {
		return retryFd(func() (int, error) { return unix.Pwritev2(fd, [][]byte{data}, -1, unix.RWF_APPEND) })
	}
	return retryFd(func() (int, error) { return unix.Pwrite(fd, data, int64(in.Offset)) })
}

// writing changes the content of a file through a handle, which may be older than the lock
// that the file is now. What lets it run with other rights goes, if the caller has no right
// to keep it.
func (fs *FS) writing(h *handle, in *fuse.InHeader, kill bool, do func() error) fuse.Status {
	return fs.changing(h.node, fs.caller(in), func() fuse.Status {
		if kill {
			if err := fs.killPrivileges(h.fd); err != nil {
				return status(err)
			}
		}
		return status(do())
	})
}

// killPrivileges takes the set-uid bit, and the set-gid bit where it means one, from a file
// that is about to change: root may keep them, the caller may not. Of an ordinary user the
// real file system takes them itself.
func (fs *FS) killPrivileges(fd int) error {
	if !fs.ForAll {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	mode := st.Mode &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	if mode == st.Mode || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	return unix.Fchmod(fd, mode&07777)
}

// Flush is a close of one descriptor of the creating handle of a lock; other handles
// ask the kernel not to send it.
func (fs *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if h := fs.handles.file(in.Fh); h != nil && h.grant != nil && fs.Callers.Is(in.Pid, h.grant.owner) {
		fs.Locks.Flushed(h.grant.key, h.grant.token, h.grant.owner)
	}
	return fuse.OK
}

// Release is the last close of a handle.
func (fs *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if h := fs.handles.remove(in.Fh); h != nil {
		fs.closeHandle(h)
	}
}

func (fs *FS) closeHandle(h *handle) {
	if h.node == nil { // a control file
		return
	}
	unix.Close(h.fd)
	if h.grant != nil {
		fs.Locks.HandleClosed(h.grant.key, h.grant.token)
	}
}

// Fsync brings a file to the disk.
func (fs *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := fs.handles.file(in.Fh)
	if h == nil || h.node == nil {
		return fuse.OK
	}
	if in.FsyncFlags&1 != 0 {
		return status(retry(func() error { return unix.Fdatasync(h.fd) }))
	}
	return status(retry(func() error { return unix.Fsync(h.fd) }))
}

// Fallocate makes or takes room.
func (fs *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := fs.handles.file(in.Fh)
	if h == nil || h.node == nil {
		return fuse.EBADF
	}
	// This request does not say whether the caller may keep set-id bits; only root may.
	return fs.writing(h, &in.InHeader, in.Uid != 0, func() error {
		return retry(func() error { return unix.Fallocate(h.fd, in.Mode, int64(in.Offset), int64(in.Length)) })
	})
}

// Lseek finds data and holes.
func (fs *FS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := fs.handles.file(in.Fh)
	if h == nil || h.node == nil {
		return fuse.EBADF
	}
	off, err := unix.Seek(h.fd, int64(in.Offset), int(in.Whence))
	out.Offset = uint64(off)
	return status(err)
}

// CopyFileRange copies inside the real file system.
func (fs *FS) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := fs.handles.file(in.FhIn), fs.handles.file(in.FhOut)
	if from == nil || to == nil || from.node == nil || to.node == nil {
		return 0, fuse.EBADF
	}
	offIn, offOut := int64(in.OffIn), int64(in.OffOut)
	if sight, _ := fs.sight(from.node, fs.caller(&in.InHeader)); sight == lockmgr.Fresh {
		return 0, fuse.Status(unix.EXDEV) // the caller copies what it is shown
	}
	var copied int
	st := fs.writing(to, &in.InHeader, in.Uid != 0, func() (err error) {
		copied, err = retryFd(func() (int, error) {
			return unix.CopyFileRange(from.fd, &offIn, to.fd, &offOut, int(min(in.Len, 1<<30)), int(in.Flags))
		})
		return err
	})
	return uint32(max(copied, 0)), st
}
