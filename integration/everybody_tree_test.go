package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree is what can be seen of the entries of a directory, by path.
type tree map[string]entry

type entry struct {
	state        fileState
	target       string
	rdev         uint64
	flags        int
	ino          uint64
	born         unix.StatxTimestamp
	mtime, ctime unix.StatxTimestamp
	changes      string
}

// lookThrough describes a tree underneath.
func lookThrough(t testing.TB, root string) tree {
	t.Helper()
	found := tree{}
	err := filepath.WalkDir(root+"/", func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		found[name], err = describe(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func describe(path string) (e entry, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return e, err
	}
	e = entry{rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor), ino: st.Ino, born: st.Btime, mtime: st.Mtime, ctime: st.Ctime}
	e.state = fileState{nlink: uint64(st.Nlink), mode: uint32(st.Mode), uid: st.Uid, gid: st.Gid, xattrs: allXattrs(path)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		content, err := os.ReadFile(path)
		if err != nil {
			return e, err
		}
		e.state.size, e.state.bytes = int64(st.Size), string(content)
		e.flags, _ = getFlags(path)
	case unix.S_IFDIR:
		e.flags, _ = getFlags(path)
	case unix.S_IFLNK:
		e.target, _ = os.Readlink(path)
	}
	return e, nil
}

// allXattrs are the names and values, those of root too.
func allXattrs(path string) string {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return ""
	}
	names := strings.Split(strings.Trim(string(list[:n]), "\x00"), "\x00")
	sort.Strings(names)
	for i, name := range names {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			names[i] += fmt.Sprintf("=%q", value[:n])
		}
	}
	return strings.Join(names, " ")
}

// since replaces what differs between two trees, numbers and times, by whether an inode is new and its times changed.
func (now tree) since(before tree) tree {
	type identity struct {
		ino  uint64
		born unix.StatxTimestamp
	}
	known := map[identity]entry{}
	for _, e := range before {
		known[identity{e.ino, e.born}] = e
	}
	for name, e := range now {
		e.changes = "new"
		if old, ok := known[identity{e.ino, e.born}]; ok {
			e.changes = fmt.Sprintf("mtime changed: %v, ctime changed: %v", e.mtime != old.mtime, e.ctime != old.ctime)
		}
		e.ino, e.born, e.mtime, e.ctime = 0, unix.StatxTimestamp{}, unix.StatxTimestamp{}, unix.StatxTimestamp{}
		now[name] = e
	}
	return now
}

// byAct takes a tree apart into what is in the directory of each act.
func (now tree) byAct() map[string]tree {
	parts := map[string]tree{}
	for name, e := range now {
		dir, _, _ := strings.Cut(name, "/")
		if parts[dir] == nil {
			parts[dir] = tree{}
		}
		parts[dir][name] = e
	}
	return parts
}

func (now tree) differ(want tree) (lines string) {
	for name, e := range now {
		if w, ok := want[name]; !ok {
			lines += fmt.Sprintf("\t%s: %+v, want nothing\n", name, e)
		} else if e != w {
			lines += fmt.Sprintf("\t%s: %+v,\n\twant %+v\n", name, e, w)
		}
	}
	for name, w := range want {
		if _, ok := now[name]; !ok {
			lines += fmt.Sprintf("\t%s: nothing, want %+v\n", name, w)
		}
	}
	return lines
}
