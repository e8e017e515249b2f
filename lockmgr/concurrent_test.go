package lockmgr

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is processes that fight over a few names at once, each in a goroutine. Who was
// granted a name notes it down, and finds nobody else there.
type crowd struct {
	*world
	keys    []Key
	holders []atomic.Int64 // by name: the process that holds it, 0 for none
	born    atomic.Int64
	grants  atomic.Int64
}

// fighter is one process after the other, in one goroutine.
type fighter struct {
	*crowd
	r     *rand.Rand
	p     Process
	actor string
}

func (f *fighter) birth() {
	n := f.born.Add(1)
	f.p = testProcess(int32(n), uint64(n), 1)
	f.actor = fmt.Sprint("P", n)
	if f.r.IntN(4) == 0 {
		f.mu.Lock()
		f.blind[f.p.Identity] = true
		f.mu.Unlock()
	}
}

func (f *fighter) fight(rounds int) {
	f.birth()
	for range rounds {
		f.mu.Lock()
		f.now = f.now.Add(time.Millisecond)
		f.mu.Unlock()
		i := f.r.IntN(len(f.keys))
		k := f.keys[i]
		switch d := f.r.IntN(20); {
		case d < 12:
			f.hold(i, k)
		case d < 14:
			f.removes(f.p, k) // whoever holds it will miss it if that succeeds
		case d < 15:
			f.stats(f.p, k)
		case d < 16:
			f.reads(f.p, k)
		case d < 17:
			f.changes(f.p, k, nil)
		case d < 18:
			f.lists(f.p)
		case d < 19:
			f.m.Snapshot()
			f.m.Contention()
			f.m.TracksIn(dirOne)
			f.m.Holder(f.inodeAt(k))
			f.m.Put(f.inodeAt(k), f.p.Identity)
			f.m.Take(f.inodeAt(k), f.p.Identity)
		default:
			f.reap()
		}
	}
	f.dies(f.p, false)
}

// hold takes the name if it can, and gives it up in one of the ways there are.
func (f *fighter) hold(i int, k Key) {
	got, open := f.makes(k)
	if got != "granted" {
		return
	}
	me := int64(f.p.PID)
	if !f.holders[i].CompareAndSwap(0, me) {
		f.t.Errorf("two winners of %s: %d and %d", k.Name, f.holders[i].Load(), me)
	}
	f.grants.Add(1)
	session := f.r.IntN(2) == 0
	if open && session {
		f.writes(f.actor, k, payload("session", f.p, f.clock()))
	} else if open {
		f.writes(f.actor, k, payload("pid", f.p, f.clock()))
	}
	second := open && session && f.r.IntN(3) == 0
	if second {
		// ENOENT if an earlier lock of this process went at its close, and its own removal
		// never came to us since the name was gone by then: rule 6's "next removal" is this.
		if got := f.removes(f.p, k); got != "EBUSY" && got != "ENOENT" {
			f.t.Errorf("a second caller's removal: %s", got)
		}
	}
	if sight, _ := f.reads(f.p, k); sight != "exact" {
		f.t.Errorf("the owner's lock reads %s", sight)
	}
	f.holders[i].Store(0) // from here on it is done with it
	switch way := f.r.IntN(4); {
	case way == 0:
		f.dies(f.p, false)
		f.birth()
	case !open:
		f.want("removal", f.removes(f.p, k), "ok")
	case second:
		f.closes(f.actor, f.p, k)
		f.want("removal after the handle closed", f.removes(f.p, k), "ENOENT")
	case way == 1 && !session:
		f.want("removal before the close", f.removes(f.p, k), "ok")
		f.closes(f.actor, f.p, k)
	case way == 2: // RELEASE comes late
		f.flushes(f.actor, f.p, k)
		f.want("removal before RELEASE", f.removes(f.p, k), "ok")
		f.releases(f.actor, k)
	default:
		f.closes(f.actor, f.p, k)
		f.want("removal", f.removes(f.p, k), "ok")
	}
}

// makes tries one of the exclusive acts. open says whether its handle is, if it has one.
func (f *fighter) makes(k Key) (got string, open bool) {
	tmp := key(fmt.Sprint("tmp", f.p.PID))
	switch f.r.IntN(8) {
	case 0:
		return f.creates(f.actor, f.p, k, Content{Kind: KindDir}, false), false
	case 1:
		f.puts(f.p, tmp, payload("pid", f.p, f.clock()))
		got = f.links(f.p, tmp, k)
		f.removes(f.p, tmp)
		return got, false
	case 2:
		f.puts(f.p, tmp, payload("pid", f.p, f.clock()))
		got = f.renames(f.p, tmp, k)
		f.removes(f.p, tmp)
		return got, false
	}
	open = f.r.IntN(4) > 0
	return f.creates(f.actor, f.p, k, file(""), open), open
}

func (f *fighter) want(what, got, want string) {
	if got != want {
		f.t.Errorf("%s by %s: got %s, want %s", what, f.actor, got, want)
	}
}

func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	w.quiet = true
	c := &crowd{world: w, keys: []Key{key("x.jsonl.lock"), key("y.lock"), key("d2/z.lock")}}
	c.holders = make([]atomic.Int64, len(c.keys))
	rounds := min(*modelSteps/40, 5000)
	var fighters, reaper sync.WaitGroup
	for g := range 8 {
		fighters.Add(1)
		go func() {
			defer fighters.Done()
			f := &fighter{crowd: c, r: rand.New(rand.NewPCG(uint64(g), 3))}
			f.fight(rounds)
		}()
	}
	done := make(chan struct{})
	reaper.Add(1)
	go func() {
		defer reaper.Done()
		for {
			select {
			case <-done:
				return
			default:
				w.reap()
				w.tellDeaths()
			}
		}
	}()
	finished := make(chan struct{})
	go func() { fighters.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(2 * time.Minute):
		t.Fatal("deadlock: the fighters do not come to an end")
	}
	close(done)
	reaper.Wait()
	c.aftermath()
	if c.grants.Load() == 0 {
		t.Error("nobody was ever granted anything")
	}
	t.Logf("%d grants", c.grants.Load())
}

// aftermath checks that nothing is stuck once all are dead.
func (c *crowd) aftermath() {
	c.tellDeaths()
	last := testProcess(1<<30, 1, 1)
	for _, k := range c.keys {
		if got := c.creates("last", last, k, file(""), false); got != "granted" {
			c.t.Errorf("all are dead and %s is stuck: %s, %s", k.Name, got, c.state(k))
		}
		if got := c.removes(last, k); got != "ok" {
			c.t.Errorf("removing %s: %s", k.Name, got)
		}
	}
	c.reapAll()
	c.noLeaks()
	if n := len(c.m.inodes) + len(c.m.owners) + len(c.m.dirs); n > 0 {
		c.t.Errorf("%d things are remembered that are gone", n)
	}
}

// TestTurnsInAnyOrder takes two turns at once from both sides: no order may deadlock.
func TestTurnsInAnyOrder(t *testing.T) {
	w := newWorld(t)
	keys := []Key{key("x.lock"), key("y.lock"), key("d2/x.lock"), {InodeID{Dev: 1, Ino: 9}, "x.lock"}}
	var all sync.WaitGroup
	for g := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			r := rand.New(rand.NewPCG(uint64(g), 5))
			for range 2000 {
				a, b := keys[r.IntN(4)], keys[r.IntN(4)]
				first, second := w.m.Turns(a, b)
				if first.e.key != a || second.e.key != b {
					t.Errorf("turns at %v and %v, want %v and %v", first.e.key, second.e.key, a, b)
				}
				first.End()
				if a != b {
					second.End()
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("deadlock")
	}
	w.noLeaks()
}

// TestInodeGoesWhileWaiting has somebody wait for the turn of an inode that is released
// and granted anew under another number meanwhile.
func TestInodeGoesWhileWaiting(t *testing.T) {
	w := newWorld(t)
	a, b, k := process("A"), process("B"), key("x.lock")
	w.creates("A", a, k, file(""), false)
	inode := w.inodeAt(k)
	turn := w.m.At(k)
	found := make(chan *Turn)
	go func() { found <- w.m.AtInode(inode) }()
	for waiting := int32(0); waiting < 2; {
		w.m.mu.Lock()
		waiting = w.m.names.at(k).uses
		w.m.mu.Unlock()
	}
	turn.Removed(a.Identity, turn.Remove(a.Identity))
	turn.Granted(b, InodeID{Dev: 8, Ino: 4711}, KindFile, false)
	turn.End()
	if got := <-found; got != nil {
		t.Errorf("got a turn at %v, whose inode is another now", got.e.key)
		got.End()
	}
	w.noLeaks()
}

// TestNamesOfOneInodeInAnyOrder has many act at once by inode and by name where an inode has
// two names: no order may deadlock, and what is held by either stays protected.
func TestNamesOfOneInodeInAnyOrder(t *testing.T) {
	w := newWorld(t)
	w.quiet = true
	a, b := process("A"), process("B")
	w.puts(a, key("tmp"), payload("pid", a, w.now))
	inode := w.inodeAt(key("tmp"))
	w.links(a, key("tmp"), key("a.lock"))
	w.links(a, key("tmp"), key("b.lock"))
	var all sync.WaitGroup
	for g := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			r := rand.New(rand.NewPCG(uint64(g), 9))
			for range 2000 {
				switch r.IntN(4) {
				case 0:
					first, second := w.m.Turns(key("b.lock"), key("a.lock"))
					first.End()
					second.End()
				case 1:
					if turn := w.m.AtInode(inode); turn == nil || turn.Change(b.Identity) != Busy {
						t.Error("B may change what A holds")
					} else {
						turn.End()
					}
				case 2: // b.lock comes and goes
					w.links(a, key("a.lock"), key("b.lock"))
				default:
					w.removes(a, key("b.lock"))
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("deadlock")
	}
	w.noLeaks()
}
