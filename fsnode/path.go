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
	n, err := fs.inodes.borrow(dir)
	if err != nil {
		return "", err
	}
	defer fs.inodes.giveBack(n)
	if n.id == fuse.FUSE_ROOT_ID {
		return ".", nil
	}
	root, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fs.Root.Fd()))
	if err != nil {
		return "", err
	}
	path, err := os.Readlink("/proc/self/fd/" + n.link())
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
func (fs *FS) pathOfKey(k lockmgr.Key) string { return fs.prefixOf(k.Dir) + k.Name }

// prefixOf is what comes before the names in a directory.
func (fs *FS) prefixOf(id lockmgr.InodeID) string {
	dir, err := fs.dirPath(id)
	switch {
	case err != nil:
		return fmt.Sprintf("(directory %d)/", id.Ino)
	case dir == ".":
		return ""
	}
	return dir + "/"
}

// PathOf is a lock's path relative to the mount, for people. It may be called with a
// turn taken.
func (fs *FS) PathOf(k lockmgr.Key) string { return fs.pathOfKey(k) }
