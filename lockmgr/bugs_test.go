package lockmgr

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// Each test here fails on a bug that was found by reading; the rule it breaks is in its
// comment. Once a bug is mended its history belongs into the rule's table.

// Rule 6: "the next removal of that name by this process gets ENOENT (it would hit its
// neighbour's new lock)": also when the neighbour is the other caller in this process.
func TestBugNeighbourInTheSameProcessLosesItsLock(t *testing.T) {
	play(t, []history{
		{"not written yet", []string{
			"A1 creates x.lock with session: granted",
			"A2 removes x.lock: EBUSY",
			"A1 closes x.lock",
			"A2 creates x.lock: granted", // the payload is still to come
			"A1 removes x.lock: ENOENT",
			"x.lock is held by A",
			"B creates x.lock: EEXIST",
		}},
		{"written", []string{
			"A1 creates x.lock with session: granted",
			"A2 removes x.lock: EBUSY",
			"A1 closes x.lock",
			"A2 creates x.lock with session: granted",
			"A1 removes x.lock: ENOENT",
			"x.lock is held by A",
		}},
	})
}

// Rule 6, the same: a look by the other caller must not use up the ENOENT that the
// first caller's removal is to get.
func TestBugLookUsesUpTheNextRemovalsENOENT(t *testing.T) {
	play(t, []history{
		{"it reads the neighbour's lock", []string{
			"A1 creates x.lock with session: granted",
			"A2 removes x.lock: EBUSY",
			"A1 closes x.lock",
			"B creates x.lock with session: granted",
			"A2 reads x.lock: fresh", // it polls
			"A1 removes x.lock: ENOENT",
		}},
	})
}

// Rule 4 and "recognised": a reap that comes late must not remove what is not leaving.
func TestBugLateReapRemovesWhatIsNotLeaving(t *testing.T) {
	play(t, []history{
		{"data moved over it", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"B overwrites tmp with data",
			"B moves tmp over x.lock",
			"the reaper comes: in vain",
			"x.lock is on disk",
		}},
		{"data made after a take-over and a release", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"B creates x.lock with pid: granted",
			"B removes x.lock",
			"C overwrites x.lock with data",
			"the reaper comes: in vain",
			"x.lock is on disk",
		}},
		{"data written while it was leaving", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"B overwrites x.lock with data", // the name looks free to it, and is by then
			"the reaper comes: in vain",
			"x.lock is on disk",
			"x.lock holds data",
		}},
		{"abandoned after a take-over", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"B creates x.lock with data: granted",
			"B dies",
			"x.lock is abandoned",
			"the reaper comes: in vain",
			"x.lock is on disk",
		}},
		{"untracked after it went past the mount", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"an outsider removes x.lock",
			"an outsider takes an inode number",
			"an outsider makes x.lock with session",
			"B creates x.lock: EEXIST",
			"x.lock is untracked",
			"the reaper comes: in vain",
			"x.lock is on disk",
		}},
		{"evidence after a take-over", []string{
			"A creates x.jsonl.lock with session: granted",
			"A removes x.jsonl.lock: EBUSY",
			"A dies",
			"B creates x.jsonl.lock with session: granted",
			"B dies",
			"x.jsonl.lock is orphan",
			"the reaper comes: in vain",
			"x.jsonl.lock is on disk",
		}},
	})
}

// "Everything else could be data", and only the recognised is removed: an orphan that
// somebody wrote to since is no longer what was recognised.
func TestBugOrphanWithNewContentIsRemoved(t *testing.T) {
	play(t, []history{
		{"written through the mount", []string{
			"A creates x.jsonl.lock with session: granted",
			"A dies",
			"B overwrites x.jsonl.lock with data",
			"C creates x.jsonl.lock: EEXIST",
			"x.jsonl.lock holds data",
		}},
		// Two winners: the outsider holds it, by a path that is not the mount's, and ext4
		// gave its file the number of the one before.
		{"replaced past the mount, the same inode number", []string{
			"A creates x.jsonl.lock with session: granted",
			"A dies",
			"an outsider removes x.jsonl.lock",
			"1s passes",
			"an outsider makes x.jsonl.lock with session",
			"B creates x.jsonl.lock: EEXIST",
		}},
		{"leaving, and replaced past the mount, the same inode number", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"an outsider removes x.lock",
			"1s passes",
			"an outsider makes x.lock with session",
			"the reaper comes: in vain",
			"x.lock is on disk",
		}},
	})
}

// As above for a verdict: it is about the file that was judged.
func TestBugVerdictHitsALaterFileOfTheSameInodeNumber(t *testing.T) {
	play(t, []history{
		{"replaced past the mount", []string{
			"an outsider makes x.lock with session",
			"B creates x.lock: EEXIST",
			"an outsider removes x.lock",
			"1s passes",
			"an outsider makes x.lock with session",
			"x.lock is judged dead", // the first file's holder is
			"B creates x.lock: EEXIST",
			"x.lock is on disk",
		}},
	})
}

// Rule 8: "Alive: adopted, protected and viewed like held", whether or not it could be
// told who it is.
func TestBugAliveWithoutAnOwnerIsNotProtected(t *testing.T) {
	play(t, []history{
		{"alive", []string{
			"an outsider makes x.lock with session",
			"B creates x.lock: EEXIST",
			"x.lock is judged alive",
			"B removes x.lock: EBUSY",
			"B reads x.lock: fresh",
		}},
	})
}

// Rule 8: a bare integer and JSON of another shape can be judged dead as well.
func TestBugDeadIntegerStays(t *testing.T) {
	play(t, []history{
		{"a bare integer", []string{
			"an outsider makes x.lock with pid",
			"B creates x.lock: EEXIST",
			"x.lock is judged dead",
			"B creates x.lock: granted",
		}},
		{"JSON without createdAt", []string{
			"an outsider makes x.lock with started",
			"B creates x.lock: EEXIST",
			"x.lock is judged recycled",
			"B creates x.lock: granted",
		}},
	})
}

// Rule 2 and 5: it was removed past the mount, its owner's removal never reaches us (the
// kernel's LOOKUP found nothing), and the name is stuck for as long as the owner lives.
func TestBugNameIsStuckAfterRemovalPastTheMount(t *testing.T) {
	play(t, []history{
		{"the owner finds it gone", []string{
			"A creates x.lock with session: granted",
			"an outsider removes x.lock",
			"A closes x.lock",
			"A removes x.lock: ENOENT",
			"B creates x.lock: granted",
		}},
	})
}

// Rule 5 and 10: nobody whom the kernel can't name ever gets the bytes that it wrote, so
// a client that compares them before it removes (OpenClaw from 2026.5 on) never releases.
func TestBugUnknownOwnerNeverSeesItsOwnLock(t *testing.T) {
	play(t, []history{
		{"it reads what it wrote", []string{
			"U creates x.lock with nothing: granted",
			"U reads x.lock: exact",
		}},
	})
}

// Rule 6: "remembered; when the handle then closes, the lock goes": also if its owner is
// dead when the last handle closes and no FLUSH of its own was seen.
func TestBugRememberedRemovalIsForgottenAtDeath(t *testing.T) {
	play(t, []history{
		{"evidence of an abort that was none", []string{
			"A creates x.jsonl.lock with session: granted",
			"A removes x.jsonl.lock: EBUSY",
			"A dies without a FLUSH",
			"x.jsonl.lock is leaving",
		}},
	})
}

// Rule 6 and "recognised": the removal that was remembered was of the lock, not of what
// its owner moved over it since.
func TestBugRememberedRemovalTakesWhatCameLater(t *testing.T) {
	play(t, []history{
		{"data moved over it by its owner", []string{
			"A creates x.lock with session: granted",
			"A removes x.lock: EBUSY",
			"A overwrites tmp with data",
			"A moves tmp over x.lock",
			"A closes x.lock",
			"x.lock is held by A",
			"the reaper comes: nothing to do",
			"x.lock holds data",
		}},
	})
}

// Rule 4: the record of each removal has the payload, "so nothing is lost without a trace".
func TestBugRemovalsAreNotRecordedAsTheyWere(t *testing.T) {
	play(t, []history{
		{"removed by a contender", []string{
			"A creates x.jsonl.lock with session: granted",
			"A dies",
			"the log says: granted, orphaned",
			"B removes x.jsonl.lock",
			"the log says: cleared+payload",
		}},
		{"moved over by somebody", []string{
			"A creates x.jsonl.lock with session: granted",
			"A dies",
			"the log says: granted, orphaned",
			"B overwrites tmp with data",
			"B moves tmp over x.jsonl.lock",
			"the log says: cleared+payload",
		}},
		{"one record for one removal", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"B creates x.lock: granted",
			"the log says: granted, reclaimed+payload, granted",
		}},
		{"a late reaper is no stranger that was refused", []string{
			"A creates x.jsonl.lock with session: granted",
			"A dies",
			"a person releases x.jsonl.lock",
			"B creates x.jsonl.lock: granted",
			"the log says: granted, orphaned, forced, reclaimed+payload, reclaimed+payload, granted",
			"the reaper comes: in vain",
			"the log says: ",
		}},
	})
}

// A read that fails once (EMFILE, EIO) must not decide for ever that it could be data.
func TestBugReadErrorAbandonsForEver(t *testing.T) {
	play(t, []history{
		{"reading fails for a moment", []string{
			"A creates x.lock with session: granted",
			"reading fails",
			"A dies",
			"reading works",
			"B creates x.lock: granted",
		}},
	})
}

// One hot name fills the list of marked names with itself, which drops all others' marks
// and then its own: scenario 32's contender gets EBUSY.
func TestBugPolledNameDropsLateMarks(t *testing.T) {
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

// The bounded lists must drop the oldest, not whatever the map gives first.
func TestBugCrowdedNameDropsANewMark(t *testing.T) {
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

// The set of blind owners only ever grows.
func TestBugBlindOwnersAreNeverForgotten(t *testing.T) {
	w := newWorld(t)
	for i := range int32(1000) {
		p, k := testProcess(1000+i, 1, 1), key("x.lock")
		w.blind[p.Identity] = true
		w.creates("P", p, k, file(""), false)
		w.removes(p, k)
	}
	if n := len(w.m.blind); n > 0 {
		t.Errorf("%d owners that hold nothing are remembered", n)
	}
}

// The index has one name per inode: of two locks that are links to one inode (as "ln
// tmp a.lock; ln tmp b.lock" makes them) one is not protected by inode and not in the
// snapshot, and when the other goes neither is.
func TestBugTwoNamesOfOneInode(t *testing.T) {
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

// An adopted or untracked lock is always said to be a file.
func TestBugKindOfUntracked(t *testing.T) {
	w := newWorld(t)
	w.outsiderMakes(key("x.lock"), Content{Kind: KindDir})
	w.m.Met(key("x.lock"), w.inodeAt(key("x.lock")))
	if locks := w.m.Snapshot(); len(locks) != 1 || locks[0].Kind != KindDir {
		t.Errorf("got %v, want one directory", locks)
	}
}

// A reap that fails (EROFS, EACCES, ENOTEMPTY, EIO) leaves a name that nobody can see and
// nobody can take, for ever: there is no way to tell the Manager of it.
func TestBugFailedReapHidesTheNameForEver(t *testing.T) {
	w := newWorld(t)
	a, b, k := process("A"), process("B"), key("x.lock")
	w.creates("A", a, k, file(""), false)
	w.dies(a, false)
	w.rmFail = errors.New("directory not empty")
	w.reaps = nil // it tried and gave up
	if got := w.creates("B", b, k, file(""), false); got != "EIO" {
		t.Fatalf("create: got %s, want EIO", got)
	}
	if !w.looks(b.Identity, k, false) {
		t.Errorf("it is on disk and nobody sees it; its state is %q", w.state(k))
	}
}

// An event's payload must not keep 64 KiB alive for its 4.
func TestBugEventPayloadKeepsTheWholeContent(t *testing.T) {
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

// ParsePayload says "then the payload is zero".
func TestBugPayloadOfAFullDirectory(t *testing.T) {
	if p, ok := ParsePayload(Content{Kind: KindDir, Full: true}); ok || p != (Payload{}) {
		t.Errorf("got %+v %t, want nothing", p, ok)
	}
}
