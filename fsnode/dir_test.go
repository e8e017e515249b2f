package fsnode

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What is looked up while it is listed is known to the next server, and forgotten when the kernel forgets it. Locks are not looked up: they look
// different to everybody.
func TestReadDirPlus(t *testing.T) {
	fs, _ := newFS(t)
	run(t, fs.Root.Name(), `echo a > a; ln a b; mkdir dir; ln -s a link; touch x.lock; mkdir .sessionlockfs`)
	answer, nodes, run := listPlus(t, fs)
	fs.End(run)
	if got, want := slices.Sorted(maps.Keys(nodes)), []string{"a", "b", "dir", "link"}; !slices.Equal(got, want) {
		t.Errorf("looked up: %q, want %q", got, want)
	}
	entries, _, err := fuse.ParseDirLookupEntries(answer[outHeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, e := range entries {
		listed = append(listed, e.Name)
	}
	slices.Sort(listed)
	if want := []string{".", "..", "a", "b", "dir", "link", "x.lock"}; !slices.Equal(listed, want) {
		t.Errorf("listed: %q, want %q", listed, want)
	}
	next, _ := successor(t, fs, nil)
	for name, node := range nodes {
		if next.inodes.node(node) == nil {
			t.Errorf("the next server does not know %s, or the kernel forgot it too early", name)
		}
		if next.Forget(node, 1); name != "a" && name != "b" && next.inodes.node(node) != nil {
			t.Errorf("%s is still known when the kernel has forgotten it", name)
		}
	}
	if next.inodes.node(nodes["a"]) != nil {
		t.Error("a is still known when the kernel has forgotten both of its names")
	}
}

// What was looked up for an answer that did not get out is not counted.
func TestReadDirPlusUnanswered(t *testing.T) {
	fs, _ := newFS(t)
	run(t, fs.Root.Name(), `echo a > a; ln a b; mkdir dir`)
	known := lookedUp(t, fs, fuse.FUSE_ROOT_ID, "dir")
	fs.inodes.node(known).record.answered -= 2000 // or it were not looked up again
	_, nodes, running := listPlus(t, fs)
	next, _ := successor(t, fs, nil, sentAgain(raw(opReaddirplus, fuse.ReadIn{})))
	if running.unique != 0 {
		t.Error("the request is still under way")
	}
	if next.inodes.node(nodes["a"]) != nil {
		t.Error("a is known")
	}
	last, _ := successor(t, next, nil)
	if last.inodes.node(known) == nil {
		t.Error("the reference that the kernel has was taken back")
	}
	if last.Forget(known, 1); last.inodes.node(known) != nil {
		t.Error("a reference is left that the kernel does not have")
	}
}

// What was looked up before a listing breaks off is answered; the error is told to who goes on.
func TestListingThatBreaks(t *testing.T) {
	fs, _ := newFS(t)
	dir := fs.Root.Name()
	run(t, dir, `mkdir d; touch d/a`)
	fh := openedDir(t, fs, lookedUp(t, fs, fuse.FUSE_ROOT_ID, "d"))
	s, added := fs.handles.file(fh).dir, 0
	all := func(string) bool { return true }
	add := func(*fuse.DirEntry) bool {
		if added++; added == 1 {
			run(t, dir, `rm -r d`)
		}
		return true
	}
	if err := s.list(0, all, add); err != nil || added != 3 {
		t.Errorf("%d entries, %v", added, err)
	}
	if err := s.list(s.next, all, add); err != unix.ENOENT {
		t.Errorf("going on: %v", err)
	}
}

// openedDir is the handle of a directory.
func openedDir(t *testing.T, fs *FS, node uint64) (fh uint64) {
	t.Helper()
	in, out := fuse.OpenIn{InHeader: rootHeader}, fuse.OpenOut{}
	in.NodeId = node
	if st := fs.OpenDir(nil, &in, &out); !st.Ok() {
		t.Fatal(st)
	}
	return out.Fh
}

// listPlus makes the answer to a READDIRPLUS, and gives the nodes of what was looked up.
func listPlus(t *testing.T, fs *FS) (answer response, nodes map[string]uint64, run *running) {
	t.Helper()
	fs.CacheTime = time.Second
	in := fuse.ReadIn{InHeader: rootHeader, Fh: openedDir(t, fs, fuse.FUSE_ROOT_ID), Size: 4096}
	answer = make(response, outHeaderSize+int(in.Size))
	out := fuse.NewDirEntryList(answer[outHeaderSize:], 0)
	if st := fs.ReadDirPlus(nil, &in, out); !st.Ok() {
		t.Fatal(st)
	}
	answer = answer[:outHeaderSize+len(out.Bytes())]
	r := raw(opReaddirplus, in)
	run = fs.Begin(r)
	fs.Answering(r, run, answer)
	nodes = map[string]uint64{}
	for node, name := range answer.lookedUp() {
		nodes[name] = node
	}
	return answer, nodes, run
}
