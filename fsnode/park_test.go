package fsnode

import (
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// nameless makes a file without a name, as the kernel knows it.
func nameless(t *testing.T, fs *FS) (node uint64, open Kept) {
	t.Helper()
	in := &fuse.CreateIn{InHeader: rootHeader, Flags: unix.O_RDWR, Mode: unix.S_IFREG | 0o600}
	var out fuse.CreateOut
	if st := fs.Tmpfile(nil, in, &out); !st.Ok() {
		t.Fatal(st)
	}
	fs.inodes.answered(out.NodeId, fuse.FUSE_ROOT_ID, "")
	return out.NodeId, kept(t, fs, out.Fh)
}

func linkRequest(node uint64) Request {
	r := raw(opLink, fuse.LinkIn{}, "new.lock")
	as[fuse.LinkIn](r).Oldnodeid = node
	return r
}

func mustHave(t *testing.T, fs *FS, want string) {
	t.Helper()
	if got := strings.TrimSpace(run(t, fs.Root.Name(), `for f in * .sessionlockfs; do [ -e $f ] && stat -c "%n %h" $f; done; true`)); got != want {
		t.Errorf("there is %q, want %q", got, want)
	}
}

// The first name of a file that was made without one is given once, however often the server dies at it: also one that is a lock's.
func TestFirstName(t *testing.T) {
	for deaths := range 3 {
		fs, _ := newFS(t)
		node, open := nameless(t, fs)
		r := linkRequest(node)
		fs.Begin(r)
		if err := unix.Linkat(fs.inodes.node(node).fd, "", fs.inodes.node(1).fd, "new.lock", unix.AT_EMPTY_PATH); err != nil {
			t.Fatal(err)
		}
		for range deaths + 1 {
			fd, err := unix.FcntlInt(uintptr(open.Fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			var answers map[uint64]Inherited
			fs, answers = successor(t, fs, []Kept{{Fh: open.Fh, About: open.About, Fd: fd}}, sentAgain(r))
			if len(answers) > 0 {
				t.Error("it is answered, and nobody was granted the lock")
			}
			mustHave(t, fs, ".sessionlockfs 2")
		}
		var out fuse.EntryOut
		in := &fuse.LinkIn{InHeader: rootHeader, Oldnodeid: node}
		if st := fs.Link(nil, in, "new.lock", &out); !st.Ok() || out.Nlink != 1 || out.NodeId != node {
			t.Errorf("linked: %v, node %d with %d names", st, out.NodeId, out.Nlink)
		}
		mustHave(t, fs, "new.lock 1")
		if len(fs.Locks.Snapshot()) != 1 {
			t.Error("nobody was granted the lock")
		}
	}
}

// Somebody else's file of the name is nobody's to take back, and what is parked goes when nobody has it open any more.
func TestStrangersName(t *testing.T) {
	fs, _ := newFS(t)
	node, open := nameless(t, fs)
	fs.Begin(linkRequest(node))
	run(t, fs.Root.Name(), `echo data > new.lock`)
	fs, _ = successor(t, fs, []Kept{open}, sentAgain(linkRequest(node)))
	mustHave(t, fs, "new.lock 1")

	run(t, fs.Root.Name(), `mkdir .sessionlockfs; touch .sessionlockfs/00000000000000000001.parked`)
	fs, _ = successor(t, fs, nil)
	mustHave(t, fs, "new.lock 1")
}
