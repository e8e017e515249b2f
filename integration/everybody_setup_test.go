package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// layOut makes the directory of each act.
func layOut(t testing.TB, root string, acts []act) {
	t.Helper()
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range acts {
		dir := filepath.Join(root, a.dir)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, ownerUID, ownerGID); err != nil {
			t.Fatal(err)
		}
		for _, step := range strings.Split(a.setUp, ";") {
			if err := setUp(dir, strings.Fields(step)); err != nil {
				t.Fatalf("set-up %q: %v", step, err)
			}
		}
	}
}

// setUp does one step, as root.
func setUp(dir string, words []string) error {
	if len(words) == 0 {
		return nil
	}
	path := filepath.Join(dir, expand(words[1]))
	switch words[0] {
	case "f":
		return firstError(os.WriteFile(path, []byte("some data\n"), 0o600), give(path, words[2:]))
	case "d":
		return firstError(os.MkdirAll(path, 0o700), give(path, words[2:]))
	case "p":
		return firstError(unix.Mkfifo(path, 0o600), give(path, words[2:]))
	case "l":
		return firstError(os.Symlink(expand(words[2]), path), os.Lchown(path, ownerUID, ownerGID))
	case "h":
		return os.Link(filepath.Join(dir, words[2]), path)
	case "x":
		return unix.Lsetxattr(path, words[2], []byte("value"), 0)
	case "acl", "dacl":
		return unix.Setxattr(path, aclName[words[0]], encodeACL(words[2]), 0)
	case "cap":
		return unix.Setxattr(path, "security.capability", fileCapability, 0)
	case "flag":
		return setFlags(path, flagNamed[words[2]])
	}
	return fmt.Errorf("unknown step %q", words)
}

// fileCapability is CAP_NET_RAW, permitted and effective (struct vfs_ns_cap_data, VFS_CAP_REVISION_2).
var fileCapability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// give sets the mode, and an owner if it is not the usual one.
func give(path string, words []string) error {
	uid, gid := ownerUID, ownerGID
	if len(words) > 1 {
		fmt.Sscanf(words[1], "%d:%d", &uid, &gid)
	}
	return firstError(os.Lchown(path, uid, gid), unix.Chmod(path, octal(words[0])))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// unprotect takes the flags away that would keep the tree from being removed.
func unprotect(root string) {
	filepath.WalkDir(root+"/", func(path string, e os.DirEntry, err error) error {
		if err == nil && (e.Type().IsRegular() || e.IsDir()) {
			setFlags(path, 0)
		}
		return nil
	})
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
