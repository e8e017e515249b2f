package fsnode

import (
	"bytes"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Inodes that only the law refers to, as locks that are held and that nobody looks at, need no descriptor: there may be more of them than we
// may have descriptors. When there are many, they sleep. What wakes one is its file handle (name_to_handle_at(2)), which no later inode with the
// same number has: of one that is gone the real file system says ESTALE.

// handleID is a file handle, and the mount that it was had on.
type handleID struct {
	kind  int32
	bytes []byte
	mount int
}

func (h *handleID) equal(o *handleID) bool { return h.kind == o.kind && bytes.Equal(h.bytes, o.bytes) }

// handleOf asks for the handle of an entry, or with the name "" of the descriptor's own inode.
func handleOf(dir int, name string) (*handleID, error) {
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	h, mount, err := unix.NameToHandleAt(dir, name, flags)
	if err != nil {
		return nil, err
	}
	return &handleID{h.Type(), h.Bytes(), mount}, nil
}

// sleep is what an inodeTable keeps of those that sleep. Guarded by inodeTable.mu.
type sleep struct {
	root   int // a descriptor of the real directory, by which to open handles; -1 if that can't be done
	mount  int // that it lies on
	home   uint64
	asleep int

	// reused has the last generation of each number that was given to a new inode while one that is gone was still tracked.
	reused map[lockmgr.InodeID]uint64
}

// lasting are the file systems whose handles are good as long as the inode exists; see statfs(2). Elsewhere, as on FUSE, one may be good
// only as long as the kernel remembers the inode.
var lasting = []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC}

// newSleep finds out whether handles can be opened: by root only (CAP_DAC_READ_SEARCH), and not in every file system.
func newSleep(root *os.File, home uint64) sleep {
	s := sleep{root: -1, home: home, reused: map[lockmgr.InodeID]uint64{}}
	var st unix.Statfs_t
	if unix.Fstatfs(int(root.Fd()), &st) != nil || !slices.Contains(lasting, int64(uint32(st.Type))) {
		return s
	}
	h, err := handleOf(int(root.Fd()), "")
	if err != nil {
		return s
	}
	fd, err := h.open(int(root.Fd()))
	if err != nil {
		return s
	}
	unix.Close(fd)
	s.root, s.mount = int(root.Fd()), h.mount
	return s
}

func (h *handleID) open(root int) (int, error) {
	return retryFd(func() (int, error) {
		return unix.OpenByHandleAt(root, unix.NewFileHandle(h.kind, h.bytes), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	})
}

// awake is how many inodes have a descriptor. Caller holds t.mu.
func (t *inodeTable) awake() int { return len(t.byNode) - t.asleep }

// maySleep reports whether an inode of this kind can do without a descriptor: a symbolic link is also known by its path, which a handle
// does not lead to.
func (s *sleep) maySleep(dev uint64, mode uint32) bool {
	return s.root >= 0 && dev == s.home && (mode == unix.S_IFREG || mode == unix.S_IFDIR)
}

// putToSleep gives the descriptor that the inode does not need any more; -1 if it keeps it. Caller holds t.mu.
func (t *inodeTable) putToSleep(n *inode) (fd int) {
	if n.handle != nil || t.awake() <= t.pressure.bedtime || !t.maySleep(n.real.Dev, n.mode) {
		return -1
	}
	h, err := handleOf(n.fd, "")
	if err != nil || h.mount != t.mount {
		return -1
	}
	fd = n.fd
	n.handle, n.fd = h, -1
	t.remains.drop(n.record)
	n.record = nil
	t.asleep++
	return fd
}

// reach opens the inode of a handle. ErrGone if it does not exist any more, or can't be had (exportfs_decode_fh says ESTALE of both).
func (t *inodeTable) reach(h *handleID, ino uint64) (int, error) {
	fd, err := h.open(t.root)
	if err == unix.ESTALE {
		return -1, lockmgr.ErrGone
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != ino { // it was replaced while it was entered
		unix.Close(fd)
		return -1, errors.Join(err, lockmgr.ErrGone)
	}
	return fd, nil
}

// isNamed reports whether an entry is the inode, though its handle can't be opened: then it is not gone.
func (t *inodeTable) isNamed(dir *inode, name string, real lockmgr.InodeID) bool {
	h, err := handleOf(dir.fd, name)
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.byReal[real]
	return err == nil && n != nil && n.handle != nil && h.equal(n.handle)
}

func (t *inodeTable) wakened(n *inode, fd int) {
	n.handle, n.fd = nil, fd
	t.asleep--
}

// wakeWith wakes the inode that a descriptor is of, if it sleeps, and gives its name, which is a new one if one that is gone is called
// so. Caller holds t.mu.
func (t *inodeTable) wakeWith(fd int, st *unix.Stat_t) lockmgr.InodeID {
	real := t.named(st)
	n := t.byReal[real]
	if n == nil || n.handle == nil {
		return real
	}
	if h, err := handleOf(fd, ""); err != nil || h.equal(n.handle) { // who can't be told apart keeps the lock
		t.wakened(n, fd)
		return real
	}
	plain := realID(st)
	t.reused[plain]++
	real.Generation = t.reused[plain]
	return real
}

// named is what the inode that has this number now is called. Caller holds t.mu.
func (t *inodeTable) named(st *unix.Stat_t) lockmgr.InodeID {
	real := realID(st)
	if len(t.reused) > 0 {
		real.Generation = t.reused[real]
	}
	return real
}

// id is what the inode that has this number now is called. To compare it with that of an inode that may sleep says something only once that
// is borrowed.
func (t *inodeTable) id(st *unix.Stat_t) lockmgr.InodeID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.named(st)
}

// dreamt is when an inode is dropped. Caller holds t.mu.
func (t *inodeTable) dreamt(n *inode) {
	if n.handle != nil {
		t.asleep--
	}
	plain := lockmgr.InodeID{Dev: n.real.Dev, Ino: n.real.Ino}
	last, reused := t.reused[plain]
	if !reused {
		return
	}
	for generation := range last + 1 {
		plain.Generation = generation
		if t.byReal[plain] != nil {
			return
		}
	}
	plain.Generation = 0
	delete(t.reused, plain)
}

// enterAsleep enters an inode that was not opened, by its handle, and keeps it until it is given back; nil if it is known already, or can't sleep.
func (t *inodeTable) enterAsleep(st *unix.Stat_t, h *handleID) *inode {
	mode := st.Mode & unix.S_IFMT
	if h == nil || h.mount != t.mount || !t.maySleep(uint64(st.Dev), mode) {
		return nil
	}
	ino := t.numbers.of(realID(st))
	t.mu.Lock()
	defer t.mu.Unlock()
	real := t.named(st)
	if t.byReal[real] != nil || t.lost[real] != nil {
		return nil
	}
	t.asleep++
	return t.enter(&inode{real: real, fd: -1, mode: mode, ino: ino, handle: h, lent: 1})
}
