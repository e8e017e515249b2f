package fsnode

import (
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Inherited is the answer to a request that was carried out by a server that died.
type Inherited struct {
	Answer []byte
	run    *running
}

// Inherit takes over from a server that is dead: the inodes that the kernel refers to, the handles that are kept, and the
// requests that it took and did not answer, which the kernel has sent again. It gives the answers of those that were
// carried out, by their numbers, and is told with Settled when they are sent; the others are to be served. It comes before
// anything is served, and before the locks are looked at. Whoever does it may die at it as well.
//
// A kernel that sends nothing again (complete is false) has told their callers that they failed: what they made is taken back.
func (fs *FS) Inherit(kept []Kept, again []Request, complete bool) (answers map[uint64]Inherited) {
	pending := map[uint64]Request{}
	for _, r := range again {
		pending[r.Unique()] = r
	}
	var unanswered []*running
	for _, run := range fs.Remains.under() {
		if pending[run.unique] != nil || !complete && run.phase == acting {
			unanswered = append(unanswered, run)
		} else {
			run.end()
		}
	}
	fs.inheritNodes(unanswered)
	fs.inheritHandles(kept, unanswered)
	fs.findParked()
	answers = map[uint64]Inherited{}
	slices.SortStableFunc(unanswered, renamesFirst)
	for _, run := range unanswered {
		r := pending[run.unique]
		if r == nil {
			fs.takeBack(run)
		} else if answer := fs.settle(run, r); answer != nil {
			answers[run.unique] = Inherited{answer, run}
			continue
		}
		run.end()
	}
	fs.findAll() // what was moved back
	fs.inheritPassages()
	fs.before = fs.inodes.inherited()
	return answers
}

// renamesFirst is an order in which directories are found again before anybody looks into them.
func renamesFirst(a, b *running) int {
	rename := func(r *running) int {
		if r.op == opRename || r.op == opRename2 {
			return 0
		}
		return 1
	}
	return rename(a) - rename(b)
}

// Settled says that an answer is out.
func (fs *FS) Settled(i Inherited) { i.run.end() }

// inheritNodes finds the inodes again, each by the name it had last. What was moved past the mount meanwhile is lost (ESTALE)
// until the kernel finds it by a name.
func (fs *FS) inheritNodes(unanswered []*running) {
	given, listers := map[uint64]uint64{}, map[uint64]bool{}
	for _, run := range unanswered {
		given[run.node]++
		run.node = 0 // or who comes after us would take it back again
		listers[run.unique] = true
	}
	records := fs.Remains.left()
	t := fs.inodes
	t.mu.Lock()
	t.last = max(t.last, atomic.LoadUint64(&fs.Remains.head.lastNode))
	for _, rec := range records {
		rec.lookups -= min(given[rec.id], rec.lookups)
		rec.unlist(listers)
		if rec.lookups == 0 {
			if rec.passage != 0 { // nobody was answered with it
				fs.kernel.CloseBacking(rec.passage)
			}
			t.remains.drop(rec)
			continue
		}
		t.numbers.restore(rec.dev, rec.seen)
		t.lose(rec)
	}
	t.mu.Unlock()
	fs.findAll()
}

// lose enters an inode that is not found yet. Of two records of one number the older one is of an inode that is gone: its FORGET
// was taken by a server that died, and is not sent again, or the kernel still refers to what was deleted past the mount. Caller holds t.mu.
func (t *inodeTable) lose(rec *nodeRecord) {
	t.gone[rec.id] = rec
	if other := t.lost[rec.real()]; other == nil || other.id < rec.id {
		t.lost[rec.real()] = rec
	}
}

// findAll looks for all inodes that are not found yet.
func (fs *FS) findAll() {
	t := fs.inodes
	t.mu.RLock()
	ids := slices.Collect(maps.Keys(t.gone))
	t.mu.RUnlock()
	tried := map[uint64]bool{}
	for _, id := range ids {
		fs.findAgain(id, tried)
	}
}

// findAgain finds an inode of an earlier server, and before it the directory that it is in.
func (fs *FS) findAgain(id uint64, tried map[uint64]bool) *inode {
	if n := fs.inodes.node(id); n != nil || tried[id] {
		return n
	}
	tried[id] = true
	rec := fs.inodes.lostNode(id)
	if rec == nil {
		return nil
	}
	in, name, ok := rec.where()
	if !ok {
		return nil
	}
	dir := fs.findAgain(in, tried)
	if dir == nil {
		return nil
	}
	fd, st, err := statChild(dir, name)
	if err != nil {
		return nil
	}
	if realID(st) != rec.real() || st.Mode&unix.S_IFMT != rec.mode {
		unix.Close(fd)
		return nil
	}
	return fs.found(fs.inodes.refind(fd, st), name)
}

// lostNode is the record of an inode that may be found again; nil if there is none.
func (t *inodeTable) lostNode(id uint64) *nodeRecord {
	t.mu.RLock()
	defer t.mu.RUnlock()
	rec := t.gone[id]
	if rec == nil || t.lost[rec.real()] != rec {
		return nil
	}
	return rec
}

// Lost reports whether a request is about an inode that was not found again.
func (fs *FS) Lost(r Request) bool {
	t := fs.inodes
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.gone) > 0 && (t.gone[r.header().NodeId] != nil || t.gone[r.other()] != nil)
}

// inheritHandles opens the handles again, but for those whose opener will have another one.
func (fs *FS) inheritHandles(kept []Kept, unanswered []*running) {
	ungiven := map[uint64]bool{}
	for _, run := range unanswered {
		ungiven[run.fh] = true
	}
	fs.handles.mu.Lock()
	fs.handles.last = max(fs.handles.last, atomic.LoadUint64(&fs.Remains.head.lastFh))
	fs.handles.mu.Unlock()
	for _, k := range kept {
		var err error
		if !ungiven[k.Fh] {
			if err = fs.rehandle(k); err == nil {
				continue
			}
			fs.Log.Warn().Err(err).Uint64("handle", k.Fh).Msg("a handle of the server before can't be taken over")
		}
		if k.Fd >= 0 {
			unix.Close(k.Fd)
		}
		fs.Keeper.Drop(k.Fh)
	}
}

// foundByHandle makes an inode out of an open descriptor of it.
func (fs *FS) foundByHandle(id uint64, fd int) *inode {
	rec := fs.inodes.lostNode(id)
	if rec == nil || fd < 0 {
		return nil
	}
	path, st, err := fs.pathOf(fd)
	if err != nil {
		return nil
	}
	if realID(st) != rec.real() {
		unix.Close(path)
		return nil
	}
	_, name, _ := rec.where()
	return fs.found(fs.inodes.refind(path, st), name)
}
