package fsnode

import (
	"maps"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// What is looked up while it is listed is known to the next server, and forgotten when the kernel forgets it. Locks are not looked up: they look
// different to everybody.
func TestReadDirPlus(t *testing.T) {
	fs, _ := newFS(t)
	run(t, fs.Root.Name(), `echo a > a; ln a b; mkdir dir; ln -s a link; touch x.lock; mkdir .sessionlockfs`)
	var opened fuse.OpenOut
	if st := fs.OpenDir(nil, &fuse.OpenIn{InHeader: rootHeader}, &opened); !st.Ok() {
		t.Fatal(st)
	}
	answer, nodes := listPlus(t, fs, opened.Fh)
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

// listPlus answers a READDIRPLUS, and gives the nodes of what was looked up.
func listPlus(t *testing.T, fs *FS, fh uint64) (answer response, nodes map[string]uint64) {
	t.Helper()
	in := fuse.ReadIn{InHeader: rootHeader, Fh: fh, Size: 4096}
	answer = make(response, outHeaderSize+int(in.Size))
	out := fuse.NewDirEntryList(answer[outHeaderSize:], 0)
	if st := fs.ReadDirPlus(nil, &in, out); !st.Ok() {
		t.Fatal(st)
	}
	answer = answer[:outHeaderSize+len(out.Bytes())]
	r := raw(opReaddirplus, in)
	run := fs.Begin(r)
	fs.Answering(r, run, answer)
	fs.End(run)
	nodes = map[string]uint64{}
	for node, name := range answer.lookedUp() {
		nodes[name] = node
	}
	return answer, nodes
}
