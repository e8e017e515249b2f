package fsnode

import (
	"fmt"
	"os"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

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

// DirOf is what comes before the names in a directory, as PathOf has it. there is false if the directory is gone: then its path is what
// people can't use, or that of another one.
func (fs *FS) DirOf(id lockmgr.InodeID) (prefix string, there bool) {
	n, err := fs.inodes.borrow(id)
	if err != nil {
		return fs.prefixOf(id), false
	}
	defer fs.inodes.giveBack(n)
	prefix = fs.prefixOf(id)
	if !strings.HasSuffix(prefix, deleted+"/") {
		return prefix, true
	}
	var st unix.Stat_t
	return prefix, unix.Fstat(n.fd, &st) == nil && st.Nlink > 0
}

// deleted is what the kernel puts behind the path of what has no name any more (d_path).
const deleted = " (deleted)"

// PathOf is a lock's path relative to the mount, for people. It may be called with a
// turn taken.
func (fs *FS) PathOf(k lockmgr.Key) string { return fs.pathOfKey(k) }
