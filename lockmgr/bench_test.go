package lockmgr

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// BenchmarkCycle is a lock's life as a session lock has it, with all the turns that
// fsnode takes for it: lookup, create, write, flush, release, lookup, remove.
func BenchmarkCycle(b *testing.B) {
	w := newWorld(b)
	w.quiet = true
	p, k := process("A"), key("x.jsonl.lock")
	text := payload("session", p, w.now)
	b.ReportAllocs()
	for range b.N {
		if got := w.creates("A", p, k, Content{}, true); got != "granted" {
			b.Fatal(got)
		}
		w.writes("A", k, text)
		w.closes("A", p, k)
		if got := w.removes(p, k); got != "ok" {
			b.Fatal(got)
		}
	}
}

// BenchmarkManagerCycle is the Manager's part of it alone.
func BenchmarkManagerCycle(b *testing.B) {
	w := newWorld(b)
	w.quiet = true
	p, k := process("A"), key("x.jsonl.lock")
	inode := InodeID{Dev: 8, Ino: 7}
	yes, no := func() bool { return true }, func() bool { return false }
	b.ReportAllocs()
	for range b.N {
		t := w.m.At(k)
		t.Look(p.Identity, InodeID{}, yes)
		t.End()
		t = w.m.At(k)
		t.Create(p.Identity)
		token, _ := t.Granted(p, inode, KindFile, true)
		t.End()
		w.m.Flushed(k, token, p.Identity)
		w.m.HandleClosed(k, token)
		t = w.m.At(k)
		t.Look(p.Identity, inode, no)
		t.End()
		t = w.m.At(k)
		t.Removed(p.Identity, t.Remove(p.Identity))
		t.End()
	}
}

func BenchmarkRender(b *testing.B) {
	p := process("A")
	text := payload("hold:600", p, viewNow)
	b.ReportAllocs()
	for range b.N {
		Render(text, viewNow)
	}
}

// BenchmarkMatch is what every looked up name costs that is no lock.
func BenchmarkMatch(b *testing.B) {
	p := DefaultPolicy()
	for range b.N {
		p.IsLock("0f1c5d2e-4b7a-4c55-9b0e-2f8b1a6d9e10.jsonl")
	}
}

// perLock is the most that a held lock may take, its name and the guard of its session file included, in bytes.
const perLock = 600

func TestMemoryOfHeldLocks(t *testing.T) {
	const locks = 100_000
	w := newWorld(t)
	w.quiet = true
	keys := make([]Key, locks)
	procs := make([]Process, locks/100)
	for i := range procs {
		procs[i] = testProcess(int32(i+1), 1, 1)
	}
	before := heap()
	for i := range keys {
		keys[i] = Key{dirOne, fmt.Sprintf("%08d.jsonl.lock", i)}
		p := procs[i%len(procs)]
		p.NSPIDs, p.Comm = slices.Clone(p.NSPIDs), string([]byte(p.Comm)) // as each create finds them out anew
		turn := w.m.At(keys[i])
		turn.Create(p.Identity)
		turn.Granted(p, InodeID{Dev: 8, Ino: uint64(i + 1)}, KindFile, true)
		w.m.Guarding(Key{dirOne, fmt.Sprintf("%08d.jsonl", i)}, InodeID{Dev: 8, Ino: uint64(locks + i + 1)})
		turn.End()
	}
	per := (heap() - before) / locks
	t.Logf("%d held locks of %d processes: %d bytes each", locks, len(procs), per)
	if per > perLock {
		t.Errorf("%d bytes for a held lock, want %d at most", per, perLock)
	}
	runtime.KeepAlive(w)
	for i, k := range keys {
		p := procs[i%len(procs)]
		turn := w.m.At(k)
		turn.Removed(p.Identity, turn.Remove(p.Identity))
		turn.End()
	}
	w.noLeaks()
	if n := len(w.m.names) + len(w.m.inodes) + len(w.m.owners); n != 0 {
		t.Errorf("%d things are left", n)
	}
}

func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
