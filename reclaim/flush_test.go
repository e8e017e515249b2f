package reclaim

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// flushless is a FUSE file system with one file, "file", whose FLUSH is answered only when
// it is released: who closes the file waits. A process that has it open close-on-exec and
// calls exec then stands inside execve(2), with exec_update_lock taken (begin_new_exec and
// do_close_on_exec of the kernel's fs/exec.c).
type flushless struct {
	fd       int
	file     string
	flushing chan struct{} // a FLUSH has come
	release  func()        // may be called twice
}

// The parts of linux/fuse.h that one file needs.
const (
	fuseLookup, fuseForget, fuseGetattr, fuseOpen = 1, 2, 3, 14
	fuseFlush, fuseInit, fuseInterrupt            = 25, 26, 36
	fuseBatchForget                               = 42
	fuseInHeader, fuseRequestRoom                 = 40, 1 << 20
)

func mountFlushless(t *testing.T) *flushless {
	t.Helper()
	dir, release := wedge(t)
	f := &flushless{file: filepath.Join(dir, "file"), flushing: make(chan struct{}, 16)}
	f.fd = deviceOf(t)
	ended := make(chan struct{})
	f.release = sync.OnceFunc(func() {
		_ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) // ends the connection, also for who reads
		<-ended
		release()
	})
	t.Cleanup(f.release)
	go func() {
		defer close(ended)
		f.serve()
	}()
	return f
}

// deviceOf is the descriptor of the last wedge.
func deviceOf(t *testing.T) int {
	t.Helper()
	names, err := listNames("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, name := range names {
		var fd int
		_, _ = fmt.Sscan(name, &fd)
		if link, _ := os.Readlink("/proc/self/fd/" + name); link == "/dev/fuse" {
			last = max(last, fd)
		}
	}
	return last
}

// awaitFlush waits for somebody who closes the file.
func (f *flushless) awaitFlush(t *testing.T) {
	t.Helper()
	select {
	case <-f.flushing:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody closes the file")
	}
}

// serve ends with the connection.
func (f *flushless) serve() {
	buf := make([]byte, fuseRequestRoom)
	for {
		n, err := unix.Read(f.fd, buf)
		if err == unix.EINTR || err == unix.ENOENT {
			continue
		}
		if err != nil || n < fuseInHeader {
			return
		}
		f.answer(binary.NativeEndian.Uint32(buf[4:]), binary.NativeEndian.Uint64(buf[8:]))
	}
}

func (f *flushless) answer(opcode uint32, unique uint64) {
	var body []byte
	le := binary.NativeEndian
	switch opcode {
	case fuseForget, fuseBatchForget, fuseInterrupt:
		return
	case fuseFlush:
		f.flushing <- struct{}{}
		return
	case fuseInit:
		body = make([]byte, 64)
		le.PutUint32(body, 7)
		le.PutUint32(body[4:], 31)
		le.PutUint32(body[20:], 4096)
	case fuseLookup:
		body = make([]byte, 40+88)
		le.PutUint64(body, 2)
		fileAttr(body[40:])
	case fuseGetattr:
		body = make([]byte, 16+88)
		fileAttr(body[16:])
	case fuseOpen:
		body = make([]byte, 16)
	}
	head := make([]byte, 16)
	le.PutUint32(head, uint32(16+len(body)))
	le.PutUint64(head[8:], unique)
	_, _ = unix.Write(f.fd, append(head, body...))
}

func fileAttr(b []byte) {
	binary.NativeEndian.PutUint64(b, 2)
	binary.NativeEndian.PutUint32(b[60:], unix.S_IFREG|0o600)
	binary.NativeEndian.PutUint32(b[64:], 1)
}
