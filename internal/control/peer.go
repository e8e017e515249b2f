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
		who, err := peer(c.(*net.UnixConn))
		if err != nil {
			return 0, err
		}
		return who.Pid, nil
	}
	return 0, err
}

// peer is who is at the other end.
func peer(c *net.UnixConn) (who *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	if e := raw.Control(func(fd uintptr) {
		who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil || err != nil {
		return nil, errors.Join(e, err)
	}
	return who, nil
}

// asker is under which a request's context has a *unix.Ucred of who asks, where it comes by a socket of this machine.
type asker struct{}

func knowAsker(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*net.UnixConn); ok {
		if who, err := peer(c); err == nil {
			return context.WithValue(ctx, asker{}, who)
		}
	}
	return ctx
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

// Clear removes the sockets that a mount has left, if nobody listens on them any more.
func Clear(device uint64) {
	if device == 0 {
		return
	}
	for _, path := range paths(device) {
		_ = Socket{path, device}.RemoveDead()
	}
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
