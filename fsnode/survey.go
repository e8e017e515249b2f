package fsnode

import (
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Survey takes notice of every entry with a lock's name that was there before the
// mount. It may take long in a large tree and runs beside the serving.
func (fs *FS) Survey() {
	started := time.Now()
	err := fs.survey(func(dir *inode, locks []string, _ map[string]bool) {
		for _, name := range locks {
			if !fs.isGitLock(dir, name) {
				fs.meet(dir, name)
			}
		}
	})
	if err != nil {
		fs.Log.Warn().Err(err).Msg("not every lock from before the mount could be looked at")
	}
	fs.Log.Debug().Dur("took", time.Since(started)).Msg("looked for locks from before the mount")
}

// visitor is told of a directory that has entries with locks' names, and of its other entries.
type visitor func(dir *inode, locks []string, others map[string]bool)

// survey visits such directories in the whole tree, on the same file system, several at once.
func (fs *FS) survey(visit visitor) error {
	root, err := fs.reopen(int(fs.Root.Fd()), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	s := &surveyor{fs: fs, visit: visit}
	s.others.SetLimit(runtime.NumCPU())
	err = s.dir(root)
	return errors.Join(err, s.others.Wait())
}

type surveyor struct {
	fs     *FS
	visit  visitor
	others errgroup.Group
}

// dir visits a directory and what is below. It takes fd over.
func (s *surveyor) dir(fd int) error {
	n, err := s.fs.keepDir(fd)
	if err != nil {
		return err
	}
	defer s.fs.inodes.giveBack(n)
	list, err := s.fs.open(n, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(list), "directory")
	entries, err := dir.ReadDir(-1)
	dir.Close()
	if errors.Is(err, unix.ENOENT) { // it was removed meanwhile
		err = nil
	}
	policy, locks, rest := s.fs.Locks.Policy(), []string(nil), map[string]bool{}
	for _, e := range entries {
		if n.id == fuse.FUSE_ROOT_ID && e.Name() == ControlDir {
			continue
		}
		if policy.IsLock(e.Name()) {
			locks = append(locks, e.Name())
		} else {
			rest[e.Name()] = true
		}
		if e.IsDir() {
			err = errors.Join(err, s.below(n, e.Name()))
		}
	}
	if len(locks) > 0 {
		s.visit(n, locks, rest)
	}
	return err
}

// below leaves a directory to another goroutine, if there may be one more.
func (s *surveyor) below(dir *inode, name string) error {
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
	if s.others.TryGo(func() error { return s.dir(fd) }) {
		return nil
	}
	return s.dir(fd)
}
