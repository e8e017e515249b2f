package fsnode

import (
	"errors"
	"os"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Survey takes notice of every entry with a lock's name that was there before the
// mount. It may take long in a large tree and runs beside the serving.
func (fs *FS) Survey() {
	started := time.Now()
	fd, err := fs.reopen(int(fs.Root.Fd()), unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		err = fs.surveyDir(fd, func(dir *inode, name string) {
			if !fs.isGitLock(dir, name) {
				fs.meet(dir, name)
			}
		})
	}
	if err != nil {
		fs.Log.Warn().Err(err).Msg("not every lock from before the mount could be looked at")
	}
	fs.Log.Debug().Dur("took", time.Since(started)).Msg("looked for locks from before the mount")
}

// surveyDir visits what has a lock's name in a directory and below, on the same file system. It takes fd over.
func (fs *FS) surveyDir(fd int, visit func(dir *inode, name string)) error {
	n, err := fs.pinDir(fd)
	if err != nil {
		return err
	}
	defer fs.inodes.unpin(n.real)
	list, err := fs.open(n, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(list), "directory")
	entries, err := dir.ReadDir(-1)
	dir.Close()
	if errors.Is(err, unix.ENOENT) { // it was removed meanwhile
		err = nil
	}
	for _, e := range entries {
		if n.id == fuse.FUSE_ROOT_ID && e.Name() == ControlDir {
			continue
		}
		if fs.Locks.Policy().IsLock(e.Name()) {
			visit(n, e.Name())
		}
		if e.IsDir() {
			err = errors.Join(err, fs.surveyChild(n, e.Name(), visit))
		}
	}
	return err
}

func (fs *FS) surveyChild(dir *inode, name string, visit func(dir *inode, name string)) error {
	fd, st, err := statChild(dir, name)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || uint64(st.Dev) != dir.real.Dev {
		unix.Close(fd)
		return nil
	}
	return fs.surveyDir(fd, visit)
}
