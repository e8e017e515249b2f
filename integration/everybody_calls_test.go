package integration

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// person is a caller: its ids, and for which capabilities it has power beyond them.
type person struct {
	name         string
	uid, gid     int
	groups       []int
	capabilities func(all uint64) uint64
	ofFew        bool // one of the few
}

// ownerUID has a name on every system: fusermount3 wants one of who mounts.
const ownerUID, ownerGID = 65534, 2001

var everybody = []person{
	{"root", 0, 0, nil, func(all uint64) uint64 { return all }, true},
	{"powerless", 0, 0, nil, nil, false}, // a root without capabilities
	{"owner", ownerUID, ownerGID, nil, nil, true},
	{"member", 1002, ownerGID, nil, nil, false},
	{"supplementary", 1003, 2003, []int{ownerGID, 2009}, nil, false},
	{"stranger", 1004, 2004, []int{2009}, nil, true},
	{"keeper", 1005, 2005, nil, func(uint64) uint64 { return 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID }, false},
}

// helpCall makes calls as somebody: it reads a directory and calls per line and answers with what came of them.
func helpCall(arguments []string) error {
	runtime.LockOSThread() // credentials are the thread's here
	for _, p := range everybody {
		if p.name == arguments[0] {
			if err := become(p); err != nil {
				return fmt.Errorf("become %s: %w", p.name, err)
			}
		}
	}
	unix.Umask(0o022)
	for scan := bufio.NewScanner(os.Stdin); scan.Scan(); {
		dir, steps, _ := strings.Cut(scan.Text(), "\t")
		var results []string
		for _, step := range strings.Split(steps, ";") {
			results = append(results, perform(dir, strings.Fields(step)))
		}
		fmt.Println(strings.Join(results, "; "))
	}
	return nil
}

func become(p person) error {
	groups := make([]uint32, len(p.groups)+1)
	for i, g := range p.groups {
		groups[i] = uint32(g)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had, data [2]unix.CapUserData
	if err := unix.Capget(&header, &had[0]); err != nil {
		return err
	}
	call := func(number uintptr, a, b, c uintptr) error {
		if _, _, errno := unix.RawSyscall(number, a, b, c); errno != 0 {
			return errno
		}
		return nil
	}
	err := firstError(
		unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0),
		call(unix.SYS_SETGROUPS, uintptr(len(p.groups)), uintptr(unsafe.Pointer(&groups[0])), 0),
		call(unix.SYS_SETRESGID, uintptr(p.gid), uintptr(p.gid), uintptr(p.gid)),
		call(unix.SYS_SETRESUID, uintptr(p.uid), uintptr(p.uid), uintptr(p.uid)),
	)
	if err != nil {
		return err
	}
	var keep uint64
	if p.capabilities != nil {
		keep = p.capabilities(uint64(had[1].Permitted)<<32 | uint64(had[0].Permitted))
	}
	for i := range data {
		data[i].Effective, data[i].Permitted = uint32(keep>>(32*i)), uint32(keep>>(32*i))
	}
	return unix.Capset(&header, &data[0])
}

// perform makes one call in a directory and says what came of it.
func perform(dir string, words []string) string {
	call, arguments := words[0], words[1:]
	paths := make([]string, 4)
	for i, word := range arguments {
		if i < len(paths) {
			paths[i] = dir + "/" + expand(word) // as it is: dots and slashes at the end count
		}
	}
	number := func(i int) int { n, _ := strconv.Atoi(arguments[i]); return n }
	do, ok := plainCalls[call]
	if ok {
		return said(do(arguments, paths))
	}
	switch call {
	case "open":
		return opened(paths[0], arguments[1:], nil)
	case "write":
		return opened(paths[0], arguments[1:], func(fd int) (string, error) { _, err := unix.Write(fd, []byte("new")); return "", err })
	case "read":
		return opened(paths[0], arguments[1:], func(fd int) (string, error) {
			buf := make([]byte, 64)
			n, err := unix.Read(fd, buf)
			return fmt.Sprintf("%q", buf[:max(n, 0)]), err
		})
	case "ftruncate":
		return opened(paths[0], arguments[1:2], func(fd int) (string, error) { return "", unix.Ftruncate(fd, int64(number(2))) })
	case "fchmod":
		return opened(paths[0], arguments[1:2], func(fd int) (string, error) { return "", unix.Fchmod(fd, octal(arguments[2])) })
	case "fallocate":
		return opened(paths[0], []string{"w"}, func(fd int) (string, error) { return "", unix.Fallocate(fd, 0, 0, 100) })
	case "punch":
		return opened(paths[0], []string{"w"}, func(fd int) (string, error) {
			return "", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4)
		})
	case "copy":
		return opened(paths[0], []string{"r"}, func(from int) (string, error) {
			return opened(paths[1], []string{"w"}, func(to int) (string, error) {
				_, err := unix.CopyFileRange(from, nil, to, nil, 4, 0)
				return "", err
			}), nil
		})
	case "mapped":
		return opened(paths[0], []string{"rw"}, func(fd int) (string, error) { return "", writeMapped(fd) })
	case "tmpfile":
		return opened(paths[0], append([]string{"wT"}, arguments[1:]...), func(fd int) (string, error) {
			var st unix.Stat_t
			err := unix.Fstat(fd, &st)
			return fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid), err
		})
	case "tmplink":
		return opened(paths[0], []string{"wT", arguments[2]}, func(fd int) (string, error) {
			return "", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, paths[1], unix.AT_SYMLINK_FOLLOW)
		})
	}
	return "unknown call " + call
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

// plainCalls are those that need no handle. They get the words and, of the first four, the paths.
var plainCalls = map[string]func(words, paths []string) (string, error){
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

var (
	aclName    = map[string]string{"acl": "system.posix_acl_access", "dacl": "system.posix_acl_default"}
	flagNamed  = map[string]int{"none": 0, "immutable": 0x10, "append": 0x20, "nodump": 0x40, "noatime": 0x80}
	nodeType   = map[string]uint32{"f": unix.S_IFREG, "p": unix.S_IFIFO, "s": unix.S_IFSOCK, "c": unix.S_IFCHR, "b": unix.S_IFBLK, "d": unix.S_IFDIR}
	renameFlag = map[string]uint{"noreplace": unix.RENAME_NOREPLACE, "exchange": unix.RENAME_EXCHANGE, "whiteout": unix.RENAME_WHITEOUT, "unknown": 1 << 10}
	openFlag   = map[rune]int{'r': unix.O_RDONLY, 'w': unix.O_WRONLY, 'a': unix.O_APPEND, 'c': unix.O_CREAT, 'x': unix.O_EXCL, 't': unix.O_TRUNC,
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

func octal(word string) uint32 {
	n, err := strconv.ParseUint(word, 8, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

// expand writes out what is too long for a table.
func expand(word string) string {
	return strings.NewReplacer("NAME255", strings.Repeat("n", 255), "NAME256", strings.Repeat("n", 256),
		"TARGET4095", strings.Repeat("t", 4095), "DEEP", strings.Repeat("x/", 2047)).Replace(word)
}

// encodeACL turns "u::rw,u:1002:r,g::r,m::rw,o::" into the bytes of the attribute (see acl(5) and linux/posix_acl_xattr.h).
func encodeACL(text string) []byte {
	value := binary.LittleEndian.AppendUint32(nil, 2)
	for _, part := range strings.Split(text, ",") {
		fields := strings.Split(part, ":")
		tag := map[string]uint16{"u": 0x01, "g": 0x04, "m": 0x10, "o": 0x20}[fields[0]]
		id := uint64(1<<32 - 1)
		if fields[1] != "" {
			id, _ = strconv.ParseUint(fields[1], 10, 32)
			tag <<= 1
		}
		var rights uint16
		for bit, letter := range "xwr" {
			if strings.ContainsRune(fields[2], letter) {
				rights |= 1 << bit
			}
		}
		value = binary.LittleEndian.AppendUint16(value, tag)
		value = binary.LittleEndian.AppendUint16(value, rights)
		value = binary.LittleEndian.AppendUint32(value, uint32(id))
	}
	return value
}

// settableFlags leaves out what the file system says of itself (extents and the like).
const settableFlags = 0x10 | 0x20 | 0x40 | 0x80

func withPath(path string, do func(fd int) error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

func getFlags(path string) (flags int, err error) {
	err = withPath(path, func(fd int) error {
		flags, err = unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		return err
	})
	return flags & settableFlags, err
}

func setFlags(path string, want int) error {
	return withPath(path, func(fd int) error {
		flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags&^settableFlags|want)
	})
}

// getFSX asks for what lsattr -p shows, of which the attributes that can be set here are compared.
func getFSX(path string) (text string, err error) {
	var fsx [28]byte
	err = withPath(path, func(fd int) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0x801c581f, uintptr(unsafe.Pointer(&fsx[0])))
		if errno != 0 {
			return errno
		}
		return nil
	})
	return fmt.Sprintf("%x", fsx[:4]), err
}
