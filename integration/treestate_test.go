package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// firstTree makes what a program finds: what belongs to each user, with each kind of directory that has rules of its own.
func firstTree(dir string) error {
	step := func(errs ...error) error { return errors.Join(errs...) }
	own := func(name string, mode uint32, uid, gid int) error {
		return step(unix.Lchown(dir+"/"+name, uid, gid), unix.Chmod(dir+"/"+name, mode))
	}
	made := func(name string, mode uint32, uid, gid int) error {
		return step(unix.Mkdir(dir+"/"+name, 0o700), own(name, mode, uid, gid))
	}
	written := func(name, text string, mode uint32, uid, gid int) error {
		return step(os.WriteFile(dir+"/"+name, []byte(text), 0o600), own(name, mode, uid, gid))
	}
	marked := func(name, attr string) error { return unix.Setxattr(dir+"/"+name, attr, []byte("first"), 0) }
	return step(
		unix.Mkdir(dir, 0o700), own(".", 0o777, 0, 0),
		made("a", 0o777, 1001, 1001),
		made("b", 0o2775, 1001, sharedGroup), // what is made in it is the group's
		made("c", 0o1777, 0, 0),              // only its owner removes from it
		made("d", 0o755, 1002, 1002),
		written("e", "the member's", 0o664, 1001, sharedGroup),
		written("f", "of everybody, with rights", 0o6777, 1002, sharedGroup),
		unix.Symlink("a", dir+"/g"),
		made("a/b", 0o777, 1002, sharedGroup),
		written("a/a", strings.Repeat("long ", 3000), 0o666, 1001, 1001),
		written("a/b/a", strings.Repeat("of all ", 1000), 0o777, 0, 0),
		unix.Mkfifo(dir+"/a/c", 0o666),
		written("b/a", "the group's", 0o2660, 0, sharedGroup),
		unix.Symlink("../a/b", dir+"/b/b"),
		written("b/c", "only root's", 0o600, 0, 0),
		written("c/a", "the stranger's", 0o644, 1002, 1002),
		made("c/b", 0o3777, 1002, 1002),
		written("d/a", strings.Repeat("deep ", 5000), 0o4755, 1002, 1002),
		unix.Link(dir+"/d/a", dir+"/d/b"),
		marked("a", "user.a"), marked("e", "user.a"), marked("f", "user.b"), marked("a/a", "user.a"), marked("d/a", "user.b"),
		marked("b", "trusted.t"), marked("f", "security.s"), marked("c/a", "user.a"), marked("a/b", "user.b"),
	)
}

// treeState tells all of a tree, one line for each entry, in the order of the names.
func treeState(root string) []string {
	s := survey{root: root, links: map[uint64]string{}}
	filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			s.lines = append(s.lines, fmt.Sprintf("%s: %v", s.name(path), errors.Unwrap(err)))
			return nil
		}
		s.entry(path)
		return nil
	})
	return s.lines
}

type survey struct {
	root  string
	links map[uint64]string // the first name of each inode
	lines []string
}

func (s *survey) name(path string) string {
	return fmt.Sprintf("%q", strings.ReplaceAll("."+strings.TrimPrefix(path, s.root), strings.Repeat("n", unix.NAME_MAX), "n…"))
}

func (s *survey) entry(path string) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		s.lines = append(s.lines, s.name(path)+": "+errnoName(err))
		return
	}
	line := s.name(path) + " " + statText(&st)
	if first, known := s.links[st.Ino]; known {
		s.lines = append(s.lines, line+" same as "+first)
		return
	}
	s.links[st.Ino] = s.name(path)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		line += contentText(path)
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		line += fmt.Sprintf(" -> %s %v", brief([]byte(target)), err)
	}
	s.lines = append(s.lines, line)
	s.lines = append(s.lines, fmt.Sprintf("%s has%s", s.name(path), xattrsText(path)))
}

// dataMark is before what a line says of data and holes.
const dataMark = " data"

// contentText tells what is in a file beside zeros, block by block, and where its data is.
func contentText(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if err != nil {
		return errnoName(err)
	}
	defer unix.Close(fd)
	var content, data strings.Builder
	for at := int64(0); ; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return content.String() + dataMark + data.String()
		}
		if err != nil {
			return errnoName(err)
		}
		if at, err = unix.Seek(fd, start, unix.SEEK_HOLE); err != nil {
			return errnoName(err)
		}
		fmt.Fprintf(&data, " [%d,%d)", start, at)
		if err := blocksText(fd, start, at, &content); err != nil {
			return content.String() + errnoName(err)
		}
	}
}

// blocksText tells the blocks that hold something else than zeros.
func blocksText(fd int, start, end int64, text *strings.Builder) error {
	const size = 4096
	block := make([]byte, size)
	for at := start; at < end; at += size {
		n, err := unix.Pread(fd, block[:min(size, end-at)], at)
		if err != nil {
			return err
		}
		if strings.Trim(string(block[:n]), "\x00") != "" {
			fmt.Fprintf(text, " %d: %s", at, brief(block[:n]))
		}
	}
	return nil
}

func xattrsText(path string) string {
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return " xattrs " + errnoName(err)
	}
	text := ""
	for _, name := range xattrNames(list[:n]) {
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		text += fmt.Sprintf(" %s=%s", abbreviated(name), brief(value[:max(n, 0)]))
		if err != nil {
			text += errnoName(err)
		}
	}
	return text
}
