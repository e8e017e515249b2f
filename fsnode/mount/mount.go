package mount

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// Mount is a file system that is served.
type Mount struct {
	Point  string // absolute
	fs     *fsnode.FS
	server *fuse.Server
	done   chan struct{}
	dev    uint64 // of the mounted file system
}

// Start mounts and serves. When it returns, the mount can be used. The error is a
// *Refusal, and nothing is mounted then.
func Start(fs *fsnode.FS, o Options) (*Mount, error) {
	if err := checkDevice(); err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(fs, fs.Mountpoint, fuseOptions(fs, o))
	if err != nil {
		return nil, refuseMount(fs.Mountpoint, err)
	}
	m := &Mount{Point: fs.Mountpoint, fs: fs, server: server, done: make(chan struct{})}
	go fs.Run()
	go func() {
		server.Serve()
		close(m.done)
	}()
	if err := m.await(); err != nil {
		m.Unmount()
		return nil, err
	}
	return m, nil
}

// maxRequest is the largest read or write request, in bytes: the kernel's own limit.
const maxRequest = 1 << 20

func fuseOptions(fs *fsnode.FS, o Options) *fuse.MountOptions {
	opts := &fuse.MountOptions{
		AllowOther:         o.AllowOther || fs.ForAll,
		FsName:             fs.Root.Name(),
		Name:               "sessionlockfs",
		MaxWrite:           maxRequest,
		MaxBackground:      64,
		DisableReadDirPlus: true,
		DirectMountStrict:  os.Geteuid() == 0,
		DirectMountFlags:   o.flags,
		Options:            o.words,
		Logger:             log.New(fs.Log, "", 0),
		ExtraCapabilities:  capabilities,
	}
	if opts.DirectMountStrict {
		opts.Options = nil
		for _, word := range o.words {
			if _, isFlag := kernelFlags[word]; !isFlag {
				opts.Options = append(opts.Options, word)
			}
		}
	}
	if fs.ForAll || o.AllowOther { // the kernel checks permissions, with the access control lists
		opts.Options = append(opts.Options, "default_permissions")
		opts.EnableAcl = true
	}
	// Containers with user namespaces may map the owners of root's mount.
	opts.IDMappedMount = fs.ForAll
	return opts
}

// capabilities are what we ask the kernel for: to leave it to us to take set-id bits away (without
// that every write asks for security.capability first), also with a change of the access control
// list; and to leave the umask to us, which does not count where a directory has a default ACL.
const capabilities = fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_SETXATTR_EXT | fuse.CAP_DONT_MASK

func checkDevice() error {
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

// readyWithin is how long a mount may take to answer its first request.
const readyWithin = 10 * time.Second

// await asks the mount for something that only we can answer.
func (m *Mount) await() error {
	answer := make(chan error, 1)
	go func() {
		var st unix.Stat_t
		err := unix.Stat(m.Point, &st)
		m.dev = st.Dev
		m.fs.Mounted(st.Dev)
		answer <- err
	}()
	select {
	case err := <-answer:
		if err != nil {
			return &Refusal{Cause: NoFUSE, What: m.Point + " was mounted but does not answer", Err: err}
		}
		return nil
	case <-m.done:
		return &Refusal{Cause: NoFUSE, What: m.Point + " was unmounted before it was ready"}
	case <-time.After(readyWithin):
		return &Refusal{Cause: NoFUSE, What: fmt.Sprintf("%s did not answer within %s", m.Point, readyWithin)}
	}
}

// Device is the device number under which the mount is seen (st_dev).
func (m *Mount) Device() uint64 { return m.dev }

// Done is closed when nobody anywhere has the mount any more.
func (m *Mount) Done() <-chan struct{} { return m.done }

// Unmount ends the mount here. It goes on being served until Done where another mount
// namespace has it. The error is a *Refusal if somebody uses it.
func (m *Mount) Unmount() error {
	m.fs.Withdraw(patience)
	defer m.fs.Return()
	if err := Unmount(m.Point); err != nil {
		return err
	}
	m.fs.Mounted(0)
	return nil
}
