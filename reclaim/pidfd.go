package reclaim

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// pidfdGetInfo is _IOWR(0xFF, 11, struct pidfd_info) of linux/pidfd.h with the
// structure's first size, 64 bytes, which every later kernel still takes.
const pidfdGetInfo = 3<<30 | 64<<16 | 0xFF<<8 | 11

// pidfdInfoPID is PIDFD_INFO_PID: fill in the ids.
const pidfdInfoPID = 1

// pidfdInfoExit is PIDFD_INFO_EXIT: fill in how the process ended, if it was reaped.
const pidfdInfoExit = 1 << 3

// pidfdInfo is struct pidfd_info, first version.
type pidfdInfo struct {
	mask                                                   uint64
	cgroupid                                               uint64
	pid, tgid, ppid                                        uint32
	ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid, exit uint32
}

// The compiler refuses either line when the size is not the 64 that pidfdGetInfo says.
const (
	_ = uint(64 - unsafe.Sizeof(pidfdInfo{}))
	_ = uint(unsafe.Sizeof(pidfdInfo{}) - 64)
)

// openPidfd opens a pidfd, which is close-on-exec. For a live thread that is no group
// leader and no PIDFD_THREAD it fails with EINVAL (before 6.9) or ENOENT.
func openPidfd(id int32, flags int) (int, error) {
	return unix.PidfdOpen(int(id), flags)
}

// isThreadNotProcess tells that an id names a thread, but no process.
func isThreadNotProcess(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)
}

// pidfdInode returns the inode number, which on pidfs is never used twice.
func pidfdInode(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// threadGroup returns the process id of the thread or process behind a pidfd.
func threadGroup(fd int) (int32, error) {
	info := pidfdInfo{mask: pidfdInfoPID}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 {
		return 0, errno
	}
	if info.tgid == 0 {
		return 0, unix.ESRCH
	}
	return int32(info.tgid), nil
}

// exitCode returns how the process of a pidfd ended, as wait(2) gives it, once it is reaped.
func exitCode(fd int) (int, error) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	switch {
	case errno != 0:
		return 0, errno
	case info.mask&pidfdInfoExit == 0:
		return 0, unix.EAGAIN
	}
	return int(int32(info.exit)), nil
}

// exited tells whether all threads of a pidfd's process are gone, reaped or not.
func exited(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n > 0, err
		}
	}
}

// holdsIdentity tells whether a pidfd opened by id.PID is the process id means: by the
// pidfs inode where there is one, else by the start time in /proc. The second is sound
// because the pidfd was opened first: whoever has the PID after that started later.
func holdsIdentity(fd int, id lockmgr.Identity, f Features, proc procfs) (bool, error) {
	if f.Pidfs && id.Pidfs != 0 {
		ino, err := pidfdInode(fd)
		return ino == id.Pidfs, err
	}
	st, err := proc.stat(id.PID)
	return err == nil && st.start == id.StartTime, err
}
