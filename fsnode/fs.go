package fsnode

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Callers tells who makes a request. Its methods are called while the thread they ask
// about waits for our answer, so its ids can't be used again meanwhile.
type Callers interface {
	// Acting names the process for which a thread acts: its own, or the shell that a helper
	// program or a subshell works for (rule 7). byHelper says that such a program acts. The
	// zero Identity if it can't be named. It may wait for a process that is inside execve(2):
	// no turn may be taken then.
	Acting(tid uint32) (id lockmgr.Identity, byHelper bool)
	// Untold says why Acting could not name a caller that has a name; nil if it has none.
	Untold(tid uint32) error
	// Describe tells more of a process; best effort, it may be dead.
	Describe(lockmgr.Identity) lockmgr.Process
	// Is reports whether a thread belongs to a process. It may be asked of a thread that
	// is inside execve(2) and closes its descriptors: it must not look into /proc, where
	// much waits until that call is done, and with it for our answer.
	Is(tid uint32, id lockmgr.Identity) bool
	// Watches reports whether a process that waits for our answer, and in no turn, watches
	// a directory of the file system with this device number with inotify.
	Watches(id lockmgr.Identity, dev, ino uint64) bool
	// ExclusiveCreate reports whether the thread is inside an exclusive create of an entry
	// of this name. It must not wait for a thread that is inside execve(2), either.
	ExclusiveCreate(tid uint32, name string) (yes, known bool)
}

// Config is what an FS is made of. Locks is set once the Manager is made with the FS
// as its Tree and Reaper, before the first request.
type Config struct {
	Root        *os.File // the real directory, opened before it was mounted over
	Mountpoint  string   // absolute
	Callers     Callers
	Log         zerolog.Logger
	CacheTime   time.Duration // how long the kernel may believe us about what is no lock
	BootID      string        // for the dump
	Events      func() []byte // what happened of late, as lines of JSON
	Remains     *Remains      // of an earlier server, and for a later one
	Keeper      Keeper        // of what is open, for a later server
	Sweeper     Sweeper       // removes locks through the mount
	Holder      int           // PID of the process that holds the mount
	Version     string        // which release of the program serves
	Passthrough bool          // have the kernel read and write files itself where it can
	ForAll      bool          // mounted by root for everybody: the kernel checks permissions, we create as the caller
}

// FS serves one mount. Its methods are called by many goroutines at once; what they
// share is in inodeTable and handleTable, each with its own lock, and in lockmgr.
//
// Lock order: a turn of lockmgr or dirStream.mu, then lockmgr's own mutex, then inodeTable.mu or
// handleTable.mu, which are never held together.
type FS struct {
	fuse.RawFileSystem
	Config
	Locks *lockmgr.Manager

	inodes   *inodeTable
	handles  *handleTable
	records  *records
	reaping  *reaper
	parked   parked
	metrics  *prometheus.Registry
	Latency  *Latency
	kernel   kernel
	pressure *pressure
	proc     int // O_PATH descriptor of /proc/self/fd

	before       []count                // inodes that were inherited
	news         atomic.Pointer[[]byte] // JSON that the dump passes on
	passthrough  bool                   // the kernel can read and write files itself; set before the first request
	setxattrSize int                    // of the fixed part of SETXATTR after the header; set before the first request
	self         int
	started      time.Time
}

// New makes the file system of a real directory.
func New(c Config) (*FS, error) {
	proc, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /proc/self/fd: %w", err)
	}
	var root unix.Stat_t
	if err := unix.Fstat(int(c.Root.Fd()), &root); err != nil {
		unix.Close(proc)
		return nil, fmt.Errorf("look at the real directory: %w", err)
	}
	pressure := newPressure()
	fs := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		Config:        c,
		inodes:        newInodeTable(newNumbering(uint64(root.Dev)), pressure, c.Remains, newSleep(c.Root, uint64(root.Dev))),
		handles:       newHandleTable(),
		records:       newRecords(),
		parked:        parked{names: map[lockmgr.InodeID]string{}},
		pressure:      pressure,
		proc:          proc,
		self:          os.Getpid(),
		started:       time.Now(),
	}
	fs.reaping = newReaper(fs)
	fs.Latency = newLatency()
	fs.metrics = fs.newMetrics()
	if err := fs.addRoot(); err != nil {
		unix.Close(proc)
		return nil, err
	}
	return fs, nil
}

func (fs *FS) addRoot() error {
	fd, err := fs.reopen(int(fs.Root.Fd()), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open the real directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	fs.inodes.addRoot(fd, &st)
	return nil
}

// Run removes, until the FS is closed, what is to go. It must run in its own goroutine, when requests are served.
func (fs *FS) Run() {
	go fs.recountInherited()
	fs.reaping.run()
}

// Close removes what is still to go and gives back what the FS holds, once the mount is
// gone. No handle is open then, but the kernel drops the RELEASEs it has not sent, and the
// news of deaths may still be on its way.
func (fs *FS) Close() {
	fs.Mounted(0)
	for _, h := range fs.handles.drain() {
		fs.closeHandle(h)
	}
	fs.Locks.Settle()
	fs.unparkAll()
	close(fs.pressure.closed)
	fs.reaping.close()
	<-fs.reaping.ended
	unix.Close(fs.proc)
}

// String names the file system for go-fuse.
func (fs *FS) String() string { return "sessionlockfs" }

// caller is who made a request: found out at most once, and only if the law asks.
type caller struct {
	fs    *FS
	tid   uint32
	id    lockmgr.Identity
	asked bool

	byHelper bool
}

func (fs *FS) caller(h *fuse.InHeader) *caller { return &caller{fs: fs, tid: h.Pid} }

func (c *caller) who() lockmgr.Identity {
	if !c.asked {
		c.id, c.byHelper = c.fs.Callers.Acting(c.tid)
		c.asked = true
	}
	return c.id
}

// creating reports whether the request is, or may be, that of an exclusive create of the
// name: a rename or link looks its source up as well.
func (c *caller) creating(name string) func() bool {
	return func() bool {
		yes, known := c.fs.Callers.ExclusiveCreate(c.tid, name)
		return yes || !known
	}
}

// reopen opens the inode of a descriptor anew.
func (fs *FS) reopen(fd, flags int) (int, error) {
	return retryFd(func() (int, error) {
		return unix.Openat(fs.proc, fmt.Sprint(fd), flags|unix.O_CLOEXEC, 0)
	})
}

// open opens an inode anew, with flags as open(2) has them.
func (fs *FS) open(n *inode, flags int) (int, error) {
	if n.isSymlink() {
		return -1, unix.ELOOP
	}
	return fs.pressure.descriptor(func() (int, error) {
		return unix.Openat(fs.proc, n.link(), flags&^unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// Forget takes references of the kernel's back.
func (fs *FS) Forget(node, n uint64) {
	if node >= firstNode {
		fs.inodes.forget(node, n)
	}
}

// StatFs tells the room on the real file system.
func (fs *FS) StatFs(_ <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		n = fs.inodes.node(fuse.FUSE_ROOT_ID)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(n.fd, &st); err != nil {
		return status(err)
	}
	out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Bfree, st.Bavail
	out.Files, out.Ffree = st.Files, st.Ffree
	out.Bsize, out.NameLen, out.Frsize = uint32(st.Bsize), uint32(st.Namelen), uint32(st.Frsize)
	return fuse.OK
}
