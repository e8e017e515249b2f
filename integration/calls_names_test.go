package integration

import (
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// nameCalls make, move, remove and list directory entries.
func nameCalls() []kind {
	return []kind{
		{"mkdir", 7, onePath, callMkdir},
		{"rmdir", 4, onePath, func(o operation) call {
			return plain(fmt.Sprintf("%q", o.path), func(c *caller) error {
				return unix.Unlinkat(c.dir(o), o.path, unix.AT_REMOVEDIR)
			})
		}},
		{"mknod", 4, onePath, callMknod},
		{"symlink", 5, onePath, callSymlink},
		{"readlink", 2, onePath, callReadlink},
		{"link", 8, twoPaths, callLink},
		{"linkfd", 4, onePath, callLinkDescriptor},
		{"unlink", 7, onePath, func(o operation) call {
			return plain(fmt.Sprintf("%q", o.path), func(c *caller) error { return unix.Unlinkat(c.dir(o), o.path, 0) })
		}},
		{"rename", 14, twoPaths, callRename},
		{"list", 3, nothing, callList},
		{"getdents", 3, nothing, callGetdents},
		{"seekdir", 1, nothing, callSeekDirectory},
	}
}

func callMkdir(o operation) call {
	return plain(fmt.Sprintf("%q, %04o", o.path, o.mode), func(c *caller) error {
		return unix.Mkdirat(c.dir(o), o.path, o.mode)
	})
}

// callMknod makes no device that could be harmful: the null device, a whiteout, and one for local use (devices.txt).
func callMknod(o operation) call {
	node := one(o.pick, struct {
		kind         uint32
		major, minor uint32
	}{unix.S_IFIFO, 0, 0}, struct{ kind, major, minor uint32 }{unix.S_IFREG, 0, 0},
		struct{ kind, major, minor uint32 }{unix.S_IFSOCK, 0, 0}, struct{ kind, major, minor uint32 }{unix.S_IFCHR, 1, 3},
		struct{ kind, major, minor uint32 }{unix.S_IFCHR, 0, 0}, struct{ kind, major, minor uint32 }{unix.S_IFBLK, 60, 1},
		struct{ kind, major, minor uint32 }{0, 0, 0}, struct{ kind, major, minor uint32 }{unix.S_IFIFO, 0, 0})
	text := fmt.Sprintf("%q, %#o, %d:%d", o.path, node.kind|o.mode, node.major, node.minor)
	return plain(text, func(c *caller) error {
		return unix.Mknodat(c.dir(o), o.path, node.kind|o.mode, int(unix.Mkdev(node.major, node.minor)))
	})
}

func callSymlink(o operation) call {
	target := o.path2
	if o.pick == 0 {
		target = strings.Repeat("t", unix.PathMax-1)
	}
	return plain(fmt.Sprintf("%.40q, %q", target, o.path), func(c *caller) error {
		return unix.Symlinkat(target, c.dir(o), o.path)
	})
}

func callReadlink(o operation) call {
	return call{fmt.Sprintf("%q", o.path), func(c *caller) (string, error) {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(c.dir(o), o.path, buf)
		return brief(buf[:max(n, 0)]), err
	}}
}

func callLink(o operation) call {
	flags := one(o.pick, 0, 0, 0, unix.AT_SYMLINK_FOLLOW)
	return plain(fmt.Sprintf("%q, %q, %#x", o.path, o.path2, flags), func(c *caller) error {
		return unix.Linkat(c.dir(o), o.path, c.dir(o), o.path2, flags)
	})
}

// callLinkDescriptor gives an open file a name, which is how one made with O_TMPFILE gets its first.
func callLinkDescriptor(o operation) call {
	return plain(fmt.Sprintf("fd%d, %q", o.slot, o.path), func(c *caller) error {
		return unix.Linkat(c.fd(o.slot), "", c.dir(o), o.path, unix.AT_EMPTY_PATH)
	})
}

func (o operation) renameFlags() uint {
	return one(o.pick, 0, 0, 0, 0, uint(unix.RENAME_NOREPLACE), unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE,
		unix.RENAME_EXCHANGE, unix.RENAME_WHITEOUT, unix.RENAME_WHITEOUT|unix.RENAME_NOREPLACE,
		unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE, 1<<7)
}

func callRename(o operation) call {
	flags := o.renameFlags()
	return plain(fmt.Sprintf("%q, %q, %d", o.path, o.path2, flags), func(c *caller) error {
		return unix.Renameat2(c.dir(o), o.path, c.dir(o), o.path2, flags)
	})
}

func callList(o operation) call {
	return call{fmt.Sprintf("%q", o.path), func(c *caller) (string, error) {
		fd, err := unix.Openat(c.dir(o), o.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		entries, err := listOpen(fd)
		return entriesText(entries), err
	}}
}

// callGetdents lists an open directory from the start, which may have been removed.
func callGetdents(o operation) call {
	return call{fmt.Sprintf("fd%d", o.slot), func(c *caller) (string, error) {
		if _, err := unix.Seek(c.fd(o.slot), 0, unix.SEEK_SET); err != nil {
			return "", err
		}
		entries, err := listOpen(c.fd(o.slot))
		return entriesText(entries), err
	}}
}

// callSeekDirectory takes a directory up again where one of its entries ends, and counts what comes after it.
func callSeekDirectory(o operation) call {
	return call{fmt.Sprintf("fd%d, %d", o.slot, o.pick), func(c *caller) (string, error) {
		if _, err := unix.Seek(c.fd(o.slot), 0, unix.SEEK_SET); err != nil {
			return "", err
		}
		entries, err := listOpen(c.fd(o.slot))
		if err != nil || len(entries) == 0 {
			return "", err
		}
		if _, err := unix.Seek(c.fd(o.slot), one(o.pick, entries...).next, unix.SEEK_SET); err != nil {
			return "", err
		}
		rest, err := listOpen(c.fd(o.slot))
		return fmt.Sprint(len(rest)), err
	}}
}

// listedName is one of struct linux_dirent64.
type listedName struct {
	name string
	kind byte
	ino  uint64
	next int64 // where the directory goes on after it
}

func listOpen(fd int) ([]listedName, error) {
	var entries []listedName
	buf := make([]byte, 8192)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n == 0 {
			return entries, err
		}
		for rest := buf[:n]; len(rest) > 0; {
			e, size := parseEntry(rest)
			entries, rest = append(entries, e), rest[size:]
		}
	}
}

// entriesText leaves out what depends on the order in which a directory is stored.
func entriesText(entries []listedName) string {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, fmt.Sprintf("%q:%d", abbreviated(e.name), e.kind))
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}
