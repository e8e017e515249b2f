package fsnode

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// A lock may be a directory, and what is in it is its owner's alone (lockmgr/inside.go).

// put asks whether the caller may make or write something in a directory.
func (fs *FS) put(dir *inode, c *caller) fuse.Status {
	return fs.inside(fs.lockDirs(dir), c, fs.Locks.Put)
}

// take asks whether the caller may take something out of a directory.
func (fs *FS) take(dir *inode, c *caller) fuse.Status {
	return fs.inside(fs.lockDirs(dir), c, fs.Locks.Take)
}

// putInto asks whether the caller may alter something in the place where it is.
func (fs *FS) putInto(n *inode, c *caller) fuse.Status {
	return fs.inside(fs.lockDirsAbove(n), c, fs.Locks.Put)
}

func (fs *FS) inside(dirs []lockmgr.InodeID, c *caller, ask func(lockmgr.InodeID, lockmgr.Identity) lockmgr.Outcome) fuse.Status {
	for _, dir := range dirs {
		if o := ask(dir, c.who()); o.Refused() {
			return refusal(o)
		}
	}
	return fuse.OK
}

// lockDirs gives the directories with a lock's name that a directory is, or is in.
func (fs *FS) lockDirs(dir *inode) []lockmgr.InodeID {
	if !fs.Locks.TracksDirectories() {
		return nil
	}
	rel, err := fs.dirPath(dir.real)
	if err != nil {
		return nil // it is gone: nothing can be made in it
	}
	return fs.lockDirsOn(rel)
}

// lockDirsAbove is lockDirs for the directory that an inode is in, by the path that it was
// last opened by.
func (fs *FS) lockDirsAbove(n *inode) []lockmgr.InodeID {
	if !fs.Locks.TracksDirectories() {
		return nil
	}
	rel, err := fs.dirPath(n.real)
	if err != nil {
		return nil
	}
	return fs.lockDirsOn(path.Dir(rel))
}

// lockDirsOn looks at each directory on a path relative to the root.
func (fs *FS) lockDirsOn(rel string) (dirs []lockmgr.InodeID) {
	parts := strings.Split(rel, "/")
	for i, name := range parts {
		if !fs.Locks.Policy().IsLock(name) {
			continue
		}
		if id, err := fs.inodeAt(strings.Join(parts[:i+1], "/")); err == nil {
			dirs = append(dirs, id)
		}
	}
	return dirs
}

// inodeAt is the inode of a directory, by its path relative to the root.
func (fs *FS) inodeAt(rel string) (lockmgr.InodeID, error) {
	fd, err := fs.openDirAt(rel)
	if err != nil {
		return lockmgr.InodeID{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return fs.inodes.id(&st), err
}

// openDirAt gives an O_PATH descriptor of a directory, by its path relative to the root.
func (fs *FS) openDirAt(rel string) (int, error) {
	return openBeneath(int(fs.Root.Fd()), rel)
}

// openBeneath gives an O_PATH descriptor of a directory below another one, and follows no link on
// the way: ELOOP where there is one, EXDEV where the way leads out.
func openBeneath(root int, rel string) (int, error) {
	return unix.Openat2(root, rel, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
}

// filesIn reads what is in a directory, as far as it could be a lock: it is full if it holds
// anything but few and small files. No link is followed.
func (fs *FS) filesIn(dir int) (lockmgr.Content, error) {
	content := lockmgr.Content{Kind: lockmgr.KindDir}
	names, err := fs.namesIn(dir, lockmgr.MaxFiles+1)
	if err != nil {
		return content, err
	}
	if len(names) > lockmgr.MaxFiles {
		content.Full = true
		return content, nil
	}
	room := lockmgr.MaxPayload
	for _, name := range names {
		file, err := fs.fileIn(dir, name)
		if err != nil {
			return content, err
		}
		if room -= len(file.Data); file.Kind != lockmgr.KindFile || room < 0 {
			return lockmgr.Content{Kind: lockmgr.KindDir, Full: true}, nil
		}
		content.Files = append(content.Files, file)
	}
	return content, nil
}

func (fs *FS) fileIn(dir int, name string) (lockmgr.Content, error) {
	fd, st, err := statAt(dir, name)
	if err != nil {
		return lockmgr.Content{}, err
	}
	defer unix.Close(fd)
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return lockmgr.Content{Kind: lockmgr.KindOther}, nil
	}
	file, err := fs.contentOf(fd, st)
	file.Name, file.Inode = name, fs.inodes.id(st)
	return file, err
}

// namesIn lists at most so many names.
func (fs *FS) namesIn(path, most int) ([]string, error) {
	fd, err := fs.reopen(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "directory")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names[:min(len(names), most)], err
}

// Empty takes the files out of a lock directory, if they are what they were. ErrChanged if
// it holds anything else, and then as much as it can tell is as it was.
func (fs *FS) Empty(k lockmgr.Key, want lockmgr.InodeID, files []lockmgr.Content) error {
	e, err := fs.borrowEntry(k, want)
	if err != nil {
		return err
	}
	defer fs.giveEntryBack(e)
	now, err := fs.filesIn(e.n.fd)
	if err != nil {
		return err
	}
	if now.Full || !slices.EqualFunc(now.Files, files, sameFile) {
		return lockmgr.ErrChanged
	}
	for _, file := range files {
		if err := unix.Unlinkat(e.n.fd, file.Name, 0); err != nil && err != unix.ENOENT {
			return err
		}
	}
	return nil
}

func sameFile(a, b lockmgr.Content) bool {
	return a.Name == b.Name && a.Inode == b.Inode && string(a.Data) == string(b.Data)
}
