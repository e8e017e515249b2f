package fsnode

import (
	"os"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// raw makes a request as the kernel sends it.
func raw[T any](op uint32, fixed T, names ...string) Request {
	size := int(unsafe.Sizeof(fixed))
	b := make([]byte, size)
	*(*T)(unsafe.Pointer(&b[0])) = fixed
	*(*fuse.InHeader)(unsafe.Pointer(&b[0])) = rootHeader
	for _, name := range names {
		b = append(append(b, name...), 0)
	}
	h := (*fuse.InHeader)(unsafe.Pointer(&b[0]))
	h.Opcode, h.Unique, h.Length = op, 42, uint32(len(b))
	return b
}

// sentAgain is the request as the kernel sends it to the next server.
func sentAgain(r Request) Request {
	again := append(Request(nil), r...)
	again.header().Unique |= resent
	return again
}

// successor is what takes over from a server that is gone, of which the kernel has this request answered.
func successor(t *testing.T, before *FS, kept []Kept, again ...Request) (*FS, map[uint64]Inherited) {
	t.Helper()
	return successorOf(t, before, kept, true, again...)
}

func successorOf(t *testing.T, before *FS, kept []Kept, complete bool, again ...Request) (*FS, map[uint64]Inherited) {
	t.Helper()
	world := before.Callers.(oneCaller)
	fs, err := New(before.Config)
	if err != nil {
		t.Fatal(err)
	}
	fs.kernel, fs.setxattrSize = world, 8
	config := before.Locks.Config
	config.Tree, config.Reaper, config.Ledger = fs, fs, plainLedger{fs}
	fs.Locks = lockmgr.New(config)
	return fs, fs.Inherit(kept, again, complete)
}

// Each request that can't be done twice, killed before and after it was done: what becomes of the entries, and whether there
// is an answer for it.
func TestSettle(t *testing.T) {
	rename := fuse.RenameIn{Newdir: fuse.FUSE_ROOT_ID}
	noreplace := rename
	noreplace.Flags = unix.RENAME_NOREPLACE
	exchange := rename
	exchange.Flags = unix.RENAME_EXCHANGE
	for name, c := range map[string]struct {
		request  Request
		do       string // what the server did before it died
		answered bool
		want     string
	}{
		"create, not done":   {raw(opCreate, fuse.CreateIn{}, "new"), ``, false, "a b dir"},
		"create, done":       {raw(opCreate, fuse.CreateIn{}, "new"), `touch new`, false, "a b dir"},
		"create, was there":  {raw(opCreate, fuse.CreateIn{}, "a"), ``, false, "a b dir"},
		"create over orphan": {raw(opCreate, fuse.CreateIn{}, "b"), `rm b; touch x; touch b; rm x`, false, "a dir"},
		"create, with data":  {raw(opCreate, fuse.CreateIn{}, "new"), `echo x > new`, false, "a b dir new"},
		"mkdir, done":        {raw(opMkdir, fuse.MkdirIn{}, "new"), `mkdir new`, false, "a b dir"},
		"mkdir, filled":      {raw(opMkdir, fuse.MkdirIn{}, "new"), `mkdir -p new/x`, false, "a b dir new"},
		"symlink, done":      {raw(opSymlink, fuse.InHeader{}, "new", "target"), `ln -s target new`, false, "a b dir"},
		"mknod, done":        {raw(opMknod, fuse.MknodIn{}, "new"), `mkfifo new`, false, "a b dir"},
		"link, done":         {raw(opLink, fuse.LinkIn{}, "new"), `ln a new`, false, "a b dir"},
		"unlink, not done":   {raw(opUnlink, fuse.InHeader{}, "a"), ``, false, "a b dir"},
		"unlink, done":       {raw(opUnlink, fuse.InHeader{}, "a"), `rm a`, true, "b dir"},
		"unlink of nothing":  {raw(opUnlink, fuse.InHeader{}, "new"), ``, false, "a b dir"},
		"rmdir, done":        {raw(opRmdir, fuse.InHeader{}, "dir"), `rmdir dir`, true, "a b"},
		"rename, not done":   {raw(opRename2, rename, "a", "new"), ``, false, "a b dir"},
		"rename, done":       {raw(opRename2, rename, "a", "new"), `mv a new`, true, "b dir new"},
		"rename over, done":  {raw(opRename2, rename, "a", "b"), `mv a b`, true, "b dir"},
		"noreplace, done":    {raw(opRename2, noreplace, "a", "new"), `mv a new`, false, "a b dir"},
		"exchange, done":     {raw(opRename2, exchange, "a", "b"), `mv a x; mv b a; mv x b`, true, "a b dir"},
		"exchange, not done": {raw(opRename2, exchange, "a", "b"), ``, false, "a b dir"},
		"removexattr, done":  {raw(opRemovexattr, fuse.InHeader{NodeId: 1}, "user.x"), `REMOVEXATTR`, true, "a b dir"},
		"removexattr, not":   {raw(opRemovexattr, fuse.InHeader{NodeId: 1}, "user.x"), ``, false, "a b dir"},
	} {
		t.Run(name, func(t *testing.T) {
			fs, _ := newFS(t)
			dir := fs.Root.Name()
			run(t, dir, `touch a b; mkdir dir`)
			if err := unix.Setxattr(dir, "user.x", []byte("y"), 0); err != nil {
				t.Fatal(err)
			}
			fs.Begin(c.request)
			if c.do == "REMOVEXATTR" {
				if err := unix.Removexattr(dir, "user.x"); err != nil {
					t.Fatal(err)
				}
			} else {
				run(t, dir, c.do)
			}
			_, answers := successor(t, fs, nil, sentAgain(c.request))
			if _, is := answers[42]; is != c.answered {
				t.Errorf("answered: %v, want %v", is, c.answered)
			}
			if got := run(t, dir, `echo *`); got != c.want+"\n" {
				t.Errorf("left: %swant: %s", got, c.want)
			}
		})
	}
}

// What was answered is not touched, though nobody noted that it was.
func TestAnsweredIsLeftAlone(t *testing.T) {
	fs, _ := newFS(t)
	fs.Begin(raw(opCreate, fuse.CreateIn{}, "new"))
	run(t, fs.Root.Name(), `touch new`)
	fs, _ = successor(t, fs, nil)
	if got := run(t, fs.Root.Name(), `echo *`); got != "new\n" {
		t.Errorf("left: %s", got)
	}
	if n := len(fs.Remains.under()); n != 0 {
		t.Errorf("%d requests are under way", n)
	}
}

// Where requests are not sent again, what one made is taken back, and nothing that a request before it, of the same
// record, was about.
func TestTakeBackWithoutResend(t *testing.T) {
	for _, c := range []struct {
		last Request
		want string
	}{
		{raw(opCreate, fuse.CreateIn{}, "other"), "new\n"},
		{raw(opLookup, fuse.InHeader{}, "new"), "new other\n"},
		{raw(opWrite, fuse.WriteIn{}), "new other\n"},
	} {
		fs, _ := newFS(t)
		fs.End(fs.Begin(raw(opCreate, fuse.CreateIn{}, "new")))
		run(t, fs.Root.Name(), `touch new`)
		fs.Begin(c.last)
		run(t, fs.Root.Name(), `touch other`)
		successorOf(t, fs, nil, false)
		if got := run(t, fs.Root.Name(), `echo *`); got != c.want {
			t.Errorf("operation %d: left %q, want %q", c.last.header().Opcode, got, c.want)
		}
	}
}

// An append is done once, however far the server came with it.
func TestSettleAppend(t *testing.T) {
	for _, c := range []struct {
		written  string
		answered bool
		left     string
	}{
		{"", false, "before"}, {"da", false, "before"}, {"data", true, "beforedata"}, {"dirt", false, "beforedirt"},
	} {
		fs, _ := newFS(t)
		path := fs.Root.Name() + "/f"
		run(t, fs.Root.Name(), `printf before > f`)
		var out fuse.EntryOut
		if st := fs.Lookup(nil, &rootHeader, "f", &out); !st.Ok() {
			t.Fatal(st)
		}
		fs.inodes.answered(out.NodeId, fuse.FUSE_ROOT_ID, "f")
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fh := fs.handles.add(&handle{fd: int(file.Fd()), node: fs.inodes.node(out.NodeId)})
		about := kept(t, fs, fh)
		r := append(raw(opWrite, fuse.WriteIn{Fh: fh, Size: 4, Flags: unix.O_APPEND | unix.O_WRONLY}), "data"...)
		w := as[fuse.WriteIn](r)
		w.Fh, w.Size, w.Flags = fh, 4, unix.O_APPEND|unix.O_WRONLY
		fs.Begin(r)
		run(t, fs.Root.Name(), `printf '`+c.written+`' >> f`)
		_, answers := successor(t, fs, []Kept{about}, sentAgain(r))
		if _, is := answers[42]; is != c.answered {
			t.Errorf("%q: answered: %v, want %v", c.written, is, c.answered)
		}
		if text, _ := os.ReadFile(path); string(text) != c.left {
			t.Errorf("%q: left %q, want %q", c.written, text, c.left)
		}
		file.Close()
	}
}

// keeping is a Keeper of one handle.
type keeping struct{ Kept }

func (k *keeping) Keep(fh uint64, about []byte, fd int) {
	own, _ := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	k.Kept = Kept{Fh: fh, About: about, Fd: own}
}
func (*keeping) Drop(uint64) {}

func kept(t *testing.T, fs *FS, fh uint64) Kept {
	t.Helper()
	var k keeping
	fs.handles.keep(fh, &k)
	return k.Kept
}

// lookedUp is the node of an entry, which the kernel has one more reference to.
func lookedUp(t *testing.T, fs *FS, in uint64, name string) uint64 {
	t.Helper()
	h, out := rootHeader, fuse.EntryOut{}
	h.NodeId = in
	if st := fs.Lookup(nil, &h, name, &out); !st.Ok() {
		t.Fatal(name, st)
	}
	fs.inodes.answered(out.NodeId, in, name)
	return out.NodeId
}

// The nodes that the kernel knows mean the same inodes afterwards, also those of which the name is stale if a handle is open.
func TestInheritNodes(t *testing.T) {
	fs, _ := newFS(t)
	dir := fs.Root.Name()
	run(t, dir, `mkdir d; echo f > d/f; echo g > g; echo h > h`)
	look := func(in uint64, name string) uint64 {
		t.Helper()
		return lookedUp(t, fs, in, name)
	}
	d := look(fuse.FUSE_ROOT_ID, "d")
	f, g, h := look(d, "f"), look(fuse.FUSE_ROOT_ID, "g"), look(fuse.FUSE_ROOT_ID, "h")
	fd, err := unix.Open(dir+"/g", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	open := kept(t, fs, fs.handles.add(&handle{fd: fd, node: fs.inodes.node(g)}))
	run(t, dir, `rm g; mv h elsewhere`) // past the mount
	before := map[uint64]lockmgr.InodeID{d: fs.inodes.node(d).real, f: fs.inodes.node(f).real, g: fs.inodes.node(g).real}
	after, _ := successor(t, fs, []Kept{open})
	fs = after
	for node, real := range before {
		if n := after.inodes.node(node); n == nil || n.real != real {
			t.Errorf("node %d is %+v, want %v", node, n, real)
		}
	}
	r := raw(opRead, fuse.ReadIn{})
	if r.header().NodeId = h; !after.Lost(r) {
		t.Error("h was moved, and is not lost")
	}
	run(t, dir, `mv elsewhere found`)
	if node := look(fuse.FUSE_ROOT_ID, "found"); node != h || after.Lost(r) {
		t.Errorf("h is found as node %d, and was %d", node, h)
	}
	after.Forget(h, 1) // the second reference
	for _, node := range []uint64{f, g, h, d} {
		after.Forget(node, 1)
	}
	last, _ := successor(t, after, nil)
	if n := last.inodes.count(); n > 2 { // g is kept by its handle only
		t.Errorf("%d inodes are left of those that were forgotten", n)
	}
}

// An inode that the kernel forgot while no server heard it has no part in a later one of its number: that is another node, and the next server finds
// it as what it is.
func TestNumberOfForgottenUsedAgain(t *testing.T) {
	for name, make := range map[string]string{"of another type": `mkdir old`, "born later": `touch old`} {
		t.Run(name, func(t *testing.T) {
			fs, _ := newFS(t)
			dir := fs.Root.Name()
			run(t, dir, make)
			before := lookedUp(t, fs, fuse.FUSE_ROOT_ID, "old")
			record := fs.inodes.node(before).record
			record.answered -= 1000 // file systems have coarse clocks
			run(t, dir, `rm -r old; touch new`)
			fd, st, err := statAt(int(fs.Root.Fd()), "new")
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			record.ino = st.Ino // as the file system would number it if nobody had the old one open
			fs, _ = successor(t, fs, nil)
			node := lookedUp(t, fs, fuse.FUSE_ROOT_ID, "new")
			if node == before {
				t.Error("the new file is the node of the old one")
			}
			fs, _ = successor(t, fs, nil)
			if n := fs.inodes.node(node); n == nil || n.mode != unix.S_IFREG {
				t.Errorf("the next server finds %+v", n)
			}
			r := raw(opRead, fuse.ReadIn{})
			if r.header().NodeId = before; !fs.Lost(r) {
				t.Error("the old one is not lost to who still knows it")
			}
		})
	}
}

// What a rename is taken back of is found by the server that takes it back.
func TestTakenBackIsFound(t *testing.T) {
	fs, _ := newFS(t)
	dir := fs.Root.Name()
	run(t, dir, `touch a`)
	node := lookedUp(t, fs, fuse.FUSE_ROOT_ID, "a")
	request := raw(opRename2, fuse.RenameIn{Newdir: fuse.FUSE_ROOT_ID, Flags: unix.RENAME_NOREPLACE}, "a", "new")
	fs.Begin(request)
	run(t, dir, `mv a new`)
	fs, _ = successor(t, fs, nil, sentAgain(request))
	if fs.inodes.node(node) == nil {
		t.Error("it is lost")
	}
}
