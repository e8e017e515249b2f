package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// connect mounts, and gives the descriptor through which the mount is served. The error is a *Refusal, and nothing is
// mounted then.
func connect(point, source string, o Options) (*os.File, error) {
	if err := CheckDevice(); err != nil {
		return nil, err
	}
	do := connectAsRoot
	if os.Geteuid() != 0 {
		do = connectAsUser
	}
	fd, err := do(point, source, o)
	if err != nil {
		return nil, refuseMount(point, err)
	}
	return os.NewFile(uintptr(fd), "/dev/fuse"), nil
}

// forAll says that root mounts for everybody.
func forAll() bool { return os.Geteuid() == 0 }

// checked reports whether the kernel checks permissions: where others than who mounted come in.
func checked(o Options) bool { return forAll() || o.AllowOther }

// connecting is what the kernel is told in words; with fusermount3 some of mount(2)'s flags are words as well.
func (o *Options) connecting(flagsToo bool) (words []string) {
	for _, word := range o.words {
		if _, isFlag := kernelFlags[word]; flagsToo || !isFlag && !isMode(word) {
			words = append(words, word)
		}
	}
	if checked(*o) {
		words = append(words, "allow_other", "default_permissions")
	}
	return append(words, fmt.Sprintf("max_read=%d", fsnode.MaxRequest))
}

// connectAsRoot is mount(2), with what fuse(4) wants to be told.
func connectAsRoot(point, source string, o Options) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(point, &st); err != nil {
		return -1, err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	words := append([]string{
		fmt.Sprintf("fd=%d", fd), fmt.Sprintf("rootmode=%o", st.Mode&unix.S_IFMT),
		fmt.Sprintf("user_id=%d", os.Geteuid()), fmt.Sprintf("group_id=%d", os.Getegid()),
	}, o.connecting(false)...)
	if err := unix.Mount(source, point, FSType, o.modeFlags(), strings.Join(words, ",")); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connectAsUser has fusermount3 mount, which hands the descriptor over (its _FUSE_COMMFD).
func connectAsUser(point, source string, o Options) (int, error) {
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		return -1, err
	}
	ours, theirs, err := linkPair()
	if err != nil {
		return -1, err
	}
	defer ours.close()
	words := append(o.connecting(true), "fsname="+escapeOption(source), "subtype=sessionlockfs")
	cmd := exec.Command(path, "-o", strings.Join(words, ","), "--", point)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs.file}
	out, err := cmd.CombinedOutput()
	theirs.close()
	if err != nil {
		if said := strings.TrimSpace(string(out)); said != "" {
			err = errors.New(said)
		}
		return -1, err
	}
	return ours.receiveDescriptor()
}

// escapeOption keeps a comma or a backslash in the value of an option.
func escapeOption(s string) string { return strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(s) }

// receiveDescriptor is for a message that is nothing but a descriptor.
func (l *link) receiveDescriptor() (int, error) {
	_, fd, err := l.receivePacket(0)
	if err == nil && fd < 0 {
		err = errors.New("fusermount3 gave no descriptor")
	}
	return fd, err
}

// fuseOptions are what is agreed upon with the kernel.
func fuseOptions(o Options, source *os.File) *fuse.MountOptions {
	return &fuse.MountOptions{
		Name:              "sessionlockfs",
		MaxWrite:          fsnode.MaxRequest,
		MaxBackground:     64,
		ExtraCapabilities: capabilities,
		EnableAcl:         checked(o), // the kernel checks permissions, with the access control lists
		IDMappedMount:     forAll(),   // containers with user namespaces may map the owners of root's mount
		MaxStackDepth:     stackDepth(source),
	}
}

// stackDepth is how many file systems the kernel passes through to reach a file's data. It lets there be two (FILESYSTEM_MAX_STACK_DEPTH),
// of which an overlay is one: over one there can't be another above us.
func stackDepth(source *os.File) int {
	var st unix.Statfs_t
	if unix.Fstatfs(int(source.Fd()), &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return 2
	}
	return 1
}

// capabilities are what we ask the kernel for: to leave it to us to take set-id bits away (without
// that every write asks for security.capability first), also with a change of the access control
// list; and to leave the umask to us, which does not count where a directory has a default ACL.
const capabilities = fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_SETXATTR_EXT | fuse.CAP_DONT_MASK

// CheckDevice says why /dev/fuse can't be used, if it can't. The error is a *Refusal.
func CheckDevice() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO):
		return &Refusal{Cause: NoFUSE, What: "there is no /dev/fuse",
			Advice: "load it with `modprobe fuse`; in a container, start it with --device /dev/fuse"}
	case errors.Is(err, os.ErrPermission) && os.Geteuid() != 0:
		return &Refusal{Cause: NoFUSE, What: "/dev/fuse is not for ordinary users here",
			Advice: "as root: chmod 666 /dev/fuse, which udev does where it runs"}
	}
	return &Refusal{Cause: NoFUSE, What: "/dev/fuse can't be opened", Err: errors.Unwrap(err),
		Advice: "in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"}
}

func refuseMount(point string, err error) *Refusal {
	r := &Refusal{Cause: NoFUSE, What: "can't mount over " + point, Err: err}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		r.Err, r.Advice = nil, "fusermount3 is missing: apt-get install fuse3, or run as root"
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		r.Advice = "mounting needs CAP_SYS_ADMIN; in a container, start it with --cap-add SYS_ADMIN"
	case errors.Is(err, unix.ENODEV):
		r.Advice = "the kernel has no FUSE: modprobe fuse"
	case errors.Is(err, unix.EPROTO) || errors.Is(err, unix.EINVAL):
		r.Advice = "the kernel may be too old: Linux 5.4 or newer is needed"
	default:
		r.Advice = "fusermount3 said why, above or in the log"
	}
	return r
}
