package fsnode

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// pressure keeps the descriptors from running short. Every inode that the kernel remembers is one, and it remembers
// them as long as it has the memory: for 20,000 descriptors, one walk over a big tree. Since Linux 6.18 it can be asked
// to forget those that nobody uses (FUSE_NOTIFY_PRUNE); it answers with FORGETs.
//
// mu guards freed and vain, and nothing is locked inside it.
type pressure struct {
	last    int           // no caller's request may have a descriptor above
	most    int           // so many inodes are more than enough
	bedtime int           // so many may stay awake that only the law refers to
	urgent  chan struct{} // somebody waits for a descriptor
	crowd   chan struct{} // there are more inodes than enough
	closed  chan struct{}

	useless atomic.Bool // the kernel can't be asked
	waiting atomic.Int32
	mu      sync.Mutex
	freed   chan struct{} // closed when a descriptor is given back
	vain    time.Time     // when somebody last waited in vain
}

const (
	// patience is how long a request may wait for a descriptor. Others wait for the directory meanwhile.
	patience = 50 * time.Millisecond
	// discouraged is how long, after somebody waited in vain, nobody does.
	discouraged = time.Second
	// reserved descriptors are for ourselves: to tell who asks, and to take dead owners' locks away.
	reserved = 64
)

func newPressure() *pressure {
	limit := unix.Rlimit{Cur: 1024}
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	all := int(min(limit.Cur, 1<<30))
	return &pressure{
		last: all - min(reserved, all/8), most: all * 3 / 5, bedtime: all / 5,
		urgent: make(chan struct{}, 1), crowd: make(chan struct{}, 1),
		closed: make(chan struct{}), freed: make(chan struct{}),
	}
}

// descriptor does what gives a caller one more descriptor. If there is none left it waits for the kernel to forget an
// inode, unless that was in vain of late, and then fails with EMFILE.
func (p *pressure) descriptor(open func() (int, error)) (int, error) {
	fd, err := p.try(open)
	if err != unix.EMFILE || p.useless.Load() || p.discouraged() {
		return fd, err
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		freed := p.next()
		if fd, err := p.try(open); err != unix.EMFILE {
			return fd, err
		}
		signal(p.urgent)
		select {
		case <-freed:
		case <-end.C:
			p.waitedInVain()
			return -1, unix.EMFILE
		}
	}
}

// try keeps callers off the reserve: the kernel gives the lowest descriptor that is free.
func (p *pressure) try(open func() (int, error)) (int, error) {
	fd, err := retryFd(open)
	if err == nil && fd > p.last {
		unix.Close(fd)
		return -1, unix.EMFILE
	}
	return fd, err
}

// next is closed when a descriptor is given back from now on.
func (p *pressure) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.freed
}

// gaveBack tells those who wait that they can try again.
func (p *pressure) gaveBack() {
	if p.waiting.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.freed)
	p.freed = make(chan struct{})
}

func (p *pressure) discouraged() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.vain) < discouraged
}

func (p *pressure) waitedInVain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vain = time.Now()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// relieve has the kernel forget inodes whenever there are too many. It runs until the FS is closed.
func (fs *FS) relieve() {
	for last := (pruning{}); !last.useless; {
		select {
		case <-fs.pressure.closed:
			return
		case <-fs.pressure.urgent: // those who wait are few, and soon give up
			last = fs.prune(0)
		case <-fs.pressure.crowd:
			if !last.resting(fs.inodes.endedSoFar()) {
				last = fs.prune(fs.pressure.most * 3 / 4)
			}
		}
	}
}

// pruning is one request to forget.
type pruning struct {
	useless bool          // there is no use in asking this kernel
	asked   int           // how many inodes it was about
	before  uint64        // how many had ended before
	started time.Time     // and when
	took    time.Duration // to ask
}

// restingPart bounds what it costs when nearly all inodes are in use, and the kernel is asked in vain, to 1/20 of a
// processor.
const restingPart = 20

// resting says whether so little came of it that it is too early to ask again.
func (p *pruning) resting(ended uint64) bool {
	return ended-p.before <= uint64(p.asked/2) && time.Since(p.started) < restingPart*p.took
}

// prune asks the kernel to forget all but the inodes that were looked up last.
func (fs *FS) prune(kept int) pruning {
	p := pruning{before: fs.inodes.endedSoFar(), started: time.Now()}
	ids := fs.inodes.prunable(kept)
	p.asked = len(ids)
	p.useless = fs.kernel.PruneNotify(ids) == fuse.ENOSYS
	p.took = time.Since(p.started)
	if p.useless {
		fs.Log.Warn().Msg("this kernel can't be asked to forget inodes: walking more files than we may have descriptors gives EMFILE")
	}
	return p
}

// prunable are the nodes that only the kernel refers to, or that could sleep if it did not, but for the kept ones that were looked up last. Those looked
// up last come first: the entries of a directory before it, which is in use as long as they are remembered.
func (t *inodeTable) prunable(kept int) []uint64 {
	t.mu.RLock()
	nodes := make([]use, 0, len(t.byNode))
	for _, n := range t.byNode {
		if n.lookups > 0 && (n.pins == 0 || t.maySleep(n.real.Dev, n.mode)) {
			nodes = append(nodes, use{n.id, n.used})
		}
	}
	others := t.awake() - len(nodes)
	t.mu.RUnlock()
	kept = max(0, kept-others)
	slices.SortFunc(nodes, func(a, b use) int { return cmp.Compare(b.when, a.when) })
	ids := make([]uint64, 0, len(nodes))
	for _, n := range nodes[min(kept, len(nodes)):] {
		ids = append(ids, n.node)
	}
	return ids
}

// use says when a node was last looked up.
type use struct{ node, when uint64 }

// endedSoFar counts the inodes that are not in use any more.
func (t *inodeTable) endedSoFar() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ended
}

// spare is a descriptor that is kept while something is made, for the inode of what was made: nothing is to be there
// that can't be answered. The caller closes it when it is.
func (fs *FS) spare() (int, error) {
	return fs.pressure.descriptor(func() (int, error) {
		return unix.FcntlInt(uintptr(fs.proc), unix.F_DUPFD_CLOEXEC, 0)
	})
}

// look is statChild for a caller's request.
func (fs *FS) look(dir *inode, name string) (fd int, st *unix.Stat_t, err error) {
	fd, err = fs.pressure.descriptor(func() (fd int, err error) {
		fd, st, err = statChild(dir, name)
		return fd, err
	})
	return fd, st, err
}
