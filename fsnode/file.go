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
	c := fs.caller(&in.InHeader)
	lose, err := fs.contentLoss(n, &in.InHeader, in.Flags&unix.O_TRUNC != 0 && in.Mode&fuse.OPEN_KILL_SUIDGID != 0, 0)
	if err != nil {
		return status(err)
	}
	if alters(in.Flags) {
		if st := fs.putInto(n, c); !st.Ok() {
			return st
		}
	}
	turn := fs.turnAtInode(n, c)
	if turn == nil {
		return fs.openPlain(n, c, in, out, lose)
	}
	defer turn.End()
	if alters(in.Flags) {
		if o := turn.Change(c.who()); o.Refused() {
			return refusal(o)
		}
	}
	turn.Opened(c.who())
	return fs.openFile(n, c, in, out, lose, true)
}

// alters reports whether to open a file with these flags is, or leads to, a change of it.
func alters(flags uint32) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
}

// openPlain opens what is no lock; for writing, if the guard lets the caller.
func (fs *FS) openPlain(n *inode, c *caller, in *fuse.OpenIn, out *fuse.OpenOut, lose func() error) fuse.Status {
	open := func() fuse.Status { return fs.openFile(n, c, in, out, lose, false) }
	if !alters(in.Flags) {
		return open()
	}
	return fs.guarded(n, lockmgr.WriteOpen, c.who, open)
}

func (fs *FS) openFile(
	n *inode, c *caller, in *fuse.OpenIn, out *fuse.OpenOut, lose func() error, isLock bool,
) fuse.Status {
	fd, err := fs.open(n, realFlags(in.Flags))
	if err == unix.EPERM && in.Flags&unix.O_APPEND != 0 { // an append-only file
		fd, err = fs.open(n, realFlags(in.Flags)|unix.O_APPEND)
	}
	if err != nil {
		return status(err)
	}
	if err := lose(); err != nil {
		unix.Close(fd)
		return status(err)
	}
	h := &handle{fd: fd, node: n}
	if in.Flags&unix.O_DIRECT != 0 {
		if _, err := fs.direct(h); err != nil {
			unix.Close(fd)
			return status(err)
		}
	}
	wanted := direct
	if !isLock { // of a lock the kernel keeps nothing
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			h.abandon()
			return status(err)
		}
		h.opened = versionOf(&st)
		fs.renew(n, h.opened)
		wanted = fs.writing(h, in.Flags, c, &st)
	}
	flags, number := fs.enter(h, wanted, in.Flags)
	out.OpenFlags, out.BackingID = fuse.FOPEN_NOFLUSH|flags, number
	out.Fh = fs.handles.add(h)
	return fuse.OK
}

// abandon is for a handle that nobody was given.
func (h *handle) abandon() {
	unix.Close(h.fd)
	h.direct.close()
}

// realFlags are the flags with which the real file is opened. Not to append: the flag may
// be changed later, and pages that are written back have a place of their own. Each write
// says whether it appends. Direct I/O has a descriptor of its own.
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
	c := fs.caller(&in.InHeader)
	if sight, _ := fs.sight(h.node, c); sight == lockmgr.Fresh {
		view, err := fs.render(h, c, in.Offset == 0)
		if err != nil {
			return nil, status(err)
		}
		if view != nil {
			return fuse.ReadResultData(window(view, in.Offset, len(buf))), fuse.OK
		}
	}
	if in.Flags&unix.O_DIRECT != 0 {
		return fs.readDirect(h, in, buf)
	}
	if len(buf) > maxSpliced {
		n, err := retryFd(func() (int, error) { return unix.Pread(h.fd, buf, int64(in.Offset)) })
		return fuse.ReadResultData(buf[:max(n, 0)]), status(err)
	}
	return fuse.ReadResultFd(uintptr(h.fd), int64(in.Offset), len(buf)), fuse.OK
}

// maxSpliced is what go-fuse can send through a pipe, which by default holds 1 MiB (pipe(7), pipe-max-size) and needs
// room for a header: more it copies, after a failure and a line in the log.
const maxSpliced = 1<<20 - 2<<12

// render gives a held lock as others see it, or nil if it is too big to be one. A
// handle goes on with what it rendered when it read the start, so that a reader in
// several steps does not get halves of two times.
func (fs *FS) render(h *handle, c *caller, anew bool) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.view != nil && !anew {
		return h.view, nil
	}
	data, err := fs.readAll(h.node)
	if err != nil || len(data) > lockmgr.MaxPayload {
		return nil, err
	}
	h.view = fs.rendered(h.node, c, data)
	return h.view, nil
}

// rendered gives what somebody else's lock says as the caller sees it. A bare PID is left to
// who lives in the owner's PID namespace: there it is a living process, and a script that
// asks (kill -0) is answered right.
func (fs *FS) rendered(n *inode, c *caller, data []byte) []byte {
	if lockmgr.IsBarePID(data) {
		owner, held := fs.Locks.Holder(n.real)
		if ns := fs.Callers.Describe(c.who()).PIDNS; held && ns != 0 && ns == owner.Owner.PIDNS {
			return data
		}
	}
	return lockmgr.Render(data, time.Now())
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
	lose, err := fs.contentLoss(h.node, &in.InHeader, in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0, in.Offset)
	if err != nil {
		return 0, status(err)
	}
	var written int
	c := fs.caller(&in.InHeader)
	who := fs.writerOf(h, c, in.WriteFlags&fuse.WRITE_CACHE != 0)
	st := fs.altering(h, c, who, lose, func() (err error) {
		fd, data, err := fs.writeTarget(h, data, in)
		if err == nil {
			written, err = pwrite(fd, data, in)
		}
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

// altering changes the content of a file through a handle, which may be older than the lock
// that the file is now; unless that is one through which the kernel writes itself, which it goes on to do (passthrough.go). What lets it run with other rights goes first.
func (fs *FS) altering(h *handle, c *caller, who func() lockmgr.Identity, lose, do func() error) fuse.Status {
	alter := func() fuse.Status {
		if err := lose(); err != nil {
			return status(err)
		}
		return status(do())
	}
	return fs.guarded(h.node, lockmgr.WriteBytes, who, func() fuse.Status { return fs.changing(h.node, c, alter) })
}

// Flush is a close of one descriptor of the creating handle of a lock; other handles
// ask the kernel not to send it.
func (fs *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if h := fs.handles.file(in.Fh); h != nil && h.grant != nil && fs.Callers.Is(in.Pid, h.grant.owner) {
		fs.Locks.Flushed(h.grant.key, h.grant.token, h.grant.owner)
		h.grant.closed.Store(true)
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
	if h.writes {
		fs.written(h)
	}
	fs.leave(h)
	h.abandon()
	fs.pressure.gaveBack()
	if h.grant != nil {
		fs.Locks.HandleClosed(h.grant.key, h.grant.token)
	}
}

// Fsync brings a file to the disk.
func (fs *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := fs.handles.real(in.Fh)
	if h == nil {
		return fuse.OK
	}
	if in.FsyncFlags&1 != 0 {
		return status(retry(func() error { return unix.Fdatasync(h.fd) }))
	}
	return status(retry(func() error { return unix.Fsync(h.fd) }))
}

// Fallocate makes or takes room.
func (fs *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := fs.handles.real(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	lose, err := fs.unsaidLoss(h.node, &in.InHeader, in.Offset+in.Length)
	if err != nil {
		return status(err)
	}
	c := fs.caller(&in.InHeader)
	return fs.altering(h, c, c.who, lose, func() error {
		return retry(func() error { return unix.Fallocate(h.fd, in.Mode, int64(in.Offset), int64(in.Length)) })
	})
}

// Lseek finds data and holes.
func (fs *FS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := fs.handles.real(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	off, err := unix.Seek(h.fd, int64(in.Offset), int(in.Whence))
	out.Offset = uint64(off)
	return status(err)
}

// CopyFileRange copies inside the real file system.
func (fs *FS) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := fs.handles.real(in.FhIn), fs.handles.real(in.FhOut)
	if from == nil || to == nil {
		return 0, fuse.EBADF
	}
	offIn, offOut := int64(in.OffIn), int64(in.OffOut)
	if sight, _ := fs.sight(from.node, fs.caller(&in.InHeader)); sight == lockmgr.Fresh {
		return 0, fuse.Status(unix.EXDEV) // the caller copies what it is shown
	}
	lose, err := fs.unsaidLoss(to.node, &in.InHeader, in.OffOut)
	if err != nil {
		return 0, status(err)
	}
	var copied int
	c := fs.caller(&in.InHeader)
	st := fs.altering(to, c, c.who, lose, func() (err error) {
		copied, err = retryFd(func() (int, error) {
			return unix.CopyFileRange(from.fd, &offIn, to.fd, &offOut, int(min(in.Len, 1<<30)), int(in.Flags))
		})
		return err
	})
	return uint32(max(copied, 0)), st
}
