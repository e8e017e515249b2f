package fsnode

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sessionlockfs/lockmgr"
)

// errnoOf is the one table from the law's refusals to what a caller sees.
var errnoOf = map[lockmgr.Outcome]syscall.Errno{
	lockmgr.Exists:   syscall.EEXIST,
	lockmgr.Busy:     syscall.EBUSY,
	lockmgr.Remember: syscall.EBUSY,
	lockmgr.Gone:     syscall.ENOENT,
}

// refusal is the answer to an act that the law refuses.
func refusal(o lockmgr.Outcome) fuse.Status { return fuse.Status(errnoOf[o]) }

// status is the answer to what the real directory said. An error that is no errno is EIO.
func status(err error) fuse.Status {
	var errno syscall.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.As(err, &errno):
		return fuse.Status(errno)
	case errors.Is(err, lockmgr.ErrGone):
		return fuse.ENOENT
	}
	return fuse.EIO
}

// retry repeats a system call that a signal interrupted: the Go runtime sends them.
func retry(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}

// retryFd is retry for calls that give a descriptor or a count.
func retryFd(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != syscall.EINTR {
			return n, err
		}
	}
}
