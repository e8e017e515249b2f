package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Server is the PID of the process that made the socket of a mount. It need not answer for that: the kernel knows.
func Server(ctx context.Context, device uint64) (pid int32, err error) {
	for _, path := range paths(device) {
		var d net.Dialer
		c, e := d.DialContext(ctx, "unix", path)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		defer c.Close()
		return peer(c.(*net.UnixConn))
	}
	return 0, err
}

func peer(c *net.UnixConn) (pid int32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var who *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	return who.Pid, nil
}

// Socket is where a mount can be asked, or could be once.
type Socket struct {
	Path   string
	Device uint64 // of the mount
}

// Sockets are those there are, of root's mounts and ours; for root those of everybody.
func Sockets() (all []Socket) {
	for _, dir := range dirs() {
		found, _ := filepath.Glob(filepath.Join(dir, "*.sock"))
		for _, path := range found {
			if device, ok := deviceOf(filepath.Base(path)); ok {
				all = append(all, Socket{path, device})
			}
		}
	}
	return all
}

// Dead reports whether nobody listens any more.
func (s Socket) Dead() bool {
	c, err := net.Dial("unix", s.Path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// RemoveDead removes a socket on which nobody listens. It leaves one alone that a mount has put there meanwhile which
// got the same device number.
func (s Socket) RemoveDead() error {
	before, err := os.Lstat(s.Path)
	if err != nil || !s.Dead() {
		return err
	}
	if now, err := os.Lstat(s.Path); err != nil || !os.SameFile(before, now) {
		return err
	}
	return os.Remove(s.Path)
}
