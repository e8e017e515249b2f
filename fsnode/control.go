package fsnode

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// ControlDir is the directory in the mount's root that holds the control files. It is
// not listed, it shadows a real entry of that name, and only who mounted may look in.
const ControlDir = ".sessionlockfs"

// ProbeName is in no directory: whoever looks it up in the control directory finds out whether anybody serves.
const ProbeName = "probe"

// The control files' node ids; those of real inodes start at firstNode.
const (
	controlNode = fuse.FUSE_ROOT_ID + 1 + iota
	locksNode
	metricsNode
	commandNode
	eventsNode // the last

	firstNode = 16
)

// controlFile is one entry of the control directory.
type controlFile struct {
	name string
	node uint64
	mode uint32
}

var controlFiles = [...]controlFile{
	{"locks", locksNode, unix.S_IFREG | 0400},
	{"metrics", metricsNode, unix.S_IFREG | 0400},
	{"events", eventsNode, unix.S_IFREG | 0400},
	{"control", commandNode, unix.S_IFREG | 0200},
}

// controlInodes is where the control files' inode numbers start: no file system counts
// that far.
const controlInodes = 1<<63 + 1<<32

// isControl reports whether an entry is, or is in, the control directory.
func isControl(dir uint64, name string) bool {
	return dir == controlNode || dir == fuse.FUSE_ROOT_ID && name == ControlDir
}

func (fs *FS) lookupControl(dir uint64, name string, out *fuse.EntryOut) fuse.Status {
	node := uint64(controlNode)
	if dir == controlNode {
		node = 0
		if name == ProbeName {
			fs.Locks.Knows(lockmgr.Key{}) // so that it is a sign of life of the law as well
		}
		for _, f := range controlFiles {
			if f.name == name {
				node = f.node
			}
		}
	}
	if node == 0 {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = node, 1
	fs.fillControl(node, &out.Attr)
	return fuse.OK
}

func (fs *FS) controlAttr(node uint64, out *fuse.AttrOut) fuse.Status {
	if node < controlNode || node > eventsNode {
		return fuse.ENOENT
	}
	fs.fillControl(node, &out.Attr)
	return fuse.OK
}

// controlStatx must not say that there is no statx: the kernel would believe it of all.
func (fs *FS) controlStatx(node uint64, out *fuse.StatxOut) fuse.Status {
	var a fuse.AttrOut
	if st := fs.controlAttr(node, &a); !st.Ok() {
		return st
	}
	out.Mask = unix.STATX_BASIC_STATS
	out.Ino, out.Nlink, out.Mode, out.Uid, out.Gid = a.Ino, a.Nlink, uint16(a.Mode), a.Uid, a.Gid
	stamp := fuse.SxTime{Sec: a.Mtime, Nsec: a.Mtimensec}
	out.Atime, out.Ctime, out.Mtime = stamp, stamp, stamp
	return fuse.OK
}

func (fs *FS) fillControl(node uint64, a *fuse.Attr) {
	a.Ino, a.Nlink, a.Mode = controlInodes+node, 2, unix.S_IFDIR|0700
	for _, f := range controlFiles {
		if f.node == node {
			a.Nlink, a.Mode = 1, f.mode
		}
	}
	a.Uid, a.Gid = uint32(os.Geteuid()), uint32(os.Getegid())
	a.SetTimes(&fs.started, &fs.started, &fs.started)
}

// setControlAttr lets "> control" truncate it; nothing else can be set.
func (fs *FS) setControlAttr(node uint64, out *fuse.AttrOut) fuse.Status {
	if node != commandNode {
		return fuse.EPERM
	}
	return fs.controlAttr(node, out)
}

// openControl opens a control file; what it says is settled here.
func (fs *FS) openControl(in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	h := &handle{fd: -1, control: in.NodeId}
	writing := in.Flags&unix.O_ACCMODE != unix.O_RDONLY
	switch in.NodeId {
	case locksNode, metricsNode, eventsNode:
		if writing {
			return fuse.EACCES
		}
		text, err := fs.said(in.NodeId)()
		if err != nil {
			return status(err)
		}
		h.text = text
	case commandNode:
		if !writing {
			return fuse.EACCES
		}
	default:
		return fuse.ENOENT
	}
	out.Fh = fs.handles.add(h)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// said is what a control file that can be read says; nil of any other.
func (fs *FS) said(node uint64) func() ([]byte, error) {
	switch node {
	case locksNode:
		return fs.Dump
	case metricsNode:
		return fs.Measure
	case eventsNode:
		return func() ([]byte, error) { return fs.Events(), nil }
	}
	return nil
}

// writeControl carries out one command: one write is one command.
func (fs *FS) writeControl(in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if in.NodeId != commandNode {
		return 0, fuse.EBADF
	}
	command := strings.TrimSuffix(string(data), "\n")
	err := fs.Command(command)
	log := fs.Log.Info()
	if err != nil {
		log = fs.Log.Warn().Err(err)
	}
	log.Str("command", command).Uint32("pid", in.Pid).Msg("control")
	if st := commandStatus(err); !st.Ok() {
		return 0, st
	}
	return uint32(len(data)), fuse.OK
}

// ErrCommand is the cause of every refusal of a malformed command.
var ErrCommand = errors.New("malformed command: release [--force] [--] PATH, relative to the mount, without links and \"..\"")

func commandStatus(err error) fuse.Status {
	var held *lockmgr.HeldError
	switch {
	case errors.Is(err, ErrCommand):
		return fuse.EINVAL
	case errors.As(err, &held):
		return fuse.EBUSY
	}
	return status(err)
}

// CommandWithdraw is the command of somebody who is about to unmount: see Withdraw.
const CommandWithdraw = "withdraw"

// withdrawal is how long whoever wrote that has for it.
const withdrawal = 2 * time.Second

// Command does what a line of the control file says. The error of one that makes no sense is ErrCommand.
func (fs *FS) Command(line string) error {
	if line == CommandWithdraw {
		fs.Withdraw(withdrawal)
		return nil
	}
	path, ok := strings.CutPrefix(line, "release ")
	if !ok {
		return ErrCommand
	}
	path, force := strings.CutPrefix(path, "--force ")
	path = strings.TrimPrefix(path, "-- ") // after it a path may start with a dash
	key, dir, err := fs.resolve(path)
	if err != nil {
		return err
	}
	defer fs.inodes.giveBack(dir)
	return fs.Locks.ForceRelease(key, force)
}

// ErrLink is the ErrCommand of a path that leads over a link, or out of the mount.
var ErrLink = fmt.Errorf("%w: there is a link in it", ErrCommand)

// resolve finds the lock that a path names and takes notice of it if nobody has. Its
// directory is kept, until the caller gives it back.
func (fs *FS) resolve(name string) (k lockmgr.Key, in *inode, err error) {
	n, base, err := fs.keepDirOf(name)
	if err != nil {
		return k, nil, err
	}
	if !fs.Locks.Policy().IsLock(base) || !fs.meet(n, base) {
		fs.inodes.giveBack(n)
		return k, nil, unix.ENOENT
	}
	return n.key(base), n, nil
}

// keepDirOf finds the directory that a path leads to, and the name in it. The directory is kept, until the caller gives it
// back.
func (fs *FS) keepDirOf(name string) (in *inode, base string, err error) {
	dir, base := path.Split(name)
	if name == "" || path.Clean(name) != name || path.IsAbs(name) || base == ".." || base == "." {
		return nil, "", ErrCommand
	}
	fd, err := fs.openDirAt("./" + dir)
	switch err {
	case nil:
	case unix.EXDEV, unix.ELOOP:
		return nil, "", ErrLink
	default:
		return nil, "", err
	}
	in, err = fs.keepDir(fd)
	return in, base, err
}

// meet has the law take notice of an entry with a lock's name, if it is there.
func (fs *FS) meet(dir *inode, name string) (there bool) {
	fd, st, err := statChild(dir, name)
	if err != nil {
		return false
	}
	n := fs.inodes.keep(fd, st)
	defer fs.inodes.giveBack(n)
	if fs.isGitLock(dir, name) {
		fs.Locks.MetInGit(dir.key(name), n.real)
	} else {
		fs.Locks.Met(dir.key(name), n.real)
	}
	return true
}

// keepDir makes an inode of a descriptor, which it takes over, and keeps it until it is given back.
func (fs *FS) keepDir(fd int) (*inode, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return fs.inodes.keep(fd, &st), nil
}
