package reclaim

import "golang.org/x/sys/unix"

// intentOf is the table of calls that look a name up. A number with bit 30 is of the x32
// ABI and in no case here.
func intentOf(number uint64) intent {
	switch number {
	case unix.SYS_OPEN:
		return intent{action: openFlags, arg: 1}
	case unix.SYS_OPENAT:
		return intent{action: openFlags, arg: 2}
	case unix.SYS_OPENAT2:
		return intent{action: openHow, arg: 2}
	case unix.SYS_RENAMEAT2:
		return intent{action: renameByFlag, arg: 4, target: 3}
	case unix.SYS_LINK:
		return intent{action: exclusive, target: 1}
	case unix.SYS_LINKAT:
		return intent{action: exclusive, target: 3}
	case unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_MKNOD, unix.SYS_MKNODAT,
		unix.SYS_SYMLINK, unix.SYS_SYMLINKAT, unix.SYS_BIND: // of a Unix socket
		return intent{action: exclusive}
	case unix.SYS_CREAT, unix.SYS_RENAME, unix.SYS_RENAMEAT,
		unix.SYS_UNLINK, unix.SYS_UNLINKAT, unix.SYS_RMDIR,
		unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_STATFS,
		unix.SYS_ACCESS, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINK, unix.SYS_READLINKAT,
		unix.SYS_CHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_FCHOWNAT,
		unix.SYS_TRUNCATE, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT, unix.SYS_UTIMENSAT,
		unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_GETXATTR, unix.SYS_LGETXATTR,
		unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR,
		unix.SYS_CHDIR, unix.SYS_CHROOT, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_CONNECT,
		unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_FANOTIFY_MARK, unix.SYS_NAME_TO_HANDLE_AT:
		return intent{action: lookAtName}
	}
	return intent{}
}
