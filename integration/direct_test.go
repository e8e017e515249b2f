package integration

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alignedBuffer is memory for direct I/O.
func alignedBuffer(size int, fill byte) []byte {
	buf := make([]byte, size+4096)
	buf = buf[-uintptr(unsafe.Pointer(&buf[0]))%4096:][:size]
	for i := range buf {
		buf[i] = fill
	}
	return buf
}

// direct are acts on a file of 10,000 bytes that has O_DIRECT; what comes of them is the same on the mount.
var direct = []struct {
	name string
	act  func(fd int) (int, error)
}{
	{"read", func(fd int) (int, error) { return unix.Pread(fd, alignedBuffer(4096, 0), 4096) }},
	{"read across the end", func(fd int) (int, error) { return unix.Pread(fd, alignedBuffer(8192, 0), 8192) }},
	{"read 2 MiB", func(fd int) (int, error) { return unix.Pread(fd, alignedBuffer(2<<20, 0), 0) }},
	{"read at an odd place", func(fd int) (int, error) { return unix.Pread(fd, alignedBuffer(4096, 0), 100) }},
	{"read an odd length", func(fd int) (int, error) { return unix.Pread(fd, alignedBuffer(100, 0), 0) }},
	{"write", func(fd int) (int, error) { return unix.Pwrite(fd, alignedBuffer(4096, 'w'), 4096) }},
	{"write 2 MiB", func(fd int) (int, error) { return unix.Pwrite(fd, alignedBuffer(2<<20, 'W'), 1<<20) }},
	{"write at an odd place", func(fd int) (int, error) { return unix.Pwrite(fd, alignedBuffer(4096, 'x'), 100) }},
	{"write an odd length", func(fd int) (int, error) { return unix.Pwrite(fd, alignedBuffer(100, 'y'), 0) }},
}

func TestDirectIO(t *testing.T) {
	t.Run(byKernel, func(t *testing.T) {
		m := newMount(t)
		mustBeDirect(t, m, "opened", "opened")
		// The kernel opens the real file with the flags of that moment (fuse_passthrough_open).
		mustBeDirect(t, m, "set by fcntl", "not set")
	})
	t.Run(byServer, func(t *testing.T) {
		m := newMount(t, withFlags(withoutPassthrough))
		mustBeDirect(t, m, "opened", "opened")
		mustBeDirect(t, m, "set by fcntl", "set by fcntl")
	})
}

// mustBeDirect does each act on the mount and underneath, on files that came to O_DIRECT in these ways.
func mustBeDirect(t *testing.T, m *mount, how, howBelow string) {
	t.Helper()
	for _, one := range direct {
		n, errno := directly(t, m.path("mount"), how, one.act)
		wantN, wantErrno := directly(t, m.pathBelow("bare"), howBelow, one.act)
		if n != wantN || errno != wantErrno {
			t.Errorf("%s, O_DIRECT %s: %d, %v; underneath %d, %v", one.name, how, n, errno, wantN, wantErrno)
		}
		if got, want := m.stateBelow(t, "mount"), m.stateBelow(t, "bare"); got.bytes != want.bytes {
			t.Errorf("%s, O_DIRECT %s: another content than underneath", one.name, how)
		}
	}
}

// directly does the act on a new file.
func directly(t *testing.T, path, how string, act func(fd int) (int, error)) (int, error) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if how == "opened" {
		flags |= unix.O_DIRECT
	}
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if how == "set by fcntl" {
		setDirect(t, fd, true)
	}
	return act(fd)
}

func setDirect(t *testing.T, fd int, on bool) {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags); err != nil {
		t.Fatal(err)
	}
}

// The flag may come and go while the file is open: what is written one way is read the other way.
func TestDirectIOComesAndGoes(t *testing.T) {
	m := newMount(t, withFlags(withoutPassthrough)) // the kernel itself heeds it at open only
	fd, err := unix.Open(m.path("file"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o444)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for i := range 6 {
		setDirect(t, fd, i%2 == 1)
		want := alignedBuffer(8192, 'a'+byte(i))
		if n, err := unix.Pwrite(fd, want, 4096); n != len(want) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
		_, err := unix.Pwrite(fd, []byte("odd"), 13)
		if direct := i%2 == 1; direct != errors.Is(err, syscall.EINVAL) {
			t.Errorf("direct %v: an odd write gives %v", direct, err)
		}
		setDirect(t, fd, i%3 == 1)
		got := alignedBuffer(8192, 0)
		if n, err := unix.Pread(fd, got, 4096); n != len(got) || err != nil || !bytes.Equal(got, want) {
			t.Errorf("read back %d bytes, %v, starting with %q", n, err, got[0])
		}
	}
}

// Mapped pages of such a file are not direct, and are seen by who reads it directly.
func TestDirectIOMapped(t *testing.T) {
	m := newMount(t)
	fd, err := unix.Open(m.path("file"), unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, alignedBuffer(8192, 'd'), 0); err != nil {
		t.Fatal(err)
	}
	pages, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	copy(pages[100:], "mapped")
	if err := unix.Munmap(pages); err != nil {
		t.Fatal(err)
	}
	got := alignedBuffer(4096, 0)
	if n, err := unix.Pread(fd, got, 0); n != 4096 || err != nil || string(got[98:108]) != "ddmappeddd" {
		t.Errorf("read directly what was written mapped: %d, %v, %q", n, err, got[98:108])
	}
}
