package lockmgr

import (
	"bytes"
	"testing"
	"time"
)

// What is remembered besides the locks: for how long, and how much of it.

// Looking at one name over and over, with none of its locks there, drops no marks: neither
// others' nor its own.
func TestPolledNameKeepsLateMarks(t *testing.T) {
	w := newWorld(t)
	a, b, c := process("A"), process("B"), process("C")
	k := key("x.jsonl.lock")
	w.creates("A", a, k, file(""), true)
	w.dies(a, false)
	w.stats(b, k)
	w.stats(c, k)
	w.removes(c, k)
	for range maxMarked + 1 {
		w.looks(c.Identity, k, false)
	}
	w.creates("C", c, k, file(""), true)
	if got := w.removes(b, k); got != "ENOENT" {
		t.Errorf("B judged the orphan and removes C's lock: got %s, want ENOENT", got)
	}
}

// The bounded lists drop the oldest.
func TestCrowdedNameKeepsNewMarks(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		a, k := process("A"), key("x.jsonl.lock")
		w.creates("A", a, k, file(""), true)
		w.dies(a, false)
		crowd := func(n int, from int32) (all []Process) {
			for i := range int32(n) {
				p := testProcess(from+i, 1, 1)
				w.stats(p, k)
				all = append(all, p)
			}
			return all
		}
		crowd(maxLate, 10_000)
		w.mu.Lock()
		w.now = w.now.Add(20 * time.Minute) // all of them are past their time
		w.mu.Unlock()
		recent := crowd(maxLate/2, 20_000)
		w.creates("C", process("C"), k, file(""), true)
		for _, p := range recent {
			if got := w.removes(p, k); got != "ENOENT" {
				t.Fatalf("a mark was dropped for the sake of older ones: got %s, want ENOENT", got)
			}
		}
	}
}

// Two locks may be links to one inode, as "ln tmp a.lock; ln tmp b.lock" makes them. Each is
// a lock of its own; by inode the first of them protects it.
func TestTwoNamesOfOneInode(t *testing.T) {
	w := newWorld(t)
	a, b := process("A"), process("B")
	w.puts(a, key("tmp"), payload("pid", a, w.now))
	w.links(a, key("tmp"), key("a.lock"))
	w.links(a, key("tmp"), key("b.lock"))
	if n := len(w.m.Snapshot()); n != 2 {
		t.Errorf("the snapshot has %d locks, want 2", n)
	}
	w.removes(a, key("b.lock"))
	if got := w.changes(b, key("a.lock"), nil); got != "EBUSY" {
		t.Errorf("B changes a.lock: got %s, want EBUSY", got)
	}
	if got := w.stats(b, key("a.lock")); got != "fresh" {
		t.Errorf("B stats a.lock: got %s, want fresh", got)
	}
}

// An untracked lock's kind is read from the disk.
func TestKindOfUntracked(t *testing.T) {
	w := newWorld(t)
	w.outsiderMakes(key("x.lock"), Content{Kind: KindDir})
	w.m.Met(key("x.lock"), w.inodeAt(key("x.lock")))
	if locks := w.m.Snapshot(); len(locks) != 1 || locks[0].Kind != KindDir {
		t.Errorf("got %v, want one directory", locks)
	}
}

// An event's payload does not keep 64 KiB alive for its 4.
func TestEventPayloadIsCutOff(t *testing.T) {
	w := newWorld(t)
	a, k := process("A"), key("x.lock")
	w.creates("A", a, k, file(""), false)
	w.disk[k].c.Data = append(payload("session", a, w.now), bytes.Repeat([]byte(" "), MaxPayload-200)...)
	w.dies(a, false)
	for _, ev := range w.log {
		if c := cap(ev.Payload); c > 2*maxEventPayload {
			t.Errorf("%s: a payload of %d bytes holds on to %d", ev.What, len(ev.Payload), c)
		}
	}
}
