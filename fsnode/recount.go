package fsnode

import (
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A FORGET has no answer, so one that a server took and died with is not sent again, and what it was about would be kept for ever. The kernel
// says whether it knows an inode when it is told of a change to it. That is asked of every inode that was inherited.

// count is how an inode stood when it was inherited.
type count struct {
	node, used uint64
	recent     bool // the kernel was given a reference just before
}

// settling is how long whoever was answered may take to make the inode of it: until then the kernel does not know that.
const settling = 5 * time.Second

// inherited are the inodes that the kernel referred to when another server ended. Nothing has been served since.
func (t *inodeTable) inherited() (counts []count) {
	since := time.Now().Add(-settling).UnixMilli()
	t.mu.RLock()
	defer t.mu.RUnlock()
	for id, n := range t.byNode {
		if n.lookups > 0 {
			counts = append(counts, count{id, n.used, n.record == nil || n.record.answered > since})
		}
	}
	for id, rec := range t.gone {
		counts = append(counts, count{id, 0, rec.answered > since})
	}
	return counts
}

// recountInherited asks of what the kernel has known for a while at once, and of the rest when that must be settled, unless the FS is closed before.
// What is looked up meanwhile stays, until the next server asks.
func (fs *FS) recountInherited() {
	recent := func(c count) bool { return c.recent }
	fs.recount(slices.DeleteFunc(slices.Clone(fs.before), recent))
	select {
	case <-fs.pressure.closed:
	case <-time.After(settling):
		fs.recount(slices.DeleteFunc(slices.Clone(fs.before), func(c count) bool { return !c.recent }))
	}
}

// recount drops what the kernel does not know any more, but what is open. It must not be called by whoever serves requests: the kernel may
// wait for an inode on its way out, and with that for us.
func (fs *FS) recount(counts []count) {
	open, dropped := fs.handles.nodes(), 0
	for _, c := range counts {
		if !open[c.node] && fs.kernel.InodeNotify(c.node, -1, 0) == fuse.ENOENT && fs.inodes.forgetAll(c) {
			dropped++
		}
	}
	if dropped > 0 {
		fs.Log.Debug().Int("inodes", dropped).Msg("forgotten by the kernel while no server heard it")
	}
}

// forgetAll takes all of the kernel's references back, but those of an inode that it was given another one to since it was counted: that may be
// on its way.
func (t *inodeTable) forgetAll(c count) bool {
	t.mu.Lock()
	n := t.byNode[c.node]
	if n == nil {
		rec := t.gone[c.node]
		if rec != nil {
			t.forgetLost(c.node, rec.lookups)
		}
		t.mu.Unlock()
		return rec != nil
	}
	if n.used != c.used {
		t.mu.Unlock()
		return false
	}
	n.lookups = 0
	if n.record != nil {
		n.record.lookups = 0
	}
	t.dropUnused(n)
	return true
}
