package fsnode

import (
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Passthrough: the kernel reads and writes an open file itself, without asking us (FUSE_PASSTHROUGH, Linux 6.9). It is told
// of a descriptor, gives it a number, and opens what that refers to for everybody who opens the inode with the number.
//
// All who have an inode open have it one way: while the kernel does the work itself, an open without the number fails with EIO, and so
// does one with it while somebody has the inode open through the page cache (fuse_file_io_open). What opened
// first decides, until the last of them closes.

// way is how what a handle reads and writes gets from and to the file.
type way uint8

const (
	direct way = iota // each request comes to us: locks, and where a write may be refused
	cached            // through the kernel's page cache for the mount
	passed            // by the kernel itself
)

// passage is how an inode's handles go. mu guards the fields. It is held while a number is got or given back, and an open is counted
// before it is answered, so nobody is answered with a number that is being given back. Of locks only inodeTable.mu is taken inside.
//
// The kernel is done with a handle before it tells us so: what we count is never less than what it does, so an
// answer by our count is always one that it takes.
type passage struct {
	mu      sync.Mutex
	number  int32 // the kernel's; 0 for none
	passed  int   // handles
	writers int   // of them that may write
	cached  int
}

// enter decides how a handle goes that is being opened and counts it, and gives flags for the answer, with the kernel's number.
// Wanted is direct for what must come to us, also where others of its handles don't.
func (fs *FS) enter(h *handle, wanted way, flags uint32) (open uint32, number int32) {
	p := &h.node.passage
	p.mu.Lock()
	defer p.mu.Unlock()
	// A handle may be counted that the kernel is done with: its RELEASE was being served when a server died. Then there is no number.
	if (p.passed > 0 || wanted == passed && p.cached == 0) && fs.openPassage(h) {
		h.way, h.writes = passed, flags&unix.O_ACCMODE != unix.O_RDONLY
		p.count(h, 1)
		open, number = fuse.FOPEN_PASSTHROUGH, p.number
	} else if wanted != direct {
		h.way = cached
		p.cached++
	}
	if wanted == direct { // for reads and writes that comes before passthrough (fuse_file_read_iter)
		open |= fuse.FOPEN_DIRECT_IO
	}
	return open, number
}

// leave is when a handle is closed.
func (fs *FS) leave(h *handle) {
	p := &h.node.passage
	p.mu.Lock()
	defer p.mu.Unlock()
	switch h.way {
	case cached:
		p.cached--
	case passed:
		if p.count(h, -1); p.passed == 0 {
			fs.closePassage(h.node)
		}
	}
}

// reenter counts a handle of an earlier server.
func (h *handle) reenter() {
	p := &h.node.passage
	p.mu.Lock()
	defer p.mu.Unlock()
	switch h.way {
	case cached:
		p.cached++
	case passed:
		p.count(h, 1)
	}
}

func (p *passage) count(h *handle, by int) {
	p.passed += by
	if h.writes {
		p.writers += by
	}
}

// openPassage has the kernel give a number for a file, which is kept for a later server before anybody is answered with it. A server that is
// killed in between loses a number, which the kernel keeps as long as the mount lives. Caller holds the passage's mu.
func (fs *FS) openPassage(h *handle) bool {
	if h.node.passage.number != 0 {
		return true
	}
	number, err := fs.kernel.OpenBacking(h.node.fd)
	if err == unix.EBADF { // before Linux 6.16 an O_PATH descriptor is none
		number, err = fs.kernel.OpenBacking(h.fd)
	}
	if err != nil {
		return false
	}
	h.node.passage.number = number
	fs.inodes.passes(h.node, number)
	return true
}

func (fs *FS) closePassage(n *inode) {
	number := n.passage.number
	n.passage.number = 0
	fs.inodes.passes(n, 0)
	fs.kernel.CloseBacking(number)
}

// passes keeps the kernel's number with what is kept of an inode.
func (t *inodeTable) passes(n *inode, number int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.record != nil {
		n.record.passage = number
	}
}

// inheritPassages gives back the numbers that no handle of an earlier server needs any more.
func (fs *FS) inheritPassages() {
	t := fs.inodes
	t.mu.RLock()
	var idle []*inode
	for _, n := range t.byNode {
		if n.passage.number != 0 && n.passage.passed == 0 {
			idle = append(idle, n)
		}
	}
	t.mu.RUnlock()
	for _, n := range idle {
		fs.closePassage(n)
	}
}

// wayOf says how a file that is no lock should go. Where writes may be refused all come to us. The kernel would write for a set-id
// file, or one with capabilities, as we are: root, who loses none of that by it.
func (fs *FS) wayOf(fd int, st *unix.Stat_t, flags uint32) way {
	switch {
	case !fs.passthrough || fs.denies() || st.Mode&unix.S_IFMT != unix.S_IFREG:
	case flags&unix.O_DIRECT != 0 || st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0:
	case hasCapability(fd):
	default:
		return passed
	}
	return cached
}

func hasCapability(fd int) bool {
	size, err := unix.Fgetxattr(fd, fileCapability, nil)
	return size > 0 || err != nil && err != unix.ENODATA && err != unix.EOPNOTSUPP
}

// isWrittenByKernel reports whether the kernel may write to the file without asking us.
func (n *inode) isWrittenByKernel() bool {
	n.passage.mu.Lock()
	defer n.passage.mu.Unlock()
	return n.passage.writers > 0
}

// tell is when the kernel is told the attributes of an inode, and says for how long it may believe in them: not while it writes to
// the file itself, since it does not notice that writes through a shared mapping change the times.
func (n *inode) tell(v version, valid time.Duration) time.Duration {
	if n.isWrittenByKernel() {
		v, valid = nothing, 0
	}
	n.told.set(v)
	return valid
}
