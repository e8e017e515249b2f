package fsnode

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Create makes a file and opens it. For a lock's name and O_EXCL this is where grants
// are given.
func (fs *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if isControl(in.NodeId, name) {
		return fuse.EACCES
	}
	dir := fs.inodes.node(in.NodeId)
	if dir == nil {
		return fuse.EACCES
	}
	c := fs.caller(&in.InHeader)
	if st := fs.put(dir, c); !st.Ok() {
		return st
	}
	if !fs.Locks.Policy().IsLock(name) {
		defer fs.guarding(dir, name)
		return fs.createNew(dir, c, in, name, out)
	}
	if in.Flags&unix.O_EXCL != 0 {
		return fs.createLock(dir, c, in, name, out)
	}
	defer fs.guarding(dir, name)
	turn := fs.turnAt(dir, name, c)
	defer turn.End()
	if st := fs.makeWay(turn, c); !st.Ok() {
		return st
	}
	return fs.createNew(dir, c, in, name, out)
}

// createLock makes the lock if nobody holds it. The turn is held until the grant is entered.
func (fs *FS) createLock(dir *inode, c *caller, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	p, st := fs.grantee(c)
	if !st.Ok() {
		return st
	}
	h := &handle{}
	turn := fs.turnAt(dir, name, c)
	token, st := fs.winning(turn, p, func() (*inode, fuse.Status) {
		fd, err := fs.openNew(dir, in, name)
		if err != nil {
			return nil, status(err)
		}
		path, attr, err := fs.pathOf(fd)
		if err != nil { // nothing may stay that nobody was granted
			unix.Unlinkat(dir.fd, name, 0)
			unix.Close(fd)
			return nil, status(err)
		}
		h.fd, h.node = fd, fs.lockEntry(path, attr, &out.EntryOut)
		out.SetAttrTimeout(justMade)
		return h.node, fuse.OK
	}, true)
	if !st.Ok() && h.node != nil {
		fs.unmake(dir, name, h.node)
		unix.Close(h.fd)
	}
	turn.End()
	if !st.Ok() {
		return st
	}
	fs.guardLocked(dir, name)
	h.grant = &grant{key: dir.key(name), token: token, owner: p.Identity}
	out.Fh = fs.handles.add(h)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// justMade is how long the kernel may believe in the attributes of a lock that was made just now: everybody is shown times that say
// so, its owner too, and the kernel asks for them (may_open) before it says that it is made.
const justMade = 20 * time.Millisecond

// unmake takes back a lock that was made and can't be granted: the kernel is not told of it.
func (fs *FS) unmake(dir *inode, name string, n *inode) {
	if fs.childID(dir, name) == n.real {
		_ = UnlinkAny(dir.fd, name)
	}
	fs.inodes.takeBack(n)
}

// createNew makes what is granted to nobody.
func (fs *FS) createNew(dir *inode, c *caller, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if st := fs.guardName(dir, name, lockmgr.WriteCreate, c); !st.Ok() {
		return st
	}
	fd, err := fs.openNew(dir, in, name)
	if err != nil {
		return status(err)
	}
	return fs.answerNew(fd, name, c, in.Flags, out)
}

// answerNew answers with a file that was just made and is granted to nobody. It takes fd
// over. The file has no name if that is "".
func (fs *FS) answerNew(fd int, name string, c *caller, flags uint32, out *fuse.CreateOut) fuse.Status {
	path, st, err := fs.pathOf(fd)
	if err != nil {
		unix.Close(fd)
		return status(err)
	}
	h := &handle{fd: fd, node: fs.inodes.remember(path, st), opened: versionOf(st)}
	wanted, isLock := direct, fs.Locks.Policy().IsLock(name)
	if !isLock {
		fs.found(h.node, name)
		wanted = fs.writing(h, flags, c, st)
	}
	open, number := fs.enter(h, wanted, flags)
	if isLock {
		fs.answerLock(h.node, st, lockmgr.AsItIs, &out.EntryOut)
	} else {
		answer(h.node, st, fs.CacheTime, &out.EntryOut)
	}
	out.OpenFlags, out.BackingID = fuse.FOPEN_NOFLUSH|open, number
	out.Fh = fs.handles.add(h)
	return fuse.OK
}

func (fs *FS) openNew(dir *inode, in *fuse.CreateIn, name string) (fd int, err error) {
	flags := int(in.Flags)&^(unix.O_APPEND|unix.O_DIRECT) | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_CLOEXEC
	mode := fs.masked(dir, in.Mode, in.Umask) & 07777
	spare, err := fs.spare()
	if err != nil {
		return -1, err
	}
	defer unix.Close(spare)
	err = fs.asCaller(&in.InHeader, func() error {
		fd, err = retryFd(func() (int, error) { return unix.Openat(dir.fd, name, flags, mode) })
		return err
	})
	return fd, err
}

// pathOf gives an O_PATH descriptor of an open file, and its attributes.
func (fs *FS) pathOf(fd int) (path int, st *unix.Stat_t, err error) {
	st = new(unix.Stat_t)
	if err := unix.Fstat(fd, st); err != nil {
		return -1, nil, err
	}
	path, err = fs.reopen(fd, unix.O_PATH)
	return path, st, err
}

// makeWay takes out of the way of an act, that is granted to nobody, what the act was
// not shown.
func (fs *FS) makeWay(turn *lockmgr.Turn, c *caller) fuse.Status {
	o, err := turn.MakeWay(c.who(), false)
	if err != nil {
		return status(err)
	}
	if o.Refused() {
		return refusal(o)
	}
	return fuse.OK
}

// making does an act that brings an entry into being without a handle and fails if it
// exists, and answers with the entry. With a lock's name it is granted to the caller.
func (fs *FS) making(h *fuse.InHeader, name string, out *fuse.EntryOut, do func(dir *inode) error) fuse.Status {
	if isControl(h.NodeId, name) {
		return fuse.Status(unix.EEXIST)
	}
	dir := fs.inodes.node(h.NodeId)
	if dir == nil {
		return fuse.EACCES
	}
	c := fs.caller(h)
	if st := fs.put(dir, c); !st.Ok() {
		return st
	}
	if fs.Locks.Policy().IsLock(name) {
		return fs.makeLock(h, dir, c, name, out, do)
	}
	if st := fs.guardName(dir, name, lockmgr.WriteReplace, c); !st.Ok() {
		return st
	}
	fd, st, err := fs.makeEntry(h, dir, name, do)
	if err != nil {
		return status(err)
	}
	fs.found(fs.entry(fd, st, out), name)
	fs.guarding(dir, name)
	return fuse.OK
}

// makeEntry makes an entry and looks at it.
func (fs *FS) makeEntry(h *fuse.InHeader, dir *inode, name string, do func(dir *inode) error) (int, *unix.Stat_t, error) {
	spare, err := fs.spare()
	if err != nil {
		return -1, nil, err
	}
	err = fs.asCaller(h, func() error { return do(dir) })
	unix.Close(spare)
	if err != nil {
		return -1, nil, err
	}
	return statChild(dir, name)
}

func (fs *FS) makeLock(
	h *fuse.InHeader, dir *inode, c *caller, name string, out *fuse.EntryOut, do func(dir *inode) error,
) fuse.Status {
	p, st := fs.grantee(c)
	if !st.Ok() {
		return st
	}
	turn := fs.turnAt(dir, name, c)
	var made *inode
	_, st = fs.winning(turn, p, func() (*inode, fuse.Status) {
		fd, attr, err := fs.makeEntry(h, dir, name, do)
		if err != nil {
			return nil, status(err)
		}
		made = fs.lockEntry(fd, attr, out)
		return made, fuse.OK
	}, false)
	if !st.Ok() && made != nil {
		fs.unmake(dir, name, made)
	}
	turn.End()
	if st.Ok() {
		fs.guardLocked(dir, name)
	}
	return st
}

// Mkdir makes a directory.
func (fs *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.making(&in.InHeader, name, out, func(dir *inode) error {
		return unix.Mkdirat(dir.fd, name, fs.masked(dir, in.Mode, in.Umask)&07777)
	})
}

// Mknod makes a file, fifo, socket or device.
func (fs *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.making(&in.InHeader, name, out, func(dir *inode) error {
		return unix.Mknodat(dir.fd, name, fs.masked(dir, in.Mode, in.Umask), int(in.Rdev))
	})
}

// Symlink makes a symbolic link.
func (fs *FS) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return fs.making(h, name, out, func(dir *inode) error {
		return unix.Symlinkat(target, dir.fd, name)
	})
}

// Link gives an inode one more name, unless it is a lock that somebody else holds.
func (fs *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	n := fs.inodes.node(in.Oldnodeid)
	if n == nil {
		return fuse.EPERM
	}
	if st := fs.changing(n, fs.caller(&in.InHeader), func() fuse.Status { return fuse.OK }); !st.Ok() {
		return st
	}
	return fs.making(unowned(in.InHeader), name, out, func(dir *inode) error {
		err := linkat(fs, n, dir, name)
		if err == nil {
			fs.unpark(n.real)
		}
		return err
	})
}

func linkat(fs *FS, n, dir *inode, name string) error {
	if n.isSymlink() || fs.ForAll {
		return unix.Linkat(n.fd, "", dir.fd, name, unix.AT_EMPTY_PATH)
	}
	return unix.Linkat(fs.proc, n.link(), dir.fd, name, unix.AT_SYMLINK_FOLLOW)
}

// Tmpfile makes a file without a name.
func (fs *FS) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	dir := fs.inodes.node(in.NodeId)
	if dir == nil {
		return fuse.EACCES
	}
	var fd int
	// The path to the directory is itself a link, so O_NOFOLLOW would refuse it.
	flags := int(in.Flags)&^(unix.O_CREAT|unix.O_APPEND|unix.O_DIRECT|unix.O_NOFOLLOW) | unix.O_TMPFILE | unix.O_CLOEXEC
	mode := fs.masked(dir, in.Mode, in.Umask) & 07777
	err := fs.asCaller(&in.InHeader, func() (err error) {
		fd, err = retryFd(func() (int, error) { return unix.Openat(fs.proc, dir.link(), flags, mode) })
		return err
	})
	if err != nil {
		return status(err)
	}
	return fs.answerNew(fd, "", fs.caller(&in.InHeader), in.Flags, out)
}
