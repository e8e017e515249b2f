package fsnode

import (
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// directFile is a second descriptor of an open file, for the requests that come while the caller's has O_DIRECT. That
// can be changed at any time (fcntl F_SETFL), each request says how it is, and pages that are written back through the
// same handle are not direct: one descriptor can't be both.
type directFile struct {
	once sync.Once
	fd   int // -1 if direct I/O can't be had and is done without
	err  error
}

// direct gives the descriptor for direct I/O, or the other one where the file can't be opened again: its mode may have
// changed since.
func (fs *FS) direct(h *handle) (int, error) {
	h.direct.once.Do(func() { h.direct.fd, h.direct.err = fs.openDirect(h.fd) })
	if h.direct.fd < 0 && h.direct.err == nil {
		return h.fd, nil
	}
	return h.direct.fd, h.direct.err
}

func (fs *FS) openDirect(fd int) (int, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return -1, err
	}
	direct, err := fs.pressure.descriptor(func() (int, error) {
		return fs.reopen(fd, flags&^unix.O_NOFOLLOW|unix.O_DIRECT)
	})
	if err == unix.EACCES || err == unix.EPERM || err == unix.ETXTBSY {
		return -1, nil
	}
	return direct, err
}

// close ends it if it was ever opened.
func (d *directFile) close() {
	d.once.Do(func() { d.fd = -1 })
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
}

// directAlignment of memory is enough for every device: they want their logical block size at most. The alignment of
// the place in the file is the caller's affair, and EINVAL as underneath.
const directAlignment = 4096

func aligned(size int) []byte {
	buf := make([]byte, size+directAlignment)
	return buf[-uintptr(unsafe.Pointer(&buf[0]))%directAlignment:][:size]
}

func isAligned(buf []byte) bool {
	return len(buf) == 0 || uintptr(unsafe.Pointer(&buf[0]))%directAlignment == 0
}

func (fs *FS) readDirect(h *handle, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	fd, err := fs.direct(h)
	if err != nil {
		return nil, status(err)
	}
	if !isAligned(buf) {
		buf = aligned(len(buf))
	}
	n, err := retryFd(func() (int, error) { return unix.Pread(fd, buf, int64(in.Offset)) })
	if err != nil {
		return nil, status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// writeTarget is where and with what memory a write is done.
func (fs *FS) writeTarget(h *handle, data []byte, in *fuse.WriteIn) (int, []byte, error) {
	if in.Flags&unix.O_DIRECT == 0 || in.WriteFlags&fuse.WRITE_CACHE != 0 {
		return h.fd, data, nil
	}
	fd, err := fs.direct(h)
	if err == nil && !isAligned(data) {
		data = append(aligned(len(data))[:0], data...)
	}
	return fd, data, err
}
