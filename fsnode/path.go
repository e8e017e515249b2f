package fsnode

import (
	"fmt"
	"os"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sessionlockfs/lockmgr"
)

// dirPath is where a directory is now, relative to the real root; "." for the root.
func (fs *FS) dirPath(dir lockmgr.InodeID) (string, error) {
	n := fs.inodes.borrow(dir)
	if n == nil {
		return "", lockmgr.ErrGone
	}
	defer fs.inodes.unpin(dir)
	if n.id == fuse.FUSE_ROOT_ID {
		return ".", nil
	}
	root, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fs.Root.Fd()))
	if err != nil {
		return "", err
	}
	path, err := os.Readlink("/proc/self/fd/" + n.link)
	if err != nil {
		return "", err
	}
	rel, inside := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	if !inside {
		return "", fmt.Errorf("%s has left the tree", path)
	}
	return rel, nil
}

// pathOfKey is a lock's path relative to the mount, for people.
func (fs *FS) pathOfKey(k lockmgr.Key) string {
	dir, err := fs.dirPath(k.Dir)
	switch {
	case err != nil:
		return fmt.Sprintf("(directory %d)/%s", k.Dir.Ino, k.Name)
	case dir == ".":
		return k.Name
	}
	return dir + "/" + k.Name
}

// PathOf is a lock's path relative to the mount, for people. It may be called with a
// turn taken.
func (fs *FS) PathOf(k lockmgr.Key) string { return fs.pathOfKey(k) }
