package fsnode

import (
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
	dir := fs.inodes.borrow(k.Dir)
	if dir == nil {
		return lockmgr.Content{}, lockmgr.ErrGone
	}
	defer fs.inodes.unpin(k.Dir)
	fd, st, err := statChild(dir, k.Name)
	if err == unix.ENOENT {
		return lockmgr.Content{}, lockmgr.ErrGone
	}
	if err != nil {
		return lockmgr.Content{}, err
	}
	defer unix.Close(fd)
	if realID(st) != want {
		return lockmgr.Content{}, lockmgr.ErrGone
	}
	return fs.contentOf(fd, st)
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
		return lockmgr.Content{Kind: lockmgr.KindDir, Full: true}, nil
	}
	return lockmgr.Content{Kind: lockmgr.KindOther}, nil
}

// Remove takes a lock out of the real directory. Between the look and the removal only
// somebody past the mount can put another inode there; through the mount it is our turn.
func (fs *FS) Remove(k lockmgr.Key, want lockmgr.InodeID) error {
	dir := fs.inodes.borrow(k.Dir)
	if dir == nil {
		return lockmgr.ErrGone
	}
	defer fs.inodes.unpin(k.Dir)
	if childID(dir, k.Name) != want {
		return lockmgr.ErrGone
	}
	err := unix.Unlinkat(dir.fd, k.Name, 0)
	if err == unix.ENOENT {
		return lockmgr.ErrGone
	}
	return err
}

// Attributes tells who owns an untracked lock and when it was last changed, in content
// or otherwise. ErrGone as in Content.
func (fs *FS) Attributes(k lockmgr.Key, want lockmgr.InodeID) (uid uint32, changed time.Time, err error) {
	dir := fs.inodes.borrow(k.Dir)
	if dir == nil {
		return 0, changed, lockmgr.ErrGone
	}
	defer fs.inodes.unpin(k.Dir)
	var st unix.Stat_t
	if err := unix.Fstatat(dir.fd, k.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, changed, err
	}
	if realID(&st) != want {
		return 0, changed, lockmgr.ErrGone
	}
	changed = time.Unix(st.Mtim.Unix())
	if ctime := time.Unix(st.Ctim.Unix()); ctime.After(changed) {
		changed = ctime
	}
	return st.Uid, changed, nil
}
