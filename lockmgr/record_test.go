package lockmgr

import (
	"errors"
	"testing"
	"time"
)

// book is a Ledger that can be full.
type book struct {
	full    error
	records map[Key]Record
	inodes  map[Key]InodeID
}

func newBook() *book { return &book{records: map[Key]Record{}, inodes: map[Key]InodeID{}} }

func (b *book) Enter(k Key, inode InodeID, r Record) error {
	if b.full != nil {
		return b.full
	}
	b.records[k], b.inodes[k] = r, inode
	return nil
}

func (b *book) Strike(k Key) { delete(b.records, k) }

func newWorldWithBook(t testing.TB) (*world, *book) {
	w, b := newWorld(t), newBook()
	w.m.Ledger = b
	return w, b
}

// again is the same world after its Manager has died.
func (w *world) again(b *book, standing func(Record) Standing) {
	old := w.m.Config
	old.FirstToken = 1
	w.m = New(old)
	w.pins = map[InodeID]int{}
	for k, r := range b.records {
		w.m.Restore(k, b.inodes[k], KindFile, r, standing(r))
	}
}

func (w *world) standing(p Process) func(Record) Standing {
	return func(r Record) Standing {
		return Standing{Owner: Process{Identity: r.Owner, NSPIDs: r.NSPIDs}, Verdict: w.Verdict(r.Owner)}
	}
}

func (w *world) stateOf(k Key) (State, Token) {
	for _, l := range w.m.Snapshot() {
		if l.Key == k {
			return l.State, l.Token
		}
	}
	return Free, 0
}

// What can't be recorded was not granted, and nobody is owner of anything.
func TestFullLedgerGrantsNothing(t *testing.T) {
	w, b := newWorldWithBook(t)
	a, k := process("A"), key("x.jsonl.lock")
	b.full = errors.New("no space left on device")
	turn := w.m.At(k)
	if o, err := turn.Create(a.Identity); o != Grant || err != nil {
		t.Fatalf("%v, %v", o, err)
	}
	if _, err := turn.Granted(a, InodeID{Dev: 8, Ino: 200}, KindFile, true); !errors.Is(err, b.full) {
		t.Errorf("error %v, want %v", err, b.full)
	}
	turn.End()
	if state, _ := w.stateOf(k); state != Free {
		t.Errorf("the name is %v", state)
	}
	b.full = nil
	w.creates("B", process("B"), k, file(""), true)
	if state, _ := w.stateOf(k); state != Held {
		t.Errorf("B's lock is %v", state)
	}
}

func TestRestoreTheLiving(t *testing.T) {
	w, b := newWorldWithBook(t)
	a, k := process("A"), key("x.jsonl.lock")
	w.creates("A", a, k, file(""), false)
	_, token := w.stateOf(k)
	w.again(b, w.standing(a))
	state, now := w.stateOf(k)
	if state != Held || now != token {
		t.Errorf("%v with token %d, want held with %d", state, now, token)
	}
	w.creates("C", process("C"), key("y.jsonl.lock"), file(""), false)
	if _, next := w.stateOf(key("y.jsonl.lock")); next <= token {
		t.Errorf("token %d after %d", next, token)
	}
}

func TestRestoreTheDead(t *testing.T) {
	for _, c := range []struct {
		name       string
		handleOpen bool
		rebooted   bool
		want       State
	}{
		{"x.jsonl.lock", false, false, Orphan},
		{"x.jsonl.lock", false, true, Orphan},
		{"x.jsonl.lock", true, false, Held}, // a child has it open
	} {
		w, b := newWorldWithBook(t)
		a, k := process("A"), key(c.name)
		w.creates("A", a, k, file(""), false)
		w.again(b, func(r Record) Standing {
			return Standing{
				Owner: Process{Identity: r.Owner, NSPIDs: r.NSPIDs}, Verdict: Dead, Rebooted: c.rebooted, HandleOpen: c.handleOpen,
			}
		})
		if state, token := w.stateOf(k); state != c.want {
			t.Errorf("%+v: %v", c, state)
		} else if c.handleOpen {
			w.m.HandleClosed(k, token)
			if state, _ := w.stateOf(k); state != Orphan {
				t.Errorf("%+v, when the handle is closed: %v", c, state)
			}
		}
	}
}

// 100,000 recorded locks are taken over within a fraction of the second that clients may wait.
func TestRestoreMany(t *testing.T) {
	const many = 100_000
	w, _ := newWorldWithBook(t)
	w.quiet = true
	started := time.Now()
	for i := range many {
		p := testProcess(int32(1000+i%1000), 1, 1)
		w.m.Restore(Key{dirOne, string(rune('a'+i%26)) + time.Duration(i).String() + ".lock"}, InodeID{Dev: 8, Ino: uint64(1000 + i)}, KindFile,
			Record{Token: Token(i + 1), Owner: p.Identity, NSPIDs: p.NSPIDs}, Standing{Owner: p, Verdict: Alive})
	}
	t.Logf("%d locks restored in %v", many, time.Since(started))
	if n := len(w.m.Snapshot()); n != many {
		t.Errorf("%d locks", n)
	}
}
