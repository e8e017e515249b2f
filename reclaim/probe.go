package reclaim

import (
	"os"

	"golang.org/x/sys/unix"
)

// Features is what the running kernel, and whatever filters our system calls,
// let us do with pidfds. The zero Features is a kernel that has none.
type Features struct {
	PidfdOpen   bool // pidfd_open: Linux 5.3
	PidfdThread bool // pidfd_open(tid, PIDFD_THREAD): Linux 6.9
	PidfdInfo   bool // ioctl PIDFD_GET_INFO: Linux 6.13
	Pidfs       bool // a pidfd's inode number names its process for good: Linux 6.9
}

// pidfsMagic is PID_FS_MAGIC of linux/magic.h, "PIDF".
const pidfsMagic = 0x50494446

// Probe finds out what there is by trying each call on this process, never by the
// kernel's version: distributions port back and container run times forbid.
func Probe() Features {
	fd, err := openPidfd(int32(os.Getpid()), 0)
	if err != nil {
		return Features{}
	}
	defer unix.Close(fd)
	_, infoErr := threadGroup(fd)
	return Features{
		PidfdOpen:   true,
		PidfdThread: probeThread(),
		PidfdInfo:   infoErr == nil,
		Pidfs:       onPidfs(fd),
	}
}

func probeThread() bool {
	fd, err := openPidfd(int32(unix.Gettid()), unix.PIDFD_THREAD)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

func onPidfs(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && int64(st.Type) == pidfsMagic
}
