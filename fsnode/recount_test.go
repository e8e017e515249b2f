package fsnode

import (
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// knowing is a kernel that knows these nodes only.
type knowing struct {
	oneCaller
	nodes map[uint64]bool
}

func (k knowing) InodeNotify(node uint64, _, _ int64) fuse.Status {
	if k.nodes[node] {
		return fuse.OK
	}
	return fuse.ENOENT
}

// What the kernel forgot while no server heard it is dropped; what it knows, or may be about to know, stays.
func TestRecount(t *testing.T) {
	fs, _ := newFS(t)
	dir := fs.Root.Name()
	run(t, dir, `echo a > forgotten; echo b > known; echo c > again; echo d > lost`)
	nodes := map[string]uint64{}
	look := func(fs *FS, name string) {
		t.Helper()
		nodes[name] = lookedUp(t, fs, fuse.FUSE_ROOT_ID, name)
	}
	for _, name := range []string{"forgotten", "known", "again", "lost"} {
		look(fs, name)
	}
	run(t, dir, `mv lost moved`) // past the mount: it is not found again
	fs, _ = successor(t, fs, nil)
	fs.kernel = knowing{nodes: map[uint64]bool{nodes["known"]: true}}
	before := nodes["again"]
	look(fs, "again") // the answer may be on its way
	if fs.recount(slices.DeleteFunc(slices.Clone(fs.before), func(c count) bool { return !c.recent })); len(fs.before) != 4 {
		t.Errorf("%d inodes were inherited", len(fs.before))
	}
	for name, want := range map[string]bool{"forgotten": false, "known": true, "again": true} {
		if is := fs.inodes.node(nodes[name]) != nil; is != want {
			t.Errorf("%s is in use: %t", name, is)
		}
	}
	if nodes["again"] != before {
		t.Error("it is another node now")
	}
	if rec := fs.inodes.lostNode(nodes["lost"]); rec != nil {
		t.Error("the lost one is remembered")
	}
	last, _ := successor(t, fs, nil)
	if n := last.inodes.count(); n != 3 { // the root
		t.Errorf("%d inodes are left for the next server", n)
	}
}
