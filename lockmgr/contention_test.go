package lockmgr

import (
	"fmt"
	"testing"
	"time"
)

func TestContention(t *testing.T) {
	w := newWorld(t)
	a, b, c := process("A"), process("B"), process("C")
	first, second := key("x.jsonl.lock"), key("y.jsonl.lock")
	w.creates("A", a, first, file(""), true)
	granted := w.clock()
	w.passes(time.Minute)
	w.creates("A", a, second, file(""), true)
	mustContend := func(what string, want int, since time.Time) {
		t.Helper()
		if n, at := w.m.Contention(); n != want || !at.Equal(since) {
			t.Errorf("%s: %d contenders since %v, want %d since %v", what, n, at, want, since)
		}
	}
	mustContend("nobody looks", 0, time.Time{})
	w.looks(b.Identity, second, true)
	mustContend("B wants the second", 1, w.clock())
	w.looks(b.Identity, first, true)
	w.looks(c.Identity, first, true)
	mustContend("B wants both, C the first", 3, granted)
	w.passes(contendFor + time.Second)
	mustContend("all went", 0, time.Time{})
	w.looks(c.Identity, first, true)
	w.closes("A", a, first)
	w.removes(a, first)
	mustContend("it was released", 0, time.Time{})
}

// Who is asked how many there are must be able to say so while a turn is taken for ever.
func TestCountingTakesNoTurn(t *testing.T) {
	w := newWorld(t)
	a, k := process("A"), key("x.jsonl.lock")
	w.creates("A", a, k, file(""), true)
	w.looks(process("B").Identity, k, true)
	turn := w.m.At(k)
	defer turn.End()
	contenders, _ := w.m.Contention()
	if held := w.m.Count(Held); held != 1 || contenders != 1 {
		t.Errorf("%d held with %d contenders, want 1 and 1", held, contenders)
	}
}

// A grant ends with one event, whatever becomes of the entry after that, and what was never granted ends none.
func TestEnded(t *testing.T) {
	a, b, k := process("A"), process("B"), key("x.jsonl.lock")
	for name, test := range map[string]struct {
		does  func(w *world)
		story string
	}{
		"released":                  {func(w *world) { w.closes("A", a, k); w.removes(a, k) }, "released"},
		"orphaned, then taken":      {func(w *world) { w.dies(a, false); w.creates("B", b, k, file(""), true) }, "orphaned"},
		"orphaned, then removed":    {func(w *world) { w.dies(a, false); w.removes(b, k) }, "orphaned"},
		"forced":                    {func(w *world) { _ = w.m.ForceRelease(k, true) }, "forced"},
		"orphaned, then forced":     {func(w *world) { w.dies(a, false); _ = w.m.ForceRelease(k, true) }, "orphaned"},
		"abandoned, then forced":    {func(w *world) { w.outsiderWrites(k, []byte("data")); w.dies(a, false); _ = w.m.ForceRelease(k, true) }, "abandoned"},
		"held, and somebody wanted": {func(w *world) { w.removes(b, k); w.creates("B", b, k, file(""), true) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.creates("A", a, k, file(""), true)
			test.does(w)
			story := ""
			for _, ev := range w.log {
				if ev.Ended {
					story += ev.What.String()
				}
			}
			if story != test.story {
				t.Errorf("the grant ended as %q, want %q; %s", story, test.story, w.story())
			}
		})
	}
}

func TestCauses(t *testing.T) {
	a, k := process("A"), key("x.lock")
	for want, does := range map[Cause]func(w *world){
		OwnerDied: func(w *world) { w.dies(a, false) },
		ByPerson:  func(w *world) { _ = w.m.ForceRelease(k, true) },
		GivenUp:   func(w *world) { w.writes("A", k, payload("session", a, w.now)); w.removes(a, k); w.closes("A", a, k) },
	} {
		t.Run(want.String(), func(t *testing.T) {
			w := newWorld(t)
			w.creates("A", a, k, file(""), true)
			does(w)
			for _, ev := range w.log {
				if ev.What == Reclaimed && ev.Cause == want {
					return
				}
			}
			t.Errorf("nothing was reclaimed as %q: %s", want, w.story())
		})
	}
}

// passes has time go by.
func (w *world) passes(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// BenchmarkCounting is what a scrape asks, of 100,000 held locks with a contender each.
func BenchmarkCounting(b *testing.B) {
	const locks = 100_000
	w := newWorld(b)
	w.quiet = true
	p, other := process("A"), process("B")
	for i := range locks {
		turn := w.m.At(Key{dirOne, fmt.Sprintf("%08d.jsonl.lock", i)})
		turn.Granted(p, InodeID{Dev: 8, Ino: uint64(i + 1)}, KindFile, false)
		turn.Look(other.Identity, InodeID{Dev: 8, Ino: uint64(i + 1)}, func() bool { return true })
		turn.End()
	}
	for range b.N {
		if n, _ := w.m.Contention(); n != locks || w.m.Count(Held) != locks {
			b.Fatalf("%d contenders for %d held locks", n, w.m.Count(Held))
		}
	}
}
