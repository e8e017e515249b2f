package fsnode

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Keeper keeps for a later server what is open. Its methods are called by many goroutines at once, and return when
// the thing is kept.
type Keeper interface {
	// Keep keeps a handle's descriptor, of which there may be none (-1), and what is to be known of it.
	Keep(fh uint64, about []byte, fd int)
	// Drop ends that; also for a handle that is not kept.
	Drop(fh uint64)
}

// Kept is a handle that an earlier server had open.
type Kept struct {
	Fh    uint64
	About []byte
	Fd    int // -1 for none
}

// aboutHandle is what a later server is told of a handle.
type aboutHandle struct {
	Node    uint64           `json:"n"`
	Dir     bool             `json:"d,omitempty"`
	Control bool             `json:"c,omitempty"`
	Opener  lockmgr.Identity `json:"o,omitzero"`
	Grant   *aboutGrant      `json:"g,omitempty"`
	Way     way              `json:"w,omitempty"`
	Writes  bool             `json:"y,omitempty"`
}

type aboutGrant struct {
	Key   lockmgr.Key      `json:"k"`
	Token lockmgr.Token    `json:"t"`
	Owner lockmgr.Identity `json:"o"`

	Closed bool `json:"x,omitempty"` // by the owner's process
}

// keep hands a handle to the keeper.
func (t *handleTable) keep(fh uint64, keeper Keeper) {
	h := t.file(fh)
	if h == nil {
		return
	}
	a := aboutHandle{Opener: h.opener, Dir: h.dir != nil, Way: h.way, Writes: h.writes}
	if h.node == nil {
		a.Node, a.Control = h.control, true
	} else {
		a.Node = h.node.id
	}
	if h.grant != nil {
		a.Grant = &aboutGrant{h.grant.key, h.grant.token, h.grant.owner, h.grant.closed.Load()}
	}
	about, err := json.Marshal(a)
	if err != nil {
		return
	}
	if h.text == nil {
		keeper.Keep(fh, about, h.fd)
	} else if fd, err := textFile(h.text); err == nil {
		keeper.Keep(fh, about, fd)
		unix.Close(fd)
	}
}

// textFile makes a file without a name of what a control file says: whoever reads it in several steps must not get halves of two
// times.
func textFile(text []byte) (int, error) {
	fd, err := unix.MemfdCreate("control", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	if n, err := unix.Write(fd, text); err != nil || n < len(text) {
		unix.Close(fd)
		return -1, unix.ENOSPC
	}
	return fd, nil
}

// isGrant reports whether a handle created a lock.
func (t *handleTable) isGrant(fh uint64) bool {
	h := t.file(fh)
	return h != nil && h.grant != nil
}

// rehandle makes a handle of what is kept. It takes the descriptor over.
func (fs *FS) rehandle(k Kept) error {
	var a aboutHandle
	if err := json.Unmarshal(k.About, &a); err != nil {
		return err
	}
	h := &handle{fd: k.Fd, opener: a.Opener, way: a.Way, writes: a.Writes}
	if a.Control {
		return fs.rehandleControl(k, a.Node)
	}
	if h.node = fs.inodes.node(a.Node); h.node == nil {
		h.node = fs.foundByHandle(a.Node, k.Fd)
	}
	if h.node == nil {
		return fmt.Errorf("handle %d: %w", k.Fh, unix.ESTALE)
	}
	if a.Dir {
		h.dir = &dirStream{fd: k.Fd, dev: h.node.real.Dev, numbers: fs.inodes.numbers}
	}
	if a.Grant != nil {
		a.Grant.Key.Dir.Generation = 0 // whatever it was called: every server counts anew
		h.grant = &grant{key: a.Grant.Key, token: a.Grant.Token, owner: a.Grant.Owner}
		h.grant.closed.Store(a.Grant.Closed)
	}
	h.reenter()
	fs.handles.restore(k.Fh, h)
	return nil
}

// rehandleControl lets a control file say what it said.
func (fs *FS) rehandleControl(k Kept, node uint64) error {
	h := &handle{fd: -1, control: node}
	if k.Fd >= 0 {
		f := os.NewFile(uintptr(k.Fd), "control")
		defer f.Close()
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
		if err != nil {
			return err
		}
		h.text = text
	}
	fs.handles.restore(k.Fh, h)
	return nil
}

// OpenGrants are the locks whose creating handles are open, and whether the owner's process has closed them.
func (fs *FS) OpenGrants() (closed map[lockmgr.Token]bool) {
	fs.handles.mu.RLock()
	defer fs.handles.mu.RUnlock()
	closed = map[lockmgr.Token]bool{}
	for _, h := range fs.handles.open {
		if h.grant != nil {
			closed[h.grant.token] = h.grant.closed.Load()
		}
	}
	return closed
}
