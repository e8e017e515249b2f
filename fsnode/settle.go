package fsnode

import (
	"bytes"
	"encoding/binary"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// settle looks at what became of a request that an earlier server took and did not answer. What brings
// an entry into being is taken back if it was done, and served anew: nobody can have seen it, since the kernel held the
// directory all the time. What removes or moves an entry can't be taken back; if it was done, settle gives the
// answer. Everything else is nil, and is served as if it were new.
func (fs *FS) settle(run *running, r Request) (answer []byte) {
	fs.takeBack(run)
	switch run.op {
	case opUnlink, opRmdir:
		if now := fs.now(run.dir, &run.entry); run.was.there() && !now.same(&run.was) {
			return Answer(r, fuse.OK)
		}
	case opRename, opRename2:
		return fs.settleRename(run, r)
	case opWrite:
		return fs.settleWrite(run, r)
	case opFallocate:
		return fs.settleFallocate(run, r)
	case opSetxattr, opRemovexattr:
		return fs.settleAttribute(run, r)
	}
	return nil
}

// settleRename answers for one that was done. One that may have been granted to its caller is taken back, and granted
// when it is served anew.
func (fs *FS) settleRename(run *running, r Request) []byte {
	now := fs.now(run.to, &run.target)
	if !run.was.there() || !now.same(&run.was) || run.targetWas.same(&run.was) {
		return nil
	}
	if run.mode&unix.RENAME_NOREPLACE != 0 {
		from, to := fs.inodes.node(run.dir), fs.inodes.node(run.to)
		if from == nil || to == nil {
			return nil
		}
		err := unix.Renameat2(to.fd, run.target.String(), from.fd, run.entry.String(), unix.RENAME_NOREPLACE)
		if err == nil {
			return nil
		}
	}
	fs.renamed(r)
	fs.findAll()
	return Answer(r, fuse.OK)
}

// now looks at an entry as it is.
func (fs *FS) now(dir uint64, name *shortName) (i identity) {
	if n := fs.inodes.node(dir); n != nil && name.size > 0 {
		i = identify(n, name.String())
	}
	return i
}

// bornBefore is how much earlier than we looked at the clock the file system may say that a file was made: its clock
// is a coarse one.
const bornBefore = time.Second

// makes reports whether the request brings an entry into being: only then is it known which, and how that was before.
func (run *running) makes() bool {
	switch run.op {
	case opCreate, opMkdir, opMknod, opSymlink, opLink:
		return true
	}
	return false
}

// takeBack removes an entry that the request made, and only such: it was not there before, it is new, and it holds nothing.
func (fs *FS) takeBack(run *running) {
	if !run.makes() {
		return
	}
	now := fs.now(run.dir, &run.entry)
	if !now.there() || now.same(&run.was) {
		return
	}
	flags := 0
	switch kind := now.mode & unix.S_IFMT; {
	case run.op == opLink && now.links < 2:
		fs.takeBackFirst(run, &now)
		return
	case run.op == opLink:
	case now.born != 0 && now.born < run.begun-int64(bornBefore):
		return
	case kind == unix.S_IFDIR: // which must be empty
		flags = unix.AT_REMOVEDIR
	case kind == unix.S_IFREG && (now.size > 0 || now.links > 1):
		return
	}
	if n := fs.inodes.node(run.dir); n != nil {
		err := unix.Unlinkat(n.fd, run.entry.String(), flags)
		fs.Log.Debug().Err(err).Str("entry", run.entry.String()).Msg("what was made and not answered is taken back")
	}
}

// takeBackFirst is takeBack for the only name of a file, if it is the one that was linked.
func (fs *FS) takeBackFirst(run *running, now *identity) {
	n, linked := fs.inodes.node(run.dir), fs.inodes.node(run.to)
	if n != nil && linked != nil && linked.real == (lockmgr.InodeID{Dev: now.dev, Ino: now.ino}) {
		err := fs.park(n, run.entry.String())
		fs.Log.Debug().Err(err).Str("entry", run.entry.String()).Msg("what was linked and not answered is taken back")
	}
}

// settleWrite answers for an append that was done, and takes back half of one.
func (fs *FS) settleWrite(run *running, r Request) []byte {
	in := as[fuse.WriteIn](r)
	if in == nil || run.length == 0 || run.size < 0 {
		return nil
	}
	h := fs.handles.real(in.Fh)
	if h == nil {
		return nil
	}
	data := r[unsafe.Sizeof(*in):]
	written := min(sizeOf(h.fd)-run.size, int64(len(data)))
	if written <= 0 || !fs.holds(h, run.size, data[:written]) {
		return nil
	}
	if written == int64(len(data)) {
		return Answer(r, fuse.OK, binary.NativeEndian.AppendUint64(nil, uint64(written))...)
	}
	_ = unix.Ftruncate(h.fd, run.size)
	return nil
}

// holds reports whether a file has these bytes at a place. The handle itself may be for writing only.
func (fs *FS) holds(h *handle, offset int64, want []byte) bool {
	fd, err := fs.open(h.node, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return true // its owner may not read it; the size says what it can
	}
	defer unix.Close(fd)
	got := make([]byte, len(want))
	n, err := unix.Pread(fd, got, offset)
	return err == nil && n == len(want) && bytes.Equal(got, want)
}

func (fs *FS) settleFallocate(run *running, r Request) []byte {
	in := as[fuse.FallocateIn](r)
	if in == nil || run.length == 0 {
		return nil
	}
	if h := fs.handles.real(in.Fh); h != nil && sizeOf(h.fd) != run.size {
		return Answer(r, fuse.OK)
	}
	return nil
}

// attribute is the name of the attribute that a request sets or removes, and whether setting it must make it.
func (fs *FS) attribute(r Request) (name string, makes bool) {
	fixed := inHeaderSize
	if r.header().Opcode == opSetxattr {
		if len(r) < inHeaderSize+8 {
			return "", false
		}
		makes = binary.NativeEndian.Uint32(r[inHeaderSize+4:])&unix.XATTR_CREATE != 0
		fixed += fs.setxattrSize
	}
	name, _ = r.names(fixed)
	return name, makes
}

// beforeAttribute keeps whether an attribute that is to be made or removed is there.
func (fs *FS) beforeAttribute(r Request, run *running) {
	run.length = 0
	name, makes := fs.attribute(r)
	if makes || r.header().Opcode == opRemovexattr {
		run.length, run.mode = 1, fs.hasAttribute(r.header().NodeId, name)
	}
}

func (fs *FS) settleAttribute(run *running, r Request) []byte {
	if run.length == 0 {
		return nil
	}
	name, _ := fs.attribute(r)
	if now := fs.hasAttribute(r.header().NodeId, name); now >= 0 && run.mode >= 0 && now != run.mode {
		return Answer(r, fuse.OK)
	}
	return nil
}

// hasAttribute is 1 for yes, 0 for no, and negative if it can't be told.
func (fs *FS) hasAttribute(node uint64, name string) int64 {
	n := fs.inodes.node(node)
	if n == nil {
		return -1
	}
	path, err := fs.attrPath(n)
	if err != nil {
		return -1
	}
	defer path.close()
	switch _, err := path.get(name, nil); err {
	case nil:
		return 1
	case unix.ENODATA:
		return 0
	}
	return -1
}
