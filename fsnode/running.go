package fsnode

import (
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// running is what a later server finds of a request that was under way when this one died. The kernel sends
// such a request again; what it asks for may be done, or not, or half. Nearly everything can be done twice; what can't is
// told apart by how things were before (settle.go).
//
// Between before and the answer nobody else changes the entry: the kernel holds the directory while the request is pending.
type running struct {
	unique uint64 // of the request; 0 if there is none
	op     uint32
	phase  uint32
	begun  int64  // of one that makes or removes an entry: Unix time, nanoseconds
	node   uint64 // the answer gives the kernel a reference to it, which is counted
	fh     uint64 // the answer gives it to the kernel

	dir, to            uint64 // nodes: of directories, or to is what a link is made to
	entry, target      shortName
	was, targetWas     identity
	size, length, mode int64
}

// The phases.
const (
	acting    = iota
	answering // the answer is made, and may be out
)

// identity tells entries apart, also those that have the same number one after the other.
type identity struct {
	dev, ino uint64 // zero if there is no entry
	born     int64  // nanoseconds; 0 where the file system does not know
	size     int64
	mode     uint32
	links    uint32
}

func (i *identity) there() bool { return i.ino != 0 }

func (i *identity) same(j *identity) bool {
	return i.dev == j.dev && i.ino == j.ino && i.born == j.born
}

// identify looks at an entry.
func identify(dir *inode, name string) (i identity) {
	var st unix.Statx_t
	const mask = unix.STATX_INO | unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_SIZE | unix.STATX_NLINK | unix.STATX_BTIME
	if unix.Statx(dir.fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mask, &st) != nil {
		return i
	}
	i = identity{
		dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino, size: int64(st.Size), mode: uint32(st.Mode), links: st.Nlink,
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		i.born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return i
}

// place finds the record of a request: its own, or a free one.
func (r *Remains) place(unique uint64) *running {
	const step = 2 // the kernel counts requests in steps of FUSE_REQ_ID_STEP
	for i := range uint64(maxRunning) {
		run := &r.runs[(unique/step+i)%maxRunning]
		if atomic.CompareAndSwapUint64(&run.unique, 0, unique) {
			return run
		}
	}
	return nil
}

// under are the requests that were under way when the server before died.
func (r *Remains) under() (runs []*running) {
	for i := range r.runs {
		if r.runs[i].unique != 0 {
			runs = append(runs, &r.runs[i])
		}
	}
	return runs
}

func (run *running) end() {
	run.op = 0
	run.node, run.fh = 0, 0
	atomic.StoreUint64(&run.unique, 0)
}

// Begin keeps how things are before a request is served. The answer is told to Answering before it is sent, and when it is
// sent the request is ended with End.
func (fs *FS) Begin(r Request) *running {
	run := fs.Remains.place(r.Unique())
	if run == nil {
		return nil
	}
	run.phase, run.node, run.fh = acting, 0, 0
	if before := beforehand[r.header().Opcode&63]; before != nil {
		before(fs, r, run)
	}
	atomic.StoreUint32(&run.op, r.header().Opcode)
	return run
}

// beforehand is what there is to know of the operations that can't be done twice.
var beforehand = [64]func(*FS, Request, *running){
	opCreate: (*FS).beforeEntry, opMkdir: (*FS).beforeEntry, opMknod: (*FS).beforeEntry, opSymlink: (*FS).beforeEntry,
	opLink: (*FS).beforeEntry, opUnlink: (*FS).beforeEntry, opRmdir: (*FS).beforeEntry,
	opRename: (*FS).beforeRename, opRename2: (*FS).beforeRename,
	opSetxattr: (*FS).beforeAttribute, opRemovexattr: (*FS).beforeAttribute,
	opWrite: (*FS).beforeWrite, opFallocate: (*FS).beforeFallocate,
}

func (fs *FS) beforeEntry(r Request, run *running) {
	name := r.entry()
	run.begun = time.Now().UnixNano()
	run.dir, run.was = r.header().NodeId, identity{}
	run.to = r.other() // what a link is to
	run.entry.set(name)
	if dir := fs.inodes.node(run.dir); dir != nil {
		run.was = identify(dir, name)
	}
}

func (fs *FS) beforeRename(r Request, run *running) {
	to, flags, old, new := r.renaming()
	run.dir, run.to, run.mode = r.header().NodeId, to, int64(flags)
	run.entry.set(old)
	run.target.set(new)
	run.was, run.targetWas = identity{}, identity{}
	if dir := fs.inodes.node(run.dir); dir != nil {
		run.was = identify(dir, old)
	}
	if dir := fs.inodes.node(run.to); dir != nil {
		run.targetWas = identify(dir, new)
	}
}

// beforeWrite keeps where a write that appends begins. Others have their place.
func (fs *FS) beforeWrite(r Request, run *running) {
	in := as[fuse.WriteIn](r)
	run.length = 0
	if in == nil || in.Flags&unix.O_APPEND == 0 || in.WriteFlags&fuse.WRITE_CACHE != 0 {
		return
	}
	if h := fs.handles.real(in.Fh); h != nil {
		run.size, run.length = sizeOf(h.fd), int64(in.Size)
	}
}

// beforeFallocate keeps the size, which tells whether a range was cut out or put in.
func (fs *FS) beforeFallocate(r Request, run *running) {
	in := as[fuse.FallocateIn](r)
	run.length = 0
	if in == nil || in.Mode&(unix.FALLOC_FL_COLLAPSE_RANGE|unix.FALLOC_FL_INSERT_RANGE) == 0 {
		return
	}
	if h := fs.handles.real(in.Fh); h != nil {
		run.size, run.length = sizeOf(h.fd), int64(in.Length)
	}
}

func sizeOf(fd int) int64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return -1
	}
	return st.Size
}

// Answering keeps what an answer gives to the kernel: it must be kept before the kernel has it.
func (fs *FS) Answering(r Request, run *running, answer []byte) {
	out, op := response(answer), r.header().Opcode
	node, fh := out.gives(op)
	if node >= firstNode {
		fs.inodes.answered(node, r.header().NodeId, r.entry())
		if run != nil {
			run.node = node
		}
	}
	if fh != 0 {
		fs.Remains.gave(fh)
		if run != nil {
			run.fh = fh
		}
		fs.handles.keep(fh, fs.Keeper)
	}
	switch op {
	case opReaddirplus:
		for node, name := range out.lookedUp() {
			fs.inodes.listed(node, r.header().NodeId, name, r.Unique())
		}
	case opRename, opRename2:
		if out.ok() {
			fs.renamed(r)
		}
	case opFlush:
		if in := as[fuse.FlushIn](r); in != nil && fs.handles.isGrant(in.Fh) {
			fs.handles.keep(in.Fh, fs.Keeper)
		}
	}
	if fh, closes := r.Closes(); closes {
		fs.Keeper.Drop(fh)
	}
	if run != nil {
		atomic.StoreUint32(&run.phase, answering)
	}
}

// End says that the answer is out.
func (fs *FS) End(run *running) {
	if run != nil {
		run.end()
	}
}

// renamed keeps where what was renamed is found now.
func (fs *FS) renamed(r Request) {
	to, flags, old, new := r.renaming()
	from := r.header().NodeId
	fs.followed(to, new)
	if flags&unix.RENAME_EXCHANGE != 0 {
		fs.followed(from, old)
	}
}

func (fs *FS) followed(dir uint64, name string) {
	if n := fs.inodes.node(dir); n != nil {
		fs.inodes.moved(fs.childID(n, name), dir, name)
	}
}
