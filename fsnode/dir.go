package fsnode

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// dirStream lists a directory. Its offsets are those of the real file system, so a
// cookie stays valid as long as it does there.
type dirStream struct {
	mu      sync.Mutex // guards the rest; lockmgr is asked with it taken, and inodeTable.mu is taken in it
	fd      int
	dev     uint64 // device of the directory
	numbers *numbering
	buf     []byte
	entries []fuse.DirEntry // read and not handed out yet
	next    uint64          // offset at which entries start
	watched reply           // whether who opened the directory watches it
}

// reply is that to a question which is asked only if it matters.
type reply uint8

const (
	unasked reply = iota
	yes
	no
)

// OpenDir opens a directory for listing.
func (fs *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := fs.inodes.node(in.NodeId)
	if n == nil {
		return fuse.OK // the control directory lists nothing
	}
	fd, err := fs.open(n, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return status(err)
	}
	s := &dirStream{fd: fd, dev: n.real.Dev, numbers: fs.inodes.numbers}
	if fs.Locks.TracksIn(n.real) { // here nobody waits for us but the caller; a listing holds the directory up
		s.watches(func() bool { return fs.watches(fs.caller(&in.InHeader).who(), n) })
	}
	out.Fh = fs.handles.add(&handle{fd: fd, node: n, dir: s})
	return fuse.OK
}

// ReadDir lists a directory: of the locks, those that are held show to their owners and
// to who watches the directory, and those that are on their way out to nobody.
func (fs *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.listing(in, func(_ *handle, e *fuse.DirEntry) bool { return out.AddDirEntry(*e) })
}

// ReadDirPlus is ReadDir, and looks the entries up as well, which saves who asks about each of them as many questions. The kernel could be left to judge
// whether that is worth it (READDIRPLUS_AUTO): then it is only for the first few of a big directory, and `find -ls` of 10,000 files takes five times as long.
func (fs *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.listing(in, func(h *handle, e *fuse.DirEntry) bool {
		entry := out.AddDirLookupEntry(*e)
		if entry != nil {
			fs.lookUpListed(h.node, e, entry)
		}
		return entry != nil
	})
}

// lookUpListed is Lookup for an entry that is being listed. A zero entry tells nothing of it.
func (fs *FS) lookUpListed(dir *inode, e *fuse.DirEntry, out *fuse.EntryOut) {
	if !fs.worthLookingUp(dir, e) {
		return
	}
	var st unix.Stat_t
	fd, err := fs.pressure.try(func() (int, error) { return unix.Openat2(dir.fd, e.Name, &onThisMount) })
	if err != nil {
		return
	}
	if unix.Fstat(fd, &st) != nil || fs.Locks.KnowsInode(fs.inodes.id(&st)) {
		unix.Close(fd)
		return
	}
	n := fs.inodes.remember(fd, &st)
	before := n.told.get()
	answer(n, &st, fs.CacheTime, out)
	if now := versionOf(&st); before != (version{}) && before != nothing && before != now {
		n.told.set(version{}) // the kernel does not believe us if it asks for the attributes before the whole listing is out
	}
	fs.found(n, e.Name)
}

// onThisMount opens an entry as statChild does, unless something is mounted there: that may be away, and a listing does not wait for it.
var onThisMount = unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV}

// worthLookingUp reports whether an entry is to be looked up while it is listed: what the kernel was told just now it knows, locks look
// different to everybody, and descriptors may run short.
func (fs *FS) worthLookingUp(dir *inode, e *fuse.DirEntry) bool {
	switch {
	case e.Name == "." || e.Name == ".." || fs.Locks.Policy().IsLock(e.Name):
	case fs.CacheTime == 0 || !fs.inodes.isAtHome(dir):
	case fs.pressure.useless.Load() || fs.inodes.crowded():
	case fs.inodes.toldWithin(fs.CacheTime/2, lockmgr.InodeID{Dev: dir.real.Dev, Ino: e.Ino}):
	default:
		return true
	}
	return false
}

// listing adds what shows of a directory to an answer, from the offset on that is asked for until add says that there is no room.
func (fs *FS) listing(in *fuse.ReadIn, add func(h *handle, e *fuse.DirEntry) bool) fuse.Status {
	h := fs.handles.file(in.Fh)
	if h == nil || h.dir == nil {
		return fuse.OK
	}
	listed := func(string) bool { return true }
	if fs.Locks.TracksIn(h.node.real) {
		who := fs.caller(&in.InHeader).who()
		listed = func(name string) bool { return fs.lists(h, name, who) }
	}
	if h.node.id == fuse.FUSE_ROOT_ID {
		others := listed
		listed = func(name string) bool { return name != ControlDir && others(name) } // there may be a real one (ledger.go)
	}
	return status(h.dir.list(in.Offset, listed, func(e *fuse.DirEntry) bool { return add(h, e) }))
}

// lists reports whether a name shows to who lists its directory.
func (fs *FS) lists(h *handle, name string, who lockmgr.Identity) bool {
	if !fs.Locks.Policy().IsLock(name) {
		return true
	}
	switch fs.Locks.Listed(h.node.key(name), who) {
	case lockmgr.Shown:
		return true
	case lockmgr.Withheld:
		return h.dir.watches(func() bool { return fs.watches(who, h.node) })
	}
	return false
}

// watches asks once, when the directory is opened or, if there was no lock in it then, when
// one is met. Caller holds s.mu, or has the stream alone.
func (s *dirStream) watches(ask func() bool) bool {
	if s.watched == unasked {
		s.watched = no
		if ask() {
			s.watched = yes
		}
	}
	return s.watched == yes
}

// watches reports whether a process watches a directory through the mount: then it lists
// the directory to find out what an event was about.
func (fs *FS) watches(who lockmgr.Identity, dir *inode) bool {
	dev := fs.reaping.device()
	return dev != 0 && who.Known() && fs.Callers.Watches(who, dev, dir.ino)
}

// list adds entries from offset on until there is no room or there are no more. It fails only if none was added: those may have been looked up.
func (s *dirStream) list(offset uint64, listed func(string) bool, add func(*fuse.DirEntry) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset != s.next || offset == 0 {
		if _, err := unix.Seek(s.fd, int64(offset), unix.SEEK_SET); err != nil {
			return err
		}
		s.entries, s.next = nil, offset
	}
	added := false
	for {
		for len(s.entries) > 0 {
			e := &s.entries[0]
			if listed(e.Name) {
				if !add(e) {
					return nil
				}
				added = true
			}
			s.next, s.entries = e.Off, s.entries[1:]
		}
		more, err := s.fill()
		if err != nil && added {
			return nil
		}
		if err != nil || !more {
			return err
		}
	}
}

// dirBuffer is how much of a directory is read at once, in bytes.
const dirBuffer = 32 << 10

func (s *dirStream) fill() (more bool, err error) {
	if s.buf == nil {
		s.buf = make([]byte, dirBuffer)
	}
	n, err := retryFd(func() (int, error) { return unix.Getdents(s.fd, s.buf) })
	if err != nil || n == 0 {
		return false, err
	}
	for rest := s.buf[:n]; len(rest) > 0; {
		var e fuse.DirEntry
		rest = rest[e.Parse(rest):]
		e.Ino = s.number(&e)
		s.entries = append(s.entries, e)
	}
	return true, nil
}

// mountRootFlags don't wait for a server that is away.
const mountRootFlags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC

// number is what a stat of the entry says: of a mount point, it is the number of what is mounted there. Only
// directories are looked at for that.
func (s *dirStream) number(e *fuse.DirEntry) uint64 {
	real := lockmgr.InodeID{Dev: s.dev, Ino: e.Ino}
	if e.Mode == unix.S_IFDIR && e.Name != "." && e.Name != ".." {
		var st unix.Statx_t
		err := unix.Statx(s.fd, e.Name, mountRootFlags, unix.STATX_INO, &st)
		if err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			real = lockmgr.InodeID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
		}
	}
	return s.numbers.of(real)
}

// ReleaseDir is the last close of a directory.
func (fs *FS) ReleaseDir(in *fuse.ReleaseIn) {
	if h := fs.handles.remove(in.Fh); h != nil && h.node != nil {
		unix.Close(h.fd)
		fs.pressure.gaveBack()
	}
}

// FsyncDir brings a directory to the disk.
func (fs *FS) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.Fsync(nil, in)
}
