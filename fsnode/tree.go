package fsnode

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// FS is lockmgr's Tree.
var _ lockmgr.Tree = (*FS)(nil)

// Pin keeps a directory's descriptor, and so its path, while names in it are tracked.
func (fs *FS) Pin(dir lockmgr.InodeID) { fs.inodes.pin(dir) }

// Unpin ends that.
func (fs *FS) Unpin(dir lockmgr.InodeID) { fs.inodes.unpin(dir) }

// Content reads what stands under a lock's name.
func (fs *FS) Content(k lockmgr.Key, want lockmgr.InodeID) (lockmgr.Content, error) {
	e, err := fs.borrowEntry(k, want)
	if err != nil {
		return lockmgr.Content{}, err
	}
	defer fs.giveEntryBack(e)
	return fs.contentOf(e.n.fd, e.st)
}

// borrowed is an entry that is kept, with its directory, until it is given back.
type borrowed struct {
	dir, n *inode
	st     *unix.Stat_t
}

// borrowEntry is borrowChild for a lock's name.
func (fs *FS) borrowEntry(k lockmgr.Key, want lockmgr.InodeID) (e borrowed, err error) {
	if e.dir, err = fs.inodes.borrow(k.Dir); err != nil {
		return e, err
	}
	if e.n, e.st, err = fs.borrowChild(e.dir, k.Name, want); err != nil {
		fs.inodes.giveBack(e.dir)
	}
	return e, err
}

func (fs *FS) giveEntryBack(e borrowed) {
	fs.inodes.giveBack(e.n)
	fs.inodes.giveBack(e.dir)
}

// borrowChild is borrow for an entry that must be this inode, else it is ErrGone. What is
// tracked is pinned: then it takes one system call, where a dead owner's lock waits for it.
func (fs *FS) borrowChild(dir *inode, name string, want lockmgr.InodeID) (*inode, *unix.Stat_t, error) {
	n, err := fs.inodes.borrow(want)
	if err == errUnused {
		fd, st, err := statChild(dir, name)
		if err != nil {
			return nil, nil, goneIfNotThere(err)
		}
		if fs.inodes.id(st) != want {
			unix.Close(fd)
			return nil, nil, lockmgr.ErrGone
		}
		return fs.inodes.keep(fd, st), st, nil
	}
	if err == lockmgr.ErrGone && fs.inodes.isNamed(dir, name, want) {
		err = unix.EIO
	}
	if err != nil {
		return nil, nil, err
	}
	st := new(unix.Stat_t)
	err = unix.Fstatat(dir.fd, name, st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && fs.inodes.id(st) != want {
		err = lockmgr.ErrGone
	}
	if err != nil {
		fs.inodes.giveBack(n)
		return nil, nil, goneIfNotThere(err)
	}
	return n, st, nil
}

func goneIfNotThere(err error) error {
	if err == unix.ENOENT {
		return lockmgr.ErrGone
	}
	return err
}

func (fs *FS) contentOf(fd int, st *unix.Stat_t) (lockmgr.Content, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		file, err := fs.reopen(fd, unix.O_RDONLY|unix.O_NOATIME)
		if err == unix.EPERM { // O_NOATIME is for the file's owner
			file, err = fs.reopen(fd, unix.O_RDONLY)
		}
		if err != nil {
			return lockmgr.Content{}, err
		}
		defer unix.Close(file)
		data, err := readPayload(file)
		return lockmgr.Content{Kind: lockmgr.KindFile, Data: data}, err
	case unix.S_IFLNK:
		buf := make([]byte, 256)
		n, err := unix.Readlinkat(fd, "", buf)
		return lockmgr.Content{Kind: lockmgr.KindSymlink, Data: buf[:max(n, 0)]}, err
	case unix.S_IFDIR:
		return fs.filesIn(fd)
	}
	return lockmgr.Content{Kind: lockmgr.KindOther}, nil
}

// Remove takes a lock out of the real directory. Between the look and the removal only
// somebody past the mount can put another inode there; through the mount it is our turn.
func (fs *FS) Remove(k lockmgr.Key, want lockmgr.InodeID) error {
	e, err := fs.borrowEntry(k, want)
	if err != nil {
		return err
	}
	defer fs.giveEntryBack(e)
	err = UnlinkAny(e.dir.fd, k.Name)
	if err == unix.ENOENT {
		return lockmgr.ErrGone
	}
	return err
}

// UnlinkAny removes an entry of whatever type; a directory must be empty.
func UnlinkAny(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == unix.EISDIR {
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	return err
}

// Attributes are those of an untracked lock by which it is judged.
type Attributes struct {
	UID      uint32
	Changed  time.Time // when it was last changed, in content or otherwise
	Remote   bool      // it lies on a network file system
	Unopened bool      // the kernel says that nobody has it open
}

// Attributes looks at an untracked lock. ErrGone as in Content.
func (fs *FS) Attributes(k lockmgr.Key, want lockmgr.InodeID) (a Attributes, err error) {
	e, err := fs.borrowEntry(k, want)
	if err != nil {
		return a, err
	}
	defer fs.giveEntryBack(e)
	a = Attributes{UID: e.st.Uid, Changed: time.Unix(e.st.Mtim.Unix())}
	if ctime := time.Unix(e.st.Ctim.Unix()); ctime.After(a.Changed) {
		a.Changed = ctime
	}
	a.Remote = isRemote(e.n.fd)
	a.Unopened = fs.unopened(e.n.fd, e.st)
	return a, nil
}

// unopened asks the kernel for a write lease, which it gives only for a file that nobody
// else has open, in whatever namespace and whether or not we may look there (fcntl(2),
// F_SETLEASE). An O_PATH descriptor does not count. The lease is given back at once: who
// opens the file meanwhile waits for that instant. A no can also mean that the file
// system has no leases, or that the file is not ours.
func (fs *FS) unopened(path int, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK: // nobody can
		return true
	case unix.S_IFREG:
	default:
		return false
	}
	fd, err := fs.reopen(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		return false
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	return err == nil
}

// remoteTypes are the file systems on which another machine may be at work; see statfs(2).
// FUSE is one: nobody tells what is behind it.
var remoteTypes = []int64{
	unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC,
	unix.AFS_SUPER_MAGIC, unix.V9FS_MAGIC, unix.OCFS2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
	0x01161970, // GFS2_MAGIC
	0x0BD00BD0, // LL_SUPER_MAGIC: Lustre
}

func isRemote(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && slices.Contains(remoteTypes, int64(uint32(st.Type)))
}
