package fsnode

import (
	"sync"
	"sync/atomic"

	"sessionlockfs/lockmgr"
)

// handle is an open file or directory.
type handle struct {
	fd     int
	direct directFile
	node   *inode
	opener lockmgr.Identity // of a file opened for writing, where writes may be refused
	grant  *grant           // the creating handle of a lock
	way    way
	opened version    // what a file was when it was opened; zero if an earlier server opened it
	writes bool       // it may write, and the kernel does that itself
	dir    *dirStream // of a directory
	text   []byte     // of a control file: what it said when it was opened

	control uint64 // node of the control file that it is, if node is nil

	mu   sync.Mutex // guards view
	view []byte     // a held lock as rendered when this handle read its start
}

// grant says which lock a handle created.
type grant struct {
	key   lockmgr.Key
	token lockmgr.Token
	owner lockmgr.Identity

	closed atomic.Bool // the owner's process has closed it
}

// handleTable gives numbers to open handles. mu guards the fields, nothing is locked
// inside it.
type handleTable struct {
	mu   sync.RWMutex
	open map[uint64]*handle
	last uint64
}

func newHandleTable() *handleTable { return &handleTable{open: map[uint64]*handle{}} }

func (t *handleTable) add(h *handle) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	t.open[t.last] = h
	return t.last
}

// restore enters a handle of an earlier server.
func (t *handleTable) restore(fh uint64, h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[fh] = h
	t.last = max(t.last, fh)
}

// file finds a handle; nil if there is none.
func (t *handleTable) file(fh uint64) *handle {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.open[fh]
}

// real is file for a handle that is of the real file system: no control file.
func (t *handleTable) real(fh uint64) *handle {
	if h := t.file(fh); h != nil && h.node != nil {
		return h
	}
	return nil
}

// count is how many are open.
func (t *handleTable) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.open)
}

// nodes are those that are open.
func (t *handleTable) nodes() map[uint64]bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	open := map[uint64]bool{}
	for _, h := range t.open {
		if h.node != nil {
			open[h.node.id] = true
		}
	}
	return open
}

// drain empties the table.
func (t *handleTable) drain() map[uint64]*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	open := t.open
	t.open = map[uint64]*handle{}
	return open
}

func (t *handleTable) remove(fh uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.open[fh]
	delete(t.open, fh)
	return h
}
