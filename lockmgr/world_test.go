package lockmgr

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is everything a Manager needs, in memory: a directory tree, the kernel's news
// of deaths, a reaper, a judge and a clock that only moves when it is told to. Its
// actor methods play what fsnode does with a system call: a LOOKUP in a turn of its
// own, then the act in another.
type world struct {
	t    testing.TB
	m    *Manager
	self Identity

	mu       sync.Mutex // guards what follows
	now      time.Time
	disk     map[Key]*node
	freed    []uint64 // inode numbers to be used again, the last freed first
	lastIno  uint64
	handles  []*handle
	dead     map[Identity]bool
	blind    map[Identity]bool // processes that can't be watched
	watched  map[Identity]bool
	killed   map[Identity]bool // by a signal
	asked    map[Identity]int  // how often it was asked whether it was
	policy   Policy
	news     []Identity // deaths to be told
	slow     bool       // they are not told for now
	reaps    []reap
	judging  []judgement
	pins     map[InodeID]int
	log      []Event
	quiet    bool // keep no log
	lost     []lostFile
	readFail error // what Tree.Content answers instead
	rmFail   error // what Tree.Remove answers instead
	away     bool  // the reaper can't reach the mount
	barge    bool  // somebody makes a file in the next lock directory that was just emptied
}

// node is an inode of the fake disk.
type node struct {
	id    InodeID
	c     Content
	maker Process
	links int
	opens int
}

// handle is the creating handle of a lock.
type handle struct {
	k       Key
	token   Token
	n       *node
	holders map[string]Identity // who has it open, by actor
}

type reap struct {
	k     Key
	token Token
}

type judgement struct {
	k     Key
	inode InodeID
}

// lostFile is a file that we, not an actor, took from the disk.
type lostFile struct {
	k  Key
	c  Content
	by string // "create" or "reaper"
	n  *node
}

var dirOne = InodeID{Dev: 8, Ino: 2}

func newWorld(t testing.TB) *world {
	w := &world{
		t:       t,
		self:    Identity{PID: 999, StartTime: 1, Pidfs: 999},
		now:     time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		disk:    map[Key]*node{},
		lastIno: 100,
		dead:    map[Identity]bool{},
		blind:   map[Identity]bool{},
		watched: map[Identity]bool{},
		killed:  map[Identity]bool{},
		asked:   map[Identity]int{},
		pins:    map[InodeID]int{},
	}
	w.m = New(Config{
		Policy: DefaultPolicy(), Tree: w, Deaths: w, Reaper: w, Judge: w, Self: w.self,
		Now: w.clock, FirstToken: 1, Events: w.event,
	})
	return w
}

// key is the key of "name" or "dir/name". A directory named with a g is a git directory.
func key(path string) Key {
	dir, name, ok := strings.Cut(path, "/")
	switch {
	case !ok:
		return Key{dirOne, path}
	case dir[0] == 'g':
		return Key{InodeID{Dev: 8, Ino: gitDirs + uint64(dir[len(dir)-1])}, name}
	}
	return Key{InodeID{Dev: 8, Ino: plainDirs + uint64(dir[len(dir)-1])}, name}
}

// Where the numbers of directories start that are always there.
const (
	plainDirs = 1 << 40
	gitDirs   = 1 << 41
)

// key is key for names inside directories that were made here, too.
func (w *world) key(path string) Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := strings.LastIndex(path, "/")
	if at < 0 {
		return key(path)
	}
	dir := w.pathKey(path[:at])
	if n := w.disk[dir]; n != nil && n.c.Kind == KindDir {
		return Key{n.id, path[at+1:]}
	}
	return key(path)
}

func (w *world) pathKey(path string) Key {
	if at := strings.LastIndex(path, "/"); at >= 0 {
		if n := w.disk[w.pathKey(path[:at])]; n != nil {
			return Key{n.id, path[at+1:]}
		}
	}
	return key(path)
}

// turnAt takes a turn as fsnode does: git's own locks are told apart.
func (w *world) turnAt(k Key) *Turn { return inGit(k, w.m.At(k)) }

func inGit(k Key, t *Turn) *Turn {
	if t != nil && k.Dir.Ino >= gitDirs && GitLock("", k.Name) {
		t.InGit()
	}
	return t
}

// process is the process of an actor: "A" and its threads "A1" and "A2" are one; "U"
// is a caller that the kernel can't name.
func process(actor string) Process {
	name := strings.TrimRight(actor, "0123456789")
	if name == "U" {
		return Process{}
	}
	n := int32(0)
	for _, c := range name {
		n = n*26 + int32(c-'A') + 1
	}
	return testProcess(200+n, uint64(n), 10+n)
}

func testProcess(pid int32, start uint64, nspid int32) Process {
	return Process{
		Identity: Identity{PID: pid, StartTime: start, Pidfs: start<<20 | uint64(pid)},
		NSPIDs:   []int32{pid, nspid}, Comm: "node",
	}
}

// The interfaces that the Manager asks for.

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) event(ev Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.quiet {
		w.log = append(w.log, ev)
	}
}

func (w *world) Content(k Key, inode InodeID) (Content, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.readFail != nil {
		return Content{}, w.readFail
	}
	n := w.disk[k]
	if n == nil || n.id != inode {
		return Content{}, ErrGone
	}
	return w.content(n), nil
}

// content is what is under a name, with what is in it. Callers hold w.mu.
func (w *world) content(n *node) Content {
	c := n.c
	if c.Kind != KindDir {
		return c
	}
	for k, in := range w.disk {
		if k.Dir != n.id {
			continue
		}
		if in.c.Kind != KindFile || len(c.Files) == MaxFiles {
			c.Full = true
			continue
		}
		c.Files = append(c.Files, Content{Name: k.Name, Inode: in.id, Data: in.c.Data})
	}
	return c
}

func (w *world) Empty(k Key, inode InodeID, files []Content) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.disk[k]
	if n == nil || n.id != inode {
		return ErrGone
	}
	if w.rmFail != nil {
		return w.rmFail
	}
	now := w.content(n)
	if now.Full || len(now.Files) != len(files) {
		return ErrChanged
	}
	for _, f := range files {
		if in := w.disk[Key{inode, f.Name}]; in == nil || in.id != f.Inode || !bytes.Equal(in.c.Data, f.Data) {
			return ErrChanged
		}
	}
	for _, f := range files {
		w.lost = append(w.lost, lostFile{Key{inode, f.Name}, f, "emptying", w.disk[Key{inode, f.Name}]})
		w.unlink(Key{inode, f.Name})
	}
	if w.barge {
		w.make(Key{inode, "data"}, file("data"), Process{})
	}
	return nil
}

// full reports whether a directory can't be removed. Callers hold w.mu.
func (w *world) full(n *node) bool {
	c := w.content(n)
	return c.Full || len(c.Files) > 0
}

// guarded asks, for an act in a directory, each lock directory above.
func (w *world) guarded(p Process, k Key, ask func(InodeID, Identity) Outcome) Outcome {
	for dir := k.Dir; dir.Ino < plainDirs && dir != dirOne; {
		if o := ask(dir, p.Identity); o.Refused() {
			return o
		}
		w.mu.Lock()
		up := InodeID{Ino: plainDirs}
		for k, n := range w.disk {
			if n.id == dir {
				up = k.Dir
			}
		}
		w.mu.Unlock()
		dir = up
	}
	return Pass
}

func (w *world) Remove(k Key, inode InodeID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.disk[k]
	if n == nil || n.id != inode {
		return ErrGone
	}
	if w.rmFail != nil {
		return w.rmFail
	}
	if w.full(n) {
		return errors.New("directory not empty")
	}
	w.lost = append(w.lost, lostFile{k, n.c, "create", n})
	w.unlink(k)
	return nil
}

func (w *world) Pin(dir InodeID) { w.mu.Lock(); w.pins[dir]++; w.mu.Unlock() }

func (w *world) Unpin(dir InodeID) { w.mu.Lock(); w.pins[dir]--; w.mu.Unlock() }

func (w *world) Watch(id Identity) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.blind[id]:
		return errors.New("too many open files")
	case w.dead[id]:
		w.news = append(w.news, id)
	default:
		w.watched[id] = true
	}
	return nil
}

func (w *world) Verdict(id Identity) Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead[id] {
		return Dead
	}
	return Alive
}

func (w *world) Killed(id Identity) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[id]++
	return w.killed[id]
}

func (w *world) Reap(k Key, token Token) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reaps = append(w.reaps, reap{k, token})
}

func (w *world) Judge(k Key, inode InodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judging = append(w.judging, judgement{k, inode})
}

// The disk. Callers hold w.mu.

func (w *world) make(k Key, c Content, maker Process) *node {
	var ino uint64
	for i, number := range slices.Backward(w.freed) { // a pinned inode's number is not free
		if w.pins[InodeID{Dev: 8, Ino: number}] == 0 {
			ino, w.freed = number, slices.Delete(w.freed, i, i+1)
			break
		}
	}
	if ino == 0 {
		w.lastIno++
		ino = w.lastIno
	}
	n := &node{id: InodeID{Dev: 8, Ino: ino}, c: c, maker: maker, links: 1}
	w.disk[k] = n
	return n
}

func (w *world) unlink(k Key) {
	if n := w.disk[k]; n != nil {
		delete(w.disk, k)
		n.links--
		w.free(n)
	}
}

func (w *world) free(n *node) {
	if n.links == 0 && n.opens == 0 {
		w.freed = append(w.freed, n.id.Ino)
	}
}

// at is what is under a name on the disk.
func (w *world) at(k Key) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.disk[k]
}

func (w *world) inodeAt(k Key) InodeID {
	if n := w.at(k); n != nil {
		return n.id
	}
	return InodeID{}
}

// What actors do. Each answers as the system call would: "ok", "granted" or an errno.

// looks is the LOOKUP that comes before everything: whether the name is shown.
func (w *world) looks(c Identity, k Key, creating bool) bool {
	t := w.turnAt(k)
	defer t.End()
	found := w.inodeAt(k)
	return t.Look(c, found, func() bool { return creating }) != Hidden && found != InodeID{}
}

// creates is an exclusive act. With open its handle stays open.
func (w *world) creates(actor string, p Process, k Key, c Content, open bool) string {
	if w.looks(p.Identity, k, true) {
		return "EEXIST"
	}
	if o := w.guarded(p, k, w.m.Put); o.Refused() {
		return errno(o)
	}
	t := w.turnAt(k)
	defer t.End()
	o, err := t.Create(p.Identity)
	if err != nil {
		return "EIO"
	}
	if o != Grant {
		return errno(o)
	}
	w.mu.Lock()
	if w.disk[k] != nil {
		w.mu.Unlock()
		return "EEXIST"
	}
	n := w.make(k, c, p)
	h := &handle{k: k, n: n, holders: map[string]Identity{actor: p.Identity}}
	if open {
		n.opens++
		w.handles = append(w.handles, h)
	}
	w.mu.Unlock()
	token, _ := t.Granted(p, n.id, c.Kind, open)
	w.mu.Lock()
	h.token = token
	w.mu.Unlock()
	return "granted"
}

// links is the exclusive link of an entry, which need not be a lock, onto a name.
func (w *world) links(p Process, from, to Key) string {
	if !w.looks(p.Identity, from, false) {
		return "ENOENT"
	}
	if w.looks(p.Identity, to, true) {
		return "EEXIST"
	}
	n := w.at(from)
	switch {
	case n == nil:
		return "ENOENT"
	case n.c.Kind == KindDir:
		return "EPERM"
	}
	if t := w.m.AtInode(n.id); t != nil {
		o := t.Change(p.Identity)
		t.End()
		if o.Refused() {
			return errno(o)
		}
	}
	t := w.turnAt(to)
	defer t.End()
	o, err := t.Create(p.Identity)
	if err != nil || o != Grant {
		return errno(o)
	}
	w.mu.Lock()
	if w.disk[to] != nil {
		w.mu.Unlock()
		return "EEXIST"
	}
	n.links++
	w.disk[to] = n
	w.mu.Unlock()
	t.Granted(p, n.id, n.c.Kind, false)
	return "granted"
}

func (w *world) removes(p Process, k Key) string {
	if !w.looks(p.Identity, k, false) {
		return "ENOENT"
	}
	if o := w.guarded(p, k, w.m.Take); o.Refused() {
		return errno(o)
	}
	t := w.turnAt(k)
	defer t.End()
	o := t.Remove(p.Identity)
	if o.Refused() {
		return errno(o)
	}
	w.mu.Lock()
	n := w.disk[k]
	if was := n != nil; was && n.c.Kind == KindDir && w.full(n) {
		w.mu.Unlock()
		return "ENOTEMPTY"
	}
	was := n != nil
	w.unlink(k)
	w.mu.Unlock()
	if !was {
		return "ENOENT"
	}
	t.Removed(p.Identity, o)
	return "ok"
}

// moves is a rename, away from a lock, over one, or both.
func (w *world) moves(p Process, from, to Key) string {
	c := p.Identity
	if !w.looks(c, from, false) {
		return "ENOENT"
	}
	w.looks(c, to, false)
	if o := w.guarded(p, from, w.m.Take); o.Refused() {
		return errno(o)
	}
	if o := w.guarded(p, to, w.m.Put); o.Refused() {
		return errno(o)
	}
	src, dst := w.m.Turns(from, to)
	defer src.End()
	defer dst.End()
	inGit(from, src)
	inGit(to, dst)
	policy := w.m.Policy()
	away, over := Pass, Pass
	if policy.IsLock(from.Name) {
		if away = src.Remove(c); away.Refused() {
			return errno(away)
		}
	}
	if policy.IsLock(to.Name) {
		if over = dst.Replace(c); over.Refused() {
			return errno(over)
		}
	}
	w.mu.Lock()
	n := w.disk[from]
	if n == nil {
		w.mu.Unlock()
		return "ENOENT"
	}
	if w.disk[to] == n { // two names of one inode: rename(2) does nothing
		w.mu.Unlock()
		return "ok"
	}
	if over := w.disk[to]; over != nil {
		got := ""
		switch {
		case over.c.Kind == KindDir && n.c.Kind != KindDir:
			got = "EISDIR"
		case over.c.Kind != KindDir && n.c.Kind == KindDir:
			got = "ENOTDIR"
		case w.full(over):
			got = "ENOTEMPTY"
		}
		if got != "" {
			w.mu.Unlock()
			return got
		}
	}
	n.links++
	w.unlink(to)
	w.disk[to] = n
	w.unlink(from)
	w.mu.Unlock()
	if policy.IsLock(from.Name) {
		src.Removed(c, away)
	}
	if policy.IsLock(to.Name) {
		dst.Replaced(c, over, n.id, n.c.Kind)
	}
	return "ok"
}

// renames is a rename that replaces nothing: an exclusive act.
func (w *world) renames(p Process, from, to Key) string {
	c := p.Identity
	if !w.looks(c, from, false) {
		return "ENOENT"
	}
	if w.looks(c, to, true) {
		return "EEXIST"
	}
	if o := w.guarded(p, from, w.m.Take); o.Refused() {
		return errno(o)
	}
	if o := w.guarded(p, to, w.m.Put); o.Refused() {
		return errno(o)
	}
	src, dst := w.m.Turns(from, to)
	defer src.End()
	defer dst.End()
	inGit(from, src)
	inGit(to, dst)
	away := Pass
	if w.m.Policy().IsLock(from.Name) {
		if away = src.Remove(c); away.Refused() {
			return errno(away)
		}
	}
	if w.at(from) == nil { // an orphan must not go for it
		return "ENOENT"
	}
	o, err := dst.Create(c)
	if err != nil || o != Grant {
		return errno(o)
	}
	w.mu.Lock()
	n := w.disk[from]
	if w.disk[to] != nil {
		w.mu.Unlock()
		return "EEXIST"
	}
	n.links++
	w.disk[to] = n
	w.unlink(from)
	w.mu.Unlock()
	if w.m.Policy().IsLock(from.Name) {
		src.Removed(c, away)
	}
	dst.Granted(p, n.id, n.c.Kind, false)
	return "granted"
}

// exchanges swaps two names.
func (w *world) exchanges(p Process, one, two Key) string {
	c := p.Identity
	if here, there := w.looks(c, one, false), w.looks(c, two, false); !here || !there {
		return "ENOENT"
	}
	a, b := w.m.Turns(one, two)
	defer a.End()
	defer b.End()
	oa, ob := Pass, Pass
	if w.m.Policy().IsLock(one.Name) {
		if oa = a.Replace(c); oa.Refused() {
			return errno(oa)
		}
	}
	if w.m.Policy().IsLock(two.Name) {
		if ob = b.Replace(c); ob.Refused() {
			return errno(ob)
		}
	}
	w.mu.Lock()
	na, nb := w.disk[one], w.disk[two]
	if na == nil || nb == nil {
		w.mu.Unlock()
		return "ENOENT"
	}
	w.disk[one], w.disk[two] = nb, na
	w.mu.Unlock()
	a.Replaced(c, oa, nb.id, nb.c.Kind)
	b.Replaced(c, ob, na.id, na.c.Kind)
	return "ok"
}

// changes is chmod, utimes, truncate and the like, decided by inode. With data it is
// an open for writing that is followed by a write.
func (w *world) changes(p Process, k Key, data []byte) string {
	if !w.looks(p.Identity, k, false) {
		return "ENOENT"
	}
	n := w.at(k)
	switch {
	case n == nil:
		return "ENOENT"
	case data != nil && n.c.Kind == KindDir:
		return "EISDIR"
	}
	if o := w.guarded(p, k, w.m.Put); o.Refused() {
		return errno(o)
	}
	if t := w.m.AtInode(n.id); t != nil {
		defer t.End()
		if o := t.Change(p.Identity); o.Refused() {
			return errno(o)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if data != nil {
		n.c.Data = data
	}
	return "ok"
}

// puts is "echo data > name": an open that creates, but not exclusively.
func (w *world) puts(p Process, k Key, data []byte) string {
	if w.looks(p.Identity, k, false) {
		return w.changes(p, k, data)
	}
	if o := w.guarded(p, k, w.m.Put); o.Refused() {
		return errno(o)
	}
	t := w.turnAt(k)
	defer t.End()
	if o, err := t.MakeWay(p.Identity, false); err != nil {
		return "EIO"
	} else if o.Refused() {
		return errno(o)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.disk[k]
	if n == nil {
		n = w.make(k, Content{}, p)
	}
	n.c.Data = data
	return "ok"
}

// bears is an exclusive act that is granted to nobody.
func (w *world) bears(p Process, k Key, c Content) string {
	if w.looks(p.Identity, k, true) {
		return "EEXIST"
	}
	if o := w.guarded(p, k, w.m.Put); o.Refused() {
		return errno(o)
	}
	t := w.turnAt(k)
	defer t.End()
	if o, err := t.MakeWay(p.Identity, true); err != nil {
		return "EIO"
	} else if o.Refused() {
		return errno(o)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disk[k] != nil {
		return "EEXIST"
	}
	w.make(k, c, p)
	return "ok"
}

// stats answers "exact", "fresh" or "ENOENT".
func (w *world) stats(p Process, k Key) string {
	if !w.looks(p.Identity, k, false) {
		return "ENOENT"
	}
	t := w.m.AtInode(w.inodeAt(k))
	if t == nil {
		return "exact"
	}
	defer t.End()
	if t.Stat(p.Identity) == Fresh {
		return "fresh"
	}
	return "exact"
}

// reads is an open for reading, with what is read.
func (w *world) reads(p Process, k Key) (string, []byte) {
	if !w.looks(p.Identity, k, false) {
		return "ENOENT", nil
	}
	n := w.at(k)
	if n == nil {
		return "ENOENT", nil
	}
	t := w.m.AtInode(n.id)
	if t == nil {
		return "exact", w.bytes(n)
	}
	defer t.End()
	if t.Opened(p.Identity) == Fresh {
		return "fresh", Render(w.bytes(n), w.clock())
	}
	return "exact", w.bytes(n)
}

func (w *world) bytes(n *node) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return n.c.Data
}

// lists is readdir of the first directory, its names in order.
func (w *world) lists(p Process) string { return w.listsIn(p, dirOne) }

func (w *world) listsIn(p Process, dir InodeID) string {
	w.mu.Lock()
	var names []string
	for k := range w.disk {
		if k.Dir == dir {
			names = append(names, k.Name)
		}
	}
	w.mu.Unlock()
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool {
		return w.m.Listed(Key{dir, name}, p.Identity) != Shown
	})
	return strings.Join(append(names, "."), " ")
}

// handleOf is the newest handle of a name that the actor has open, nil if none.
func (w *world) handleOf(actor string, k Key) *handle {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.handles) - 1; i >= 0; i-- {
		if _, ok := w.handles[i].holders[actor]; ok && w.handles[i].k == k {
			return w.handles[i]
		}
	}
	return nil
}

// writes writes through the creating handle.
func (w *world) writes(actor string, k Key, data []byte) string {
	h := w.handleOf(actor, k)
	if h == nil {
		return "EBADF"
	}
	w.mu.Lock()
	h.n.c.Data = data
	w.mu.Unlock()
	return "ok"
}

// inherits has another process inherit the creating handle.
func (w *world) inherits(child string, p Process, parent string, k Key) string {
	h := w.handleOf(parent, k)
	if h == nil {
		return "EBADF"
	}
	w.mu.Lock()
	h.holders[child] = p.Identity
	w.mu.Unlock()
	return "ok"
}

// flushes is the FLUSH of a close, as the actor.
func (w *world) flushes(actor string, p Process, k Key) string {
	h := w.handleOf(actor, k)
	if h == nil {
		return "EBADF"
	}
	w.m.Flushed(k, h.token, p.Identity)
	return "ok"
}

// releases ends the actor's hold of the handle; the last one sends RELEASE.
func (w *world) releases(actor string, k Key) string {
	h := w.handleOf(actor, k)
	if h == nil {
		return "EBADF"
	}
	if w.drop(h, actor) {
		w.m.HandleClosed(k, h.token)
	}
	return "ok"
}

// drop reports whether that was the last holder.
func (w *world) drop(h *handle, actor string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(h.holders, actor)
	if len(h.holders) > 0 {
		return false
	}
	w.handles = slices.DeleteFunc(w.handles, func(o *handle) bool { return o == h })
	h.n.opens--
	w.free(h.n)
	return true
}

func (w *world) closes(actor string, p Process, k Key) string {
	if w.flushes(actor, p, k) != "ok" {
		return "EBADF"
	}
	return w.releases(actor, k)
}

// dies kills a process: the kernel closes its handles, then tells of its death. With
// early the RELEASEs are still under way when the death is told, and are returned.
func (w *world) dies(p Process, early bool) (late []func()) {
	w.mu.Lock()
	type held struct {
		h      *handle
		actors []string
	}
	var all []held
	for _, h := range w.handles {
		var actors []string
		for actor, id := range h.holders {
			if id == p.Identity {
				actors = append(actors, actor)
			}
		}
		if len(actors) > 0 {
			all = append(all, held{h, actors})
		}
	}
	w.dead[p.Identity] = true
	w.mu.Unlock()
	for _, o := range all {
		w.m.Flushed(o.h.k, o.h.token, p.Identity)
		for _, actor := range o.actors {
			if w.drop(o.h, actor) {
				late = append(late, func() { w.m.HandleClosed(o.h.k, o.h.token) })
			}
		}
	}
	if !early {
		for _, release := range late {
			release()
		}
		late = nil
	}
	w.mu.Lock()
	if w.watched[p.Identity] {
		delete(w.watched, p.Identity)
		w.news = append(w.news, p.Identity)
	}
	w.mu.Unlock()
	w.tellDeaths()
	return late
}

func (w *world) tellDeaths() {
	w.mu.Lock()
	if w.slow {
		w.mu.Unlock()
		return
	}
	news := w.news
	w.news = nil
	w.mu.Unlock()
	for _, id := range news {
		w.m.OwnerDied(id)
	}
}

// reap plays the reaper for the oldest entry of its queue, as fsnode has it: an unlink
// through the mount, and where that can't be reached one past it.
func (w *world) reap() string {
	w.mu.Lock()
	if len(w.reaps) == 0 {
		w.mu.Unlock()
		return "nothing to do"
	}
	r := w.reaps[0]
	w.reaps = w.reaps[1:]
	away := w.away
	w.mu.Unlock()
	got := "ESTALE"
	if !away {
		got = w.reapsThroughMount(r.k)
	}
	t := w.m.Known(r.k)
	if t == nil {
		return got
	}
	defer t.End()
	if !t.Leaving(r.token) {
		return got
	}
	if t.Reap() != nil {
		return "EIO"
	}
	if t.e.state == Abandoned {
		return "ENOENT"
	}
	return "ok, past the mount"
}

func (w *world) reapsThroughMount(k Key) string {
	if !w.looks(w.self, k, false) {
		return "ENOENT"
	}
	if o := w.guarded(Process{Identity: w.self}, k, w.m.Take); o.Refused() {
		return errno(o)
	}
	t := w.turnAt(k)
	defer t.End()
	o := t.Remove(w.self)
	if o.Refused() {
		return errno(o)
	}
	w.mu.Lock()
	n := w.disk[k]
	if n == nil {
		w.mu.Unlock()
		return "ENOENT"
	}
	if w.full(n) {
		w.mu.Unlock()
		return "ENOTEMPTY"
	}
	if w.rmFail != nil {
		w.mu.Unlock()
		return "EIO"
	}
	w.lost = append(w.lost, lostFile{k, n.c, "reaper", n})
	w.unlink(k)
	w.mu.Unlock()
	t.Removed(w.self, o)
	return "ok"
}

// reapAll answers how often it removed something.
func (w *world) reapAll() (removed int) {
	for {
		switch w.reap() {
		case "nothing to do":
			return removed
		case "ok":
			removed++
		}
	}
}

// What happens past the mount.

func (w *world) outsiderMakes(k Key, c Content) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disk[k] != nil {
		return "EEXIST"
	}
	w.make(k, c, Process{})
	return "ok"
}

func (w *world) outsiderWrites(k Key, data []byte) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disk[k] == nil {
		return "ENOENT"
	}
	w.disk[k].c.Data = data
	return "ok"
}

func (w *world) outsiderRemoves(k Key) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disk[k] == nil {
		return "ENOENT"
	}
	w.unlink(k)
	return "ok"
}

// What a test wants to know.

// state tells what the Manager thinks of a name, without settling it.
func (w *world) state(k Key) string {
	w.m.mu.Lock()
	e := w.m.names.at(k)
	w.m.mu.Unlock()
	if e == nil {
		return "free"
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	switch {
	case e.leaving:
		return "leaving"
	case e.state == Held:
		return fmt.Sprintf("held by %d", e.owner.PID)
	}
	return e.state.String()
}

// story is the log in short: what happened to which name.
func (w *world) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, ev := range w.log {
		fmt.Fprintf(&b, "%s %s; ", ev.What, ev.Key.Name)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

// noLeaks fails if the Manager knows of more than the tracked names and the marked.
func (w *world) noLeaks() {
	w.t.Helper()
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	tracked, dirs := 0, map[InodeID]int{}
	for k, e := range m.names.all() {
		if e.uses != 0 {
			w.t.Errorf("%s: %d uses are left", k.Name, e.uses)
		}
		if e.tracked() {
			tracked++
			dirs[k.Dir]++
		} else if len(e.late) == 0 {
			w.t.Errorf("%s: known for no reason", k.Name)
		}
	}
	if len(m.inodes) > tracked {
		w.t.Errorf("%d inodes are indexed for %d tracked names", len(m.inodes), tracked)
	}
	for id, held := range m.owners {
		for e := range held.entries {
			if e.state != Held || e.owner.Identity != id {
				w.t.Errorf("%s: owned by %d in the index, state %s", e.key.Name, id.PID, e.state)
			}
		}
	}
	for dir, n := range m.dirs {
		if dirs[dir] != n {
			w.t.Errorf("directory %d: %d tracked names counted, %d there", dir.Ino, n, dirs[dir])
		}
	}
	want := map[InodeID]int{}
	for dir := range dirs {
		want[dir]++
	}
	for _, e := range m.names.all() {
		if e.tracked() {
			want[e.inode]++
		}
	}
	for inode, n := range w.pins {
		if n != want[inode] {
			w.t.Errorf("inode %d: pinned %d times, want %d", inode.Ino, n, want[inode])
		}
	}
	w.mustCount()
}

// mustCount fails if what the Manager counts is not what there is. Manager.mu is taken.
func (w *world) mustCount() {
	w.t.Helper()
	there := map[State]int{}
	for _, e := range w.m.names.all() {
		if e.tracked() && !e.leaving {
			there[e.state]++
		}
	}
	for s := Free + 1; s < states; s++ {
		if n := w.m.Count(s); n != there[s] {
			w.t.Errorf("%d names are %s, %d are counted", there[s], s, n)
		}
	}
	for e := range w.m.contention.locks {
		if !e.tracked() {
			w.t.Errorf("%s: contenders are left", e.key.Name)
		}
	}
	ended := map[Token]int{}
	for _, ev := range w.log {
		if ev.Ended {
			ended[ev.Token]++
		}
	}
	for token, n := range ended {
		if n != 1 || token == 0 {
			w.t.Errorf("the grant with token %d ended %d times", token, n)
		}
	}
}

func errno(o Outcome) string {
	switch o {
	case Exists:
		return "EEXIST"
	case Busy, Remember:
		return "EBUSY"
	case Gone:
		return "ENOENT"
	}
	return "outcome " + o.String()
}

func file(s string) Content { return Content{Kind: KindFile, Data: []byte(s)} }

// payload is what a client writes, by the name that the histories have for it.
func payload(kind string, p Process, now time.Time) []byte {
	pid := p.PID
	if kind, who, ok := strings.Cut(kind, "@"); ok { // another process's
		return payload(kind, process(who), now)
	}
	stamp := now.UTC().Format(stampLayouts[0])
	name, arg, _ := strings.Cut(kind, ":")
	switch name {
	case "nothing":
		return []byte{}
	case "session": // OpenClaw up to 2026.3.1
		return fmt.Appendf(nil, "{\n  \"pid\": %d,\n  \"createdAt\": %q\n}", pid, stamp)
	case "hold": // OpenClaw from 2026.5 on, maxHoldMs in seconds
		return fmt.Appendf(nil, "{\n  \"pid\": %d,\n  \"createdAt\": %q,\n  \"starttime\": 77,\n  \"maxHoldMs\": %s000\n}\n", pid, stamp, arg)
	case "own": // with the PID that the process has in its own namespace
		return fmt.Appendf(nil, "{\"pid\":%d,\"createdAt\":%q}", p.NSPIDs[1], stamp)
	case "foreign": // somebody else's PID
		return fmt.Appendf(nil, "{\"pid\":%d,\"createdAt\":%q}", 4242, stamp)
	case "started": // the early sessions.json store
		return fmt.Appendf(nil, "{\"pid\":%d,\"startedAt\":%d}", pid, now.UnixMilli())
	case "pid":
		return fmt.Appendf(nil, "%d\n", pid)
	case "data":
		return []byte("version: 1\n")
	case "large":
		return append(payload("session", p, now), bytes.Repeat([]byte(" "), MaxPayload)...)
	}
	panic("no payload " + kind)
}

// limitHolds puts a hold limit in force for all locks.
func (w *world) limitHolds(limit HoldLimit) {
	p := DefaultPolicy()
	for i := range p.Locks {
		p.Locks[i].HoldLimit = limit
	}
	w.m.SetPolicy(p)
}
