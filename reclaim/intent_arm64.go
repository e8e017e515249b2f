package reclaim

import "golang.org/x/sys/unix"

// intentOf is the table of calls that look a name up.
func intentOf(number uint64) intent {
	switch number {
	case unix.SYS_OPENAT:
		return intent{action: openFlags, arg: 2}
	case unix.SYS_OPENAT2:
		return intent{action: openHow, arg: 2}
	case unix.SYS_RENAMEAT2:
		return intent{action: renameByFlag, arg: 4, target: 3}
	case unix.SYS_LINKAT:
		return intent{action: exclusive, target: 3}
	case unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_SYMLINKAT,
		unix.SYS_BIND: // of a Unix socket
		return intent{action: exclusive}
	case unix.SYS_RENAMEAT, unix.SYS_UNLINKAT,
		unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_STATFS,
		unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT,
		unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWNAT, unix.SYS_TRUNCATE, unix.SYS_UTIMENSAT,
		unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_GETXATTR, unix.SYS_LGETXATTR,
		unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR,
		unix.SYS_CHDIR, unix.SYS_CHROOT, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_CONNECT,
		unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_FANOTIFY_MARK, unix.SYS_NAME_TO_HANDLE_AT:
		return intent{action: lookAtName}
	}
	return intent{}
}
