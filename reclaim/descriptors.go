package reclaim

import (
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// sight is how far we could look at a process's descriptors.
type sight uint8

const (
	seen   sight = iota // all of them, or the process is gone
	opaque              // we may not look
)

// descriptor is one open file of another process, or its working or root directory.
type descriptor struct {
	dir  int    // directory in /proc the link is in
	name string // of the link
}

// inode returns device and inode number without asking the file system: with
// AT_STATX_DONT_SYNC a FUSE mount answers from what the kernel knows, even when its server
// hangs, is dead, or is ourselves. (A hard NFS mount whose server is gone may still hang.)
func (d descriptor) inode() (dev, ino uint64, err error) {
	var st unix.Statx_t
	err = unix.Statx(d.dir, d.name, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st)
	return unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino, err
}

// device is the same for the device only: with an empty mask FUSE tells it even of a
// mount that others may not enter.
func (d descriptor) device() (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(d.dir, d.name, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st)
	return unix.Mkdev(st.Dev_major, st.Dev_minor), err
}

// writable tells whether the file is open for writing: the mode of the link says so, see
// proc_pid_fd(5).
func (d descriptor) writable() bool {
	var st unix.Stat_t
	return unix.Fstatat(d.dir, d.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&0o200 != 0
}

// path is where the kernel thinks the file is, without " (deleted)".
func (d descriptor) path() (string, error) {
	var buf [2 * unix.PathMax]byte
	n, err := unix.Readlinkat(d.dir, d.name, buf[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(buf[:n]), " (deleted)"), nil
}

// base is the last element of the path.
func (d descriptor) base() (string, error) {
	p, err := d.path()
	return path.Base(p), err
}

// descriptors visits the open files of a process until visit says stop.
// Threads that went their own way (unshare(CLONE_FILES)) are not looked at, but
// those of a process whose first thread has exited are.
func (p procfs) descriptors(pid int32, visit func(descriptor) (stop bool)) sight {
	n, s := visitLinks(p.of(pid, "fd"), visit)
	if n > 0 || s == opaque {
		return s
	}
	st, err := p.stat(pid)
	if err != nil || !st.dead() { // nothing open: a kernel thread, mostly
		return seen
	}
	tids, _ := p.threads(pid)
	for _, tid := range tids {
		if n, s = visitLinks(p.of(tid, "fd"), visit); n > 0 || s == opaque {
			return s
		}
	}
	return seen
}

// visitLinks visits the links in a directory of /proc, and says how many there were.
func visitLinks(dir string, visit func(descriptor) (stop bool)) (int, sight) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, sightOf(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, sightOf(err)
	}
	for _, name := range names {
		if visit(descriptor{int(d.Fd()), name}) {
			break
		}
	}
	return len(names), seen
}

func sightOf(err error) sight {
	if denied(err) {
		return opaque
	}
	return seen
}

// places visits the working and the root directory of a process, then its open files.
func (p procfs) places(pid int32, visit func(descriptor) (stop bool)) {
	dir, err := unix.Open(p.of(pid, ""), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	for _, name := range [...]string{"cwd", "root"} {
		if visit(descriptor{dir, name}) {
			return
		}
	}
	p.descriptors(pid, visit)
}
