package fsnode

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// inode is what the kernel knows by a node id: an inode of the real file system, held
// by an O_PATH descriptor, so that its number can't be used again meanwhile. One that only the law knows may
// sleep (asleep.go): then it has no descriptor.
type inode struct {
	id   uint64 // node id
	real lockmgr.InodeID
	fd   int    // O_PATH; -1 while it sleeps
	mode uint32 // file type bits
	ino  uint64 // the number it is seen under

	deniable atomic.Bool // it had a name whose writes may be refused (guard.go)
	told     told
	passage  passage

	record  *nodeRecord // what a later server finds of it, nil if the kernel never referred to it; guarded by inodeTable.mu
	lookups uint64      // how many references the kernel has; guarded by inodeTable.mu
	used    uint64      // when it was last looked up, by inodeTable.clock; guarded by inodeTable.mu
	lent    int32       // how many references we have for the moment; guarded by inodeTable.mu
	pins    int32       // how many references the law has; guarded by inodeTable.mu
	handle  *handleID   // of one that sleeps; guarded by inodeTable.mu
}

// link is the inode's name in /proc/self/fd.
func (n *inode) link() string { return strconv.Itoa(n.fd) }

func (n *inode) isSymlink() bool { return n.mode&unix.S_IFMT == unix.S_IFLNK }

// key names an entry of this directory.
func (n *inode) key(name string) lockmgr.Key { return lockmgr.Key{Dir: n.real, Name: name} }

// inodeTable knows every inode in use. mu guards the maps and the counts, is held for
// map operations, to put an inode to sleep, and to tell one of an earlier server from a later one, and nothing is locked inside it.
type inodeTable struct {
	mu       sync.RWMutex
	numbers  *numbering
	pressure *pressure
	remains  *Remains

	byNode map[uint64]*inode
	byReal map[lockmgr.InodeID]*inode
	pins   map[lockmgr.InodeID]int32       // how many references the law has to what is not here yet
	lost   map[lockmgr.InodeID]*nodeRecord // inodes of an earlier server that were not found again
	gone   map[uint64]*nodeRecord          // the same by node, and those whose number is another one's by now
	last   uint64                          // the last node id given
	clock  uint64                          // counts references
	ended  uint64                          // counts inodes that are not in use any more

	sleep
}

func newInodeTable(numbers *numbering, pressure *pressure, remains *Remains, sleep sleep) *inodeTable {
	return &inodeTable{
		numbers: numbers, pressure: pressure, remains: remains,
		byNode: map[uint64]*inode{},
		byReal: map[lockmgr.InodeID]*inode{},
		pins:   map[lockmgr.InodeID]int32{},
		last:   firstNode - 1,
		lost:   map[lockmgr.InodeID]*nodeRecord{},
		gone:   map[uint64]*nodeRecord{},
		sleep:  sleep,
	}
}

// node finds the inode of a request. It is there: the kernel has a reference.
func (t *inodeTable) node(id uint64) *inode {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byNode[id]
}

// remember gives the inode that fd is an O_PATH descriptor of one more reference of the
// kernel's. It takes fd over.
func (t *inodeTable) remember(fd int, st *unix.Stat_t) *inode {
	return t.intern(fd, st, func(n *inode) {
		n.lookups++
		if n.record == nil {
			n.record = t.remains.keep(n)
		}
	})
}

// keep is remember for a reference of our own, which giveBack takes back.
func (t *inodeTable) keep(fd int, st *unix.Stat_t) *inode {
	return t.intern(fd, st, func(n *inode) { n.lent++ })
}

// intern finds or makes the inode and counts the reference.
func (t *inodeTable) intern(fd int, st *unix.Stat_t, count func(*inode)) *inode {
	ino := t.numbers.of(realID(st))
	t.mu.Lock()
	t.supersede(fd, st)
	return t.settleIn(fd, st, ino, count)
}

// refind is intern where an inode of an earlier server with this number is known to be this one, for no reference.
func (t *inodeTable) refind(fd int, st *unix.Stat_t) *inode {
	ino := t.numbers.of(realID(st))
	t.mu.Lock()
	return t.settleIn(fd, st, ino, func(*inode) {})
}

// settleIn does what both have in common. Caller holds t.mu, which is given up.
func (t *inodeTable) settleIn(fd int, st *unix.Stat_t, ino uint64, count func(*inode)) *inode {
	real := t.wakeWith(fd, st)
	n, known := t.byReal[real]
	if !known {
		n = t.enter(&inode{real: real, fd: fd, mode: st.Mode & unix.S_IFMT, ino: ino})
	}
	count(n)
	t.clock++
	n.used = t.clock
	if t.awake() > t.pressure.most {
		signal(t.pressure.crowd)
	}
	t.mu.Unlock()
	if known && n.fd != fd {
		unix.Close(fd)
	}
	return n
}

// supersede has an inode of an earlier server that was not found again stay lost, if another one has its number by now. Caller holds t.mu.
func (t *inodeTable) supersede(fd int, st *unix.Stat_t) {
	if len(t.lost) == 0 {
		return
	}
	real := realID(st)
	if rec := t.lost[real]; rec != nil && !rec.mayBe(fd, st) {
		delete(t.lost, real)
	}
}

// enter gives a new inode its node, which is the one it had if it was lost. Caller holds t.mu.
func (t *inodeTable) enter(n *inode) *inode {
	if rec := t.lost[n.real]; rec != nil {
		n.id, n.record, n.lookups, n.ino = rec.id, rec, rec.lookups, rec.seen
		n.passage.number = rec.passage
		delete(t.lost, n.real)
		delete(t.gone, n.id)
	} else {
		t.last++
		n.id = t.last
	}
	t.byNode[n.id], t.byReal[n.real] = n, n
	n.pins = t.pins[n.real]
	delete(t.pins, n.real)
	return n
}

// addRoot makes node 1, which the kernel never looks up and never forgets.
func (t *inodeTable) addRoot(fd int, st *unix.Stat_t) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &inode{id: fuse.FUSE_ROOT_ID, real: realID(st), fd: fd, mode: unix.S_IFDIR, ino: st.Ino, lent: 1}
	t.byNode[n.id], t.byReal[n.real] = n, n
}

// takeBack ends a reference that remember gave and the kernel is not told of.
func (t *inodeTable) takeBack(n *inode) {
	t.mu.Lock()
	n.lookups--
	t.dropUnused(n)
}

// forget takes n of the kernel's references back.
func (t *inodeTable) forget(id, n uint64) {
	t.mu.Lock()
	node := t.byNode[id]
	if node == nil {
		t.forgetLost(id, n)
		t.mu.Unlock()
		return
	}
	node.lookups -= min(n, node.lookups)
	if rec := node.record; rec != nil {
		rec.lookups -= min(n, rec.lookups)
	}
	t.dropUnused(node)
}

// forgetLost is forget for an inode that was not found again. Caller holds t.mu.
func (t *inodeTable) forgetLost(id, n uint64) {
	rec := t.gone[id]
	if rec == nil {
		return
	}
	if rec.lookups -= min(n, rec.lookups); rec.lookups == 0 {
		if t.lost[rec.real()] == rec {
			delete(t.lost, rec.real())
		}
		delete(t.gone, id)
		t.remains.drop(rec)
	}
}

// crowded reports whether there are more inodes than enough.
func (t *inodeTable) crowded() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.awake() > t.pressure.most
}

// isAtHome reports whether an inode is on the root's own device.
func (t *inodeTable) isAtHome(n *inode) bool { return n.real.Dev == t.numbers.home }

// toldWithin reports whether the kernel was given a reference to an inode in the last while, and has not forgotten it.
func (t *inodeTable) toldWithin(while time.Duration, real lockmgr.InodeID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.byReal[real]
	return n != nil && n.lookups > 0 && n.record != nil && time.Now().UnixMilli()-n.record.answered < while.Milliseconds()
}

// answered counts a reference that the kernel is about to have, for a later server.
func (t *inodeTable) answered(id, dir uint64, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byNode[id]; n != nil && n.record != nil {
		n.record.answer(dir, name)
	}
}

// listed is answered for an entry that is looked up while it is listed, by the request of this number.
func (t *inodeTable) listed(id, dir uint64, name string, unique uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byNode[id]; n != nil && n.record != nil {
		n.record.answer(dir, name)
		n.record.countListed(unique)
	}
}

// moved tells where an inode is found from now on.
func (t *inodeTable) moved(real lockmgr.InodeID, dir uint64, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byReal[real]; n != nil {
		n.record.move(dir, name)
	} else {
		t.lost[real].move(dir, name)
	}
}

// giveBack ends a reference that keep or borrow gave.
func (t *inodeTable) giveBack(n *inode) {
	t.mu.Lock()
	n.lent--
	t.dropUnused(n)
}

// pin and unpin keep the inode for the law, whatever the kernel forgets.
func (t *inodeTable) pin(real lockmgr.InodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byReal[real]; n != nil {
		n.pins++
	} else {
		t.pins[real]++
	}
}

func (t *inodeTable) unpin(real lockmgr.InodeID) {
	t.mu.Lock()
	n := t.byReal[real]
	if n == nil {
		if t.pins[real]--; t.pins[real] <= 0 {
			delete(t.pins, real)
		}
		t.mu.Unlock()
		return
	}
	n.pins = max(0, n.pins-1)
	t.dropUnused(n)
}

// dropUnused ends an inode that nobody refers to, and puts one to sleep that only the law does. Caller holds t.mu, which is given up.
func (t *inodeTable) dropUnused(n *inode) {
	fd := -1
	switch {
	case n.lookups > 0 || n.lent > 0:
	case n.pins > 0:
		fd = t.putToSleep(n)
	default:
		fd = n.fd
		delete(t.byNode, n.id)
		delete(t.byReal, n.real)
		t.remains.drop(n.record)
		t.ended++
		t.dreamt(n)
	}
	t.mu.Unlock()
	if fd >= 0 {
		unix.Close(fd)
		t.pressure.gaveBack()
	}
}

// count is how many are in use.
func (t *inodeTable) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byNode)
}

// errUnused is that an inode is not in use: nothing is known of it.
var errUnused = fmt.Errorf("not in use: %w", lockmgr.ErrGone)

// borrow finds a real inode, and keeps it until it is given back. ErrGone if there is no such inode any more; that is
// errUnused if nothing is known of it.
func (t *inodeTable) borrow(real lockmgr.InodeID) (*inode, error) {
	for {
		n, h := t.lend(real, nil, -1)
		if n == nil {
			return nil, errUnused
		}
		if h == nil {
			return n, nil
		}
		fd, err := t.reach(h, real.Ino) // without t.mu: it may wait for the disk
		if err != nil {
			return nil, err
		}
		if n, again := t.lend(real, h, fd); again == nil && n != nil {
			if n.fd != fd {
				unix.Close(fd)
			}
			return n, nil
		}
		unix.Close(fd)
	}
}

// lend counts a reference to an inode, unless it sleeps: then it gives its handle. One that sleeps by this handle is woken with the descriptor.
func (t *inodeTable) lend(real lockmgr.InodeID, woken *handleID, fd int) (n *inode, asleep *handleID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n = t.byReal[real]; n == nil {
		return nil, nil
	}
	if n.handle != nil && n.handle == woken {
		t.wakened(n, fd)
	}
	if n.handle == nil {
		n.lent++
	}
	return n, n.handle
}

// realID is what an inode is called, unless another one that is gone is still called so: see inodeTable.id.
func realID(st *unix.Stat_t) lockmgr.InodeID {
	return lockmgr.InodeID{Dev: uint64(st.Dev), Ino: st.Ino}
}
