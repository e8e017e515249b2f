package fsnode

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Remains is what a server leaves behind when it dies, however it dies: memory that it shares with a process that does
// not die with it (mount.Holder). It holds the kernel's request to begin (INIT), what the kernel refers to by number, and
// what each request under way is about (running.go). A store to it costs no system call, so it can be kept up to date.
//
// Every record is written by one thread at a time: an inode's under inodeTable.mu, a request's by the reader that
// serves it. A thread may be killed between any two stores; each record says by one of its fields, stored last, that
// the others hold.
type Remains struct {
	head  *remainsHead
	nodes []nodeRecord
	runs  []running

	mu   sync.Mutex // guards free and used
	free []uint32   // nodes given back
	used uint32     // nodes ever taken
}

const (
	remainsMagic   = 0x73_6c_66_73_01_00_00_07 // "slfs", and the version of what follows
	maxNodes       = 1 << 21                   // more inodes than there can be descriptors; memory is taken as it is touched
	maxRunning     = 1 << 12                   // requests; of one more nothing is kept
	maxInitRequest = 256
)

// remainsHead is how the memory begins.
type remainsHead struct {
	magic    uint64
	initSize uint32 // of the request to begin; 0 until that is answered
	_        uint32
	init     [maxInitRequest]byte
	lastNode uint64 // no node or handle above was ever given
	lastFh   uint64
	used     uint32 // nodes ever taken
	_        uint32
	taken    uint64 // requests ever taken
	denies   uint32 // writes may be refused; what was opened before that was so can't be kept from writing
	_        uint32
	vacant   durations // for how long nobody served, each time that a server took over
}

// nodeRecord is an inode that the kernel refers to.
type nodeRecord struct {
	id       uint64 // 0 if there is none
	dev, ino uint64
	seen     uint64 // the number it is seen under
	lookups  uint64
	mode     uint32
	place    uint32 // odd while dir and name change
	passage  int32  // the kernel's number for the file while it reads and writes it itself; 0 for none
	listed   uint32 // how many of lookups the answer to one request to list gave
	lister   uint64 // the number of that request
	answered int64  // when the kernel was last given a reference: Unix time, milliseconds
	dir      uint64 // node of a directory that it is in, and under which name; 0 if that can't be told
	name     shortName
}

func (rec *nodeRecord) real() lockmgr.InodeID { return lockmgr.InodeID{Dev: rec.dev, Ino: rec.ino} }

// shortName is the name of an entry: NAME_MAX bytes at most.
type shortName struct {
	size uint8
	text [255]byte
}

func (n *shortName) set(name string) { n.size = uint8(copy(n.text[:], name)) }
func (n *shortName) String() string  { return string(n.text[:n.size]) }

const remainsSize = unsafe.Sizeof(remainsHead{}) + maxNodes*unsafe.Sizeof(nodeRecord{}) + maxRunning*unsafe.Sizeof(running{})

// NewRemains makes the memory of a mount, which lasts as long as somebody has the file or has it mapped.
func NewRemains() (*os.File, error) {
	fd, err := unix.MemfdCreate("sessionlockfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory to share: %w", err)
	}
	f := os.NewFile(uintptr(fd), "remains")
	if err := f.Truncate(int64(remainsSize)); err != nil {
		f.Close()
		return nil, fmt.Errorf("memory to share: %w", err)
	}
	return f, nil
}

// ErrRemains says that what an earlier server left can't be understood.
var ErrRemains = errors.New("the state that the server before left is that of another version")

// MapRemains maps the memory. The mapping lasts as long as the process.
func MapRemains(f *os.File) (*Remains, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, int(remainsSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the shared memory: %w", err)
	}
	base := unsafe.Pointer(&mem[0])
	r := &Remains{head: (*remainsHead)(base)}
	after := unsafe.Add(base, unsafe.Sizeof(remainsHead{}))
	r.nodes = unsafe.Slice((*nodeRecord)(after), maxNodes)
	after = unsafe.Add(after, maxNodes*unsafe.Sizeof(nodeRecord{}))
	r.runs = unsafe.Slice((*running)(after), maxRunning)
	switch r.head.magic {
	case 0:
		r.head.magic = remainsMagic
	case remainsMagic:
	default:
		return nil, ErrRemains
	}
	return r, nil
}

// Began reports whether a server has answered the kernel's request to begin, and gives it.
func (r *Remains) Began() (init []byte, yes bool) {
	n := atomic.LoadUint32(&r.head.initSize)
	return r.head.init[:min(n, maxInitRequest)], n > 0
}

// Begin keeps that request, before it is answered.
func (r *Remains) Begin(init []byte) error {
	if len(init) > maxInitRequest {
		return fmt.Errorf("the kernel's first request has %d bytes", len(init))
	}
	copy(r.head.init[:], init)
	atomic.StoreUint32(&r.head.initSize, uint32(len(init)))
	return nil
}

// Taken counts the requests that servers took.
type Taken struct{ count *uint64 }

// MapTaken maps the count of a mount's memory. The mapping lasts as long as the process.
func MapTaken(f *os.File) (Taken, error) {
	head := int(unsafe.Sizeof(remainsHead{}))
	mem, err := unix.Mmap(int(f.Fd()), 0, head, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return Taken{}, fmt.Errorf("map the shared memory: %w", err)
	}
	return Taken{&(*remainsHead)(unsafe.Pointer(&mem[0])).taken}, nil
}

// Took counts a request, before anything is done about it.
func (r *Remains) Took() { atomic.AddUint64(&r.head.taken, 1) }

// Load is how many there were.
func (t Taken) Load() uint64 { return atomic.LoadUint64(t.count) }

// Denies reports whether writes may be refused since the mount began; SetDenies says so, at the beginning, or that it is not so any more.
func (r *Remains) Denies() bool { return atomic.LoadUint32(&r.head.denies) != 0 }

// SetDenies is described with Denies.
func (r *Remains) SetDenies(is bool) {
	n := uint32(0)
	if is {
		n = 1
	}
	atomic.StoreUint32(&r.head.denies, n)
}

// TookOver counts that a server takes over from one that ended so long ago.
func (r *Remains) TookOver(vacant time.Duration) { r.head.vacant.add(&vacancyBounds, vacant) }

// gave keeps that a handle's number is used up.
func (r *Remains) gave(fh uint64) {
	for last := atomic.LoadUint64(&r.head.lastFh); fh > last; last = atomic.LoadUint64(&r.head.lastFh) {
		if atomic.CompareAndSwapUint64(&r.head.lastFh, last, fh) {
			return
		}
	}
}

// take gives a free node record; nil if there is none.
func (r *Remains) take() *nodeRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free); n > 0 {
		slot := r.free[n-1]
		r.free = r.free[:n-1]
		return &r.nodes[slot]
	}
	if r.used == maxNodes {
		return nil
	}
	r.used++
	atomic.StoreUint32(&r.head.used, r.used)
	return &r.nodes[r.used-1]
}

// keep makes a record of an inode that the kernel may come to refer to.
func (r *Remains) keep(n *inode) *nodeRecord {
	rec := r.take()
	if rec == nil {
		return nil
	}
	rec.dev, rec.ino, rec.seen, rec.mode = n.real.Dev, n.real.Ino, n.ino, n.mode
	rec.lookups, rec.dir, rec.place, rec.passage, rec.listed, rec.lister = 0, 0, 0, 0, 0, 0
	if n.id > atomic.LoadUint64(&r.head.lastNode) { // inodeTable.mu is taken
		atomic.StoreUint64(&r.head.lastNode, n.id)
	}
	atomic.StoreUint64(&rec.id, n.id)
	return rec
}

// drop ends a record.
func (r *Remains) drop(rec *nodeRecord) {
	if rec == nil {
		return
	}
	atomic.StoreUint64(&rec.id, 0)
	slot := (uintptr(unsafe.Pointer(rec)) - uintptr(unsafe.Pointer(&r.nodes[0]))) / unsafe.Sizeof(nodeRecord{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, uint32(slot))
}

// answer counts a reference that the kernel is about to have. Caller holds inodeTable.mu.
func (rec *nodeRecord) answer(dir uint64, name string) {
	rec.lookups++
	rec.answered = time.Now().UnixMilli()
	if name != "" {
		rec.move(dir, name)
	}
}

// countListed says that the last reference was given by a request to list. It is said when that is counted: whoever is killed in between leaves
// one too many, and never too few. Caller holds inodeTable.mu.
func (rec *nodeRecord) countListed(unique uint64) {
	if rec.lister != unique {
		rec.listed = 0
		atomic.StoreUint64(&rec.lister, unique)
	}
	atomic.AddUint32(&rec.listed, 1)
}

// unlist takes back what a request gave that was not answered. Who dies at it leaves too many.
func (rec *nodeRecord) unlist(unanswered map[uint64]bool) {
	if listed := uint64(rec.listed); unanswered[rec.lister] {
		rec.listed = 0
		rec.lookups -= min(listed, rec.lookups)
	}
}

// move tells where an inode is found. Caller holds inodeTable.mu.
func (rec *nodeRecord) move(dir uint64, name string) {
	if rec == nil || rec.dir == dir && rec.name.String() == name {
		return
	}
	moving := rec.place | 1
	atomic.StoreUint32(&rec.place, moving)
	rec.dir = dir
	rec.name.set(name)
	atomic.StoreUint32(&rec.place, moving+1)
}

// where is what move told last.
func (rec *nodeRecord) where() (dir uint64, name string, ok bool) {
	if rec.dir == 0 || rec.place&1 != 0 {
		return 0, "", false
	}
	return rec.dir, rec.name.String(), true
}

// mayBe reports whether an inode of the record's number, which was not found where the record says, can be the record's own, and is not a later one: that
// was born after the kernel was last given a reference to this one, when this one was there. Where the file system does not know when, only the type
// can tell. Where the clock was set back, or is another machine's, it may say no too often: then the kernel is given another node.
func (rec *nodeRecord) mayBe(fd int, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT != rec.mode {
		return false
	}
	var about unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BTIME, &about) != nil || about.Mask&unix.STATX_BTIME == 0 {
		return true
	}
	return time.Unix(about.Btime.Sec, int64(about.Btime.Nsec)).UnixMilli() <= rec.answered
}

// left are the nodes that an earlier server left, which is dead by now; the others are free.
func (r *Remains) left() (records []*nodeRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used = min(atomic.LoadUint32(&r.head.used), maxNodes)
	for i := range r.nodes[:r.used] {
		if r.nodes[i].id != 0 {
			records = append(records, &r.nodes[i])
		} else {
			r.free = append(r.free, uint32(i))
		}
	}
	return records
}
