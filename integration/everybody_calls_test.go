package integration

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// perform makes one call in a directory and says what came of it.
func perform(dir string, words []string) string {
	call, arguments := words[0], words[1:]
	var paths []string
	for _, word := range arguments {
		paths = append(paths, dir+"/"+expand(word)) // as it is: dots and slashes at the end count
	}
	if do, ok := pathCalls[call]; ok {
		return said(do(arguments, paths))
	}
	if do, ok := handleCalls[call]; ok {
		return do(arguments, paths)
	}
	return "unknown call " + call
}

// sight tells how the caller sees at once what a call was about: of what a call changes nothing old may be in a cache.
func sight(dir string, words []string) (text string) {
	for i, word := range words[1:min(3, len(words))] {
		var st unix.Stat_t
		if err := unix.Lstat(dir+"/"+expand(word), &st); err != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			st.Size = 0
		}
		text += fmt.Sprintf(" [%d: %o %d:%d %d %d %x]", i, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Rdev)
	}
	return text
}

func said(text string, err error) string {
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case err != nil:
		return err.Error()
	case text == "":
		return "ok"
	}
	return text
}

func silent(err error) (string, error) { return "", err }

// pathCalls are those that need no handle. They get the words, and each as a path.
var pathCalls = map[string]func(words, paths []string) (string, error){
	"umask":   func(w, _ []string) (string, error) { unix.Umask(int(octal(w[0]))); return "", nil },
	"mkdir":   func(w, p []string) (string, error) { return silent(unix.Mkdir(p[0], octal(w[1]))) },
	"rmdir":   func(w, p []string) (string, error) { return silent(unix.Rmdir(p[0])) },
	"unlink":  func(w, p []string) (string, error) { return silent(unix.Unlink(p[0])) },
	"link":    func(w, p []string) (string, error) { return silent(unix.Link(p[0], p[1])) },
	"symlink": func(w, p []string) (string, error) { return silent(unix.Symlink(expand(w[0]), p[1])) },
	"mknod": func(w, p []string) (string, error) {
		return silent(unix.Mknod(p[0], nodeType[w[1]]|octal(w[2]), int(unix.Mkdev(0, octal(w[3])))))
	},
	"rename": func(w, p []string) (string, error) { return silent(unix.Rename(p[0], p[1])) },
	"rename2": func(w, p []string) (string, error) {
		return silent(unix.Renameat2(unix.AT_FDCWD, p[0], unix.AT_FDCWD, p[1], renameFlag[w[2]]))
	},
	"chmod": func(w, p []string) (string, error) { return silent(unix.Chmod(p[0], octal(w[1]))) },
	"lchmod": func(w, p []string) (string, error) {
		return silent(unix.Fchmodat(unix.AT_FDCWD, p[0], octal(w[1]), unix.AT_SYMLINK_NOFOLLOW))
	},
	"chown":    func(w, p []string) (string, error) { return silent(chownTo(unix.Chown, p[0], w[1])) },
	"lchown":   func(w, p []string) (string, error) { return silent(chownTo(unix.Lchown, p[0], w[1])) },
	"truncate": func(w, p []string) (string, error) { return silent(unix.Truncate(p[0], int64(octal(w[1])))) },
	"utimes":   func(w, p []string) (string, error) { return silent(utimes(p[0], w[1], w[2])) },
	"access":   func(w, p []string) (string, error) { return silent(unix.Access(p[0], octal(w[1]))) },
	"chdir":    func(w, p []string) (string, error) { return silent(firstError(unix.Chdir(p[0]), unix.Chdir("/"))) },
	"readlink": func(w, p []string) (string, error) {
		buf := make([]byte, 5000)
		n, err := unix.Readlink(p[0], buf)
		return string(buf[:max(n, 0)]), err
	},
	"stat": func(w, p []string) (string, error) {
		var st unix.Stat_t
		err := unix.Stat(p[0], &st)
		return fmt.Sprintf("%o %d:%d %d", st.Mode, st.Uid, st.Gid, st.Nlink), err
	},
	"ls": func(w, p []string) (string, error) {
		entries, err := os.ReadDir(p[0])
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, ","), err
	},
	"getx": func(w, p []string) (string, error) {
		value := make([]byte, 1000)
		n, err := unix.Lgetxattr(p[0], w[1], value)
		return fmt.Sprintf("%q", value[:max(n, 0)]), err
	},
	"setx": func(w, p []string) (string, error) {
		flag := 0
		if len(w) > 2 {
			flag = map[string]int{"create": unix.XATTR_CREATE, "replace": unix.XATTR_REPLACE}[w[2]]
		}
		return silent(unix.Lsetxattr(p[0], w[1], []byte("new"), flag))
	},
	"rmx": func(w, p []string) (string, error) { return silent(unix.Lremovexattr(p[0], w[1])) },
	"lsx": func(w, p []string) (string, error) {
		list := make([]byte, 1000)
		n, err := unix.Llistxattr(p[0], list)
		size, sizeErr := unix.Llistxattr(p[0], nil)
		names := strings.Split(string(list[:max(n, 0)]), "\x00")
		sort.Strings(names)
		return fmt.Sprint(names, size, sizeErr), err
	},
	"setacl": func(w, p []string) (string, error) {
		return silent(unix.Setxattr(p[0], aclName["acl"], encodeACL(w[1]), 0))
	},
	"setdacl": func(w, p []string) (string, error) {
		return silent(unix.Setxattr(p[0], aclName["dacl"], encodeACL(w[1]), 0))
	},
	"rmacl":  func(w, p []string) (string, error) { return silent(unix.Removexattr(p[0], aclName["acl"])) },
	"rmdacl": func(w, p []string) (string, error) { return silent(unix.Removexattr(p[0], aclName["dacl"])) },
	"getflags": func(w, p []string) (string, error) {
		flags, err := getFlags(p[0])
		return fmt.Sprintf("%x", flags), err
	},
	"setflags": func(w, p []string) (string, error) { return silent(setFlags(p[0], flagNamed[w[1]])) },
	"getfsx":   func(w, p []string) (string, error) { return getFSX(p[0]) },
}

// handleCalls open something first. What is said tells whether that was what failed.
var handleCalls = map[string]func(words, paths []string) string{
	"open": func(w, p []string) string { return opened(p[0], w[1:], nil) },
	"write": func(w, p []string) string {
		return opened(p[0], w[1:], func(fd int) (string, error) { _, err := unix.Write(fd, []byte("new")); return "", err })
	},
	"read": func(w, p []string) string {
		return opened(p[0], w[1:], func(fd int) (string, error) {
			buf := make([]byte, 64)
			n, err := unix.Read(fd, buf)
			return fmt.Sprintf("%q", buf[:max(n, 0)]), err
		})
	},
	"ftruncate": func(w, p []string) string {
		return opened(p[0], w[1:2], func(fd int) (string, error) { return "", unix.Ftruncate(fd, int64(octal(w[2]))) })
	},
	"fchmod": func(w, p []string) string {
		return opened(p[0], w[1:2], func(fd int) (string, error) { return "", unix.Fchmod(fd, octal(w[2])) })
	},
	"fallocate": func(_, p []string) string {
		return opened(p[0], []string{"w"}, func(fd int) (string, error) { return "", unix.Fallocate(fd, 0, 0, 100) })
	},
	"punch": func(_, p []string) string {
		const how = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		return opened(p[0], []string{"w"}, func(fd int) (string, error) { return "", unix.Fallocate(fd, how, 0, 4) })
	},
	"copy": func(_, p []string) string {
		return opened(p[0], []string{"r"}, func(from int) (string, error) {
			return opened(p[1], []string{"w"}, func(to int) (string, error) {
				_, err := unix.CopyFileRange(from, nil, to, nil, 4, 0)
				return "", err
			}), nil
		})
	},
	"mapped": func(_, p []string) string {
		return opened(p[0], []string{"rw"}, func(fd int) (string, error) { return "", writeMapped(fd) })
	},
	"tmpfile": func(w, p []string) string {
		return opened(p[0], []string{"wT", w[1]}, func(fd int) (string, error) {
			var st unix.Stat_t
			err := unix.Fstat(fd, &st)
			return fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid), err
		})
	},
	"tmplink": func(w, p []string) string {
		return opened(p[0], []string{"wT", w[2]}, func(fd int) (string, error) {
			return "", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, p[1], unix.AT_SYMLINK_FOLLOW)
		})
	},
}

var (
	aclName    = map[string]string{"acl": "system.posix_acl_access", "dacl": "system.posix_acl_default"}
	flagNamed  = map[string]int{"none": 0, "immutable": 0x10, "append": 0x20, "nodump": 0x40, "noatime": 0x80}
	nodeType   = map[string]uint32{"f": unix.S_IFREG, "p": unix.S_IFIFO, "s": unix.S_IFSOCK, "c": unix.S_IFCHR, "b": unix.S_IFBLK, "d": unix.S_IFDIR}
	renameFlag = map[string]uint{"noreplace": unix.RENAME_NOREPLACE, "exchange": unix.RENAME_EXCHANGE,
		"whiteout": unix.RENAME_WHITEOUT, "unknown": 1 << 10}
	openFlag = map[rune]int{'r': unix.O_RDONLY, 'w': unix.O_WRONLY, 'a': unix.O_APPEND, 'c': unix.O_CREAT, 'x': unix.O_EXCL, 't': unix.O_TRUNC,
		'n': unix.O_NOFOLLOW, 'd': unix.O_DIRECTORY, 'N': unix.O_NOATIME, 'T': unix.O_TMPFILE, 'P': unix.O_PATH}
)

// opened opens as the words say and does something with the descriptor.
func opened(path string, words []string, do func(fd int) (string, error)) string {
	flags, mode := unix.O_NONBLOCK|unix.O_CLOEXEC, uint32(0o644)
	if strings.HasPrefix(words[0], "rw") {
		flags, words[0] = flags|unix.O_RDWR, words[0][2:]
	}
	for _, letter := range words[0] {
		flags |= openFlag[letter]
	}
	if len(words) > 1 {
		mode = octal(words[1])
	}
	fd, err := unix.Open(path, flags, mode)
	if err != nil {
		return said("", err)
	}
	defer unix.Close(fd)
	if do == nil {
		return "ok"
	}
	return "opened: " + said(do(fd))
}

func writeMapped(fd int) error {
	pages, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	pages[0] = 'M'
	return firstError(unix.Msync(pages, unix.MS_SYNC), unix.Munmap(pages))
}

func chownTo(call func(string, int, int) error, path, to string) error {
	uid, gid := -1, -1
	fmt.Sscanf(to, "%d:%d", &uid, &gid)
	return call(path, uid, gid)
}

// utimes takes "now", "omit" or seconds for each time.
func utimes(path, atime, mtime string) error {
	moment := func(word string) unix.Timespec {
		switch word {
		case "now":
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case "omit":
			return unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
		sec, _ := strconv.ParseInt(word, 10, 64)
		return unix.Timespec{Sec: sec}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{moment(atime), moment(mtime)}, unix.AT_SYMLINK_NOFOLLOW)
}
