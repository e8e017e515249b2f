package fsnode

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// kernel is what we say to the kernel unasked. None of it may be said with a turn or a lock of ours taken: it can have
// the kernel ask us something first.
type kernel interface {
	// InodeNotify has it forget the attributes of an inode, and its pages from off on unless off is negative.
	InodeNotify(node uint64, off, length int64) fuse.Status
	// OpenBacking gives the number by which the kernel reads and writes a file itself, for whoever opens an inode with it; the
	// descriptor says which. CloseBacking gives it back.
	OpenBacking(fd int) (number int32, err error)
	CloseBacking(number int32)
	// PruneNotify has it forget inodes that nobody uses. ENOSYS before Linux 6.18.
	PruneNotify(nodes []uint64) fuse.Status
}

// Connected tells what to say things to unasked, and what the kernel said first.
func (fs *FS) Connected(k kernel, init *fuse.InitIn) {
	fs.kernel = k
	fs.passthrough = fs.Passthrough && fs.ForAll && init.Flags64()&fuse.CAP_PASSTHROUGH != 0
	fs.setxattrSize = 8
	if init.Flags&fuse.CAP_SETXATTR_EXT != 0 {
		fs.setxattrSize = 16
	}
	fs.pressure.useless.Store(k.PruneNotify(nil) == fuse.ENOSYS)
	go fs.relieve()
}

// version tells the states of an inode apart.
type version struct {
	size              int64
	changed, modified unix.Timespec
}

func versionOf(st *unix.Stat_t) version { return version{st.Size, st.Ctim, st.Mtim} }

func versionOfStatx(st *unix.Statx_t) version {
	return version{int64(st.Size), timespecOf(st.Ctime), timespecOf(st.Mtime)}
}

func timespecOf(t unix.StatxTimestamp) unix.Timespec {
	return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
}

// nothing is told of a file that the kernel does not know the attributes of, and will ask about. The zero version is that of
// one about which an earlier server may have said anything.
var nothing = version{size: -1}

// told is the version of an inode that the kernel was last told, and believes in for the cache time.
type told struct {
	mu sync.Mutex
	version
}

func (t *told) set(v version) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.version = v
}

func (t *told) get() version {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version
}

// renew has the kernel ask for the attributes of a file that is being opened, if they are others than it was told: it
// drops the pages at an open (without FOPEN_KEEP_CACHE), but reads to the size it knows. Where it changed them itself,
// by a write through the mount, it would have asked anyway.
func (fs *FS) renew(n *inode, now version) {
	if told := n.told.get(); told != now && told != nothing {
		fs.kernel.InodeNotify(n.id, -1, 0)
	}
}

// written is when a handle is closed through which the kernel wrote: then it does not believe in the size and the times that it was told, and
// need not be told at the next open that they are others. To tell it all the same would have it ask for the mode as well, at every open.
//
// That it was the kernel who wrote, and not somebody past the mount while the handle was only open, can't be seen: what the latter did may go
// unseen for the cache time.
func (fs *FS) written(h *handle) {
	var st unix.Stat_t
	if h.opened != (version{}) && unix.Fstat(h.fd, &st) == nil && h.opened != versionOf(&st) {
		h.node.told.set(nothing)
	}
}
