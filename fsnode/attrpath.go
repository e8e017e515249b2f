package fsnode

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// attrPath is a path to an inode for the calls on extended attributes, which take no O_PATH
// descriptor. It follows no link of the tree.
type attrPath struct {
	path string
	dir  int // descriptor of a symbolic link's directory; -1 for what is no symbolic link
}

// procPath leads to the inode of the descriptor, as long as it is no symbolic link.
func (n *inode) procPath() string { return "/proc/self/fd/" + n.link() }

// attrPath gives the path to an inode. The caller must close it. A symbolic link can be had by its name only: the
// kernel tells under which name its descriptor is known now, and that is looked up again below
// the real directory. A link that has lost that name is unix.EOPNOTSUPP.
func (fs *FS) attrPath(n *inode) (*attrPath, error) {
	if !n.isSymlink() {
		return &attrPath{path: n.procPath(), dir: -1}, nil
	}
	place, err := fs.placeOf(n)
	if err != nil {
		return nil, unix.EOPNOTSUPP
	}
	parent, name := path.Split(place)
	dir, err := fs.openDirAt("./" + parent)
	if err != nil {
		return nil, unix.EOPNOTSUPP
	}
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || fs.inodes.id(&st) != n.real {
		unix.Close(dir)
		return nil, unix.EOPNOTSUPP
	}
	return &attrPath{path: fmt.Sprintf("/proc/self/fd/%d/%s", dir, name), dir: dir}, nil
}

// placeOf gives the path of an inode relative to the real directory, as the kernel knows it.
func (fs *FS) placeOf(n *inode) (string, error) {
	root, err := fs.kernelPath(fmt.Sprint(fs.Root.Fd()))
	if err != nil {
		return "", err
	}
	whole, err := fs.kernelPath(n.link())
	if err != nil {
		return "", err
	}
	place, ok := strings.CutPrefix(whole, strings.TrimSuffix(root, "/")+"/")
	if !ok {
		return "", unix.ENOENT
	}
	return place, nil
}

func (fs *FS) kernelPath(fd string) (string, error) {
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(fs.proc, fd, buf)
	return string(buf[:max(size, 0)]), err
}

func (p *attrPath) close() {
	if p.dir >= 0 {
		unix.Close(p.dir)
	}
}

func (p *attrPath) get(attr string, dest []byte) (int, error) {
	if p.dir >= 0 {
		return unix.Lgetxattr(p.path, attr, dest)
	}
	return unix.Getxattr(p.path, attr, dest)
}

func (p *attrPath) set(attr string, data []byte, flags int) error {
	if p.dir >= 0 {
		return unix.Lsetxattr(p.path, attr, data, flags)
	}
	return unix.Setxattr(p.path, attr, data, flags)
}

func (p *attrPath) remove(attr string) error {
	if p.dir >= 0 {
		return unix.Lremovexattr(p.path, attr)
	}
	return unix.Removexattr(p.path, attr)
}

// list gives all names. There may be more of them by the time we have made room.
func (p *attrPath) list() ([]byte, error) {
	read := unix.Listxattr
	if p.dir >= 0 {
		read = unix.Llistxattr
	}
	for {
		size, err := read(p.path, nil)
		if err != nil || size == 0 {
			return nil, err
		}
		names := make([]byte, size)
		if size, err = read(p.path, names); err != unix.ERANGE {
			return names[:max(size, 0)], err
		}
	}
}
