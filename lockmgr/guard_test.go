package lockmgr

import (
	"testing"
	"time"
)

// guardWorld is a guard alone, with what it tells.
type guardWorld struct {
	*testing.T
	m    *Manager
	lock *entry
	told []Event
}

func newGuardWorld(t *testing.T) *guardWorld {
	w := &guardWorld{T: t}
	w.m = &Manager{guards: newGuards()}
	w.m.SetPolicy(DefaultPolicy())
	w.lock = &entry{key: guardedLock, token: 7, owner: nobody}
	w.m.Now = func() time.Time { return time.Unix(1, 0) }
	w.m.Events = func(ev Event) { w.told = append(w.told, ev) }
	return w
}

var (
	guardedLock = Key{Dir: InodeID{Dev: 1, Ino: 2}, Name: "a.jsonl.lock"}
	guardedFile = Key{Dir: InodeID{Dev: 1, Ino: 2}, Name: "a.jsonl"}
	guardedNode = InodeID{Dev: 1, Ino: 50}
	writer      = Identity{PID: 10, StartTime: 1}
	intruder    = Identity{PID: 20, StartTime: 2}
)

func (w *guardWorld) grant(level Guard, id Identity) {
	policy := DefaultPolicy()
	for i := range policy.Locks {
		policy.Locks[i].Guard = level
	}
	w.m.SetPolicy(policy)
	w.lock.owner = &Process{Identity: id}
	w.m.guard(w.lock)
}

func (w *guardWorld) hold(level Guard, id Identity) {
	w.grant(level, id)
	w.m.Guarding(guardedFile, guardedNode)
}

func as(id Identity) func() Identity { return func() Identity { return id } }

// write tries all ways of writing and returns what came of the last; all must come to the same.
func (w *guardWorld) write(id Identity) Outcome {
	w.Helper()
	o := w.m.WriteName(guardedFile, WriteReplace, id)
	done := false
	if got := w.m.WriteInode(guardedNode, WriteTruncate, as(id), func() { done = true }); got != o || done != (o == Pass) {
		w.Errorf("by name %v, by inode %v, done %v", o, got, done)
	}
	return o
}

func (w *guardWorld) mustWrite(id Identity, want Outcome, events int) {
	w.Helper()
	w.told = nil
	if got := w.write(id); got != want {
		w.Errorf("a write by %d: %v, want %v", id.PID, got, want)
	}
	if len(w.told) != events {
		w.Errorf("a write by %d: told %v, want %d events", id.PID, w.told, events)
	}
}

func TestGuardDeny(t *testing.T) {
	w := newGuardWorld(t)
	w.mustWrite(intruder, Pass, 0)
	w.hold(GuardDeny, writer)
	w.mustWrite(writer, Pass, 0)
	w.mustWrite(intruder, Busy, 2)
	w.mustWrite(intruder, Busy, 0) // told already
	w.mustWrite(Identity{}, Busy, 2)
	w.m.unguard(w.lock)
	w.mustWrite(intruder, Pass, 0)
	if w.m.GuardsName(guardedFile) || w.m.GuardsInode(guardedNode, WriteOpen) {
		t.Error("guarded without an owner")
	}
}

func TestGuardLog(t *testing.T) {
	w := newGuardWorld(t)
	w.hold(GuardLog, writer)
	w.mustWrite(writer, Pass, 0)
	w.mustWrite(intruder, Pass, 2)
	for _, ev := range w.told {
		if ev.Denied || ev.By != intruder || ev.Owner.Identity != writer || ev.Key != guardedLock || ev.Token != 7 {
			t.Errorf("told %+v", ev)
		}
	}
	w.mustWrite(intruder, Pass, 0)
}

// A process whose lock was taken away can't write until it is granted the lock anew, also
// when nobody else has it.
func TestGuardFencesTheFormerOwner(t *testing.T) {
	w := newGuardWorld(t)
	w.hold(GuardDeny, writer)
	w.m.fence(w.lock)
	w.mustWrite(writer, Pass, 0) // it is the owner still
	w.m.unguard(w.lock)
	w.mustWrite(writer, Busy, 2)
	w.mustWrite(intruder, Pass, 0)
	w.hold(GuardDeny, intruder)
	w.mustWrite(writer, Busy, 2)
	w.mustWrite(intruder, Pass, 0)
	w.m.unguard(w.lock)
	w.hold(GuardDeny, writer)
	w.mustWrite(writer, Pass, 0)
	w.m.unguard(w.lock)
	w.mustWrite(writer, Pass, 0)
}

func TestGuardForgetsTheDead(t *testing.T) {
	w := newGuardWorld(t)
	w.hold(GuardDeny, writer)
	w.m.fence(w.lock)
	w.m.unguard(w.lock)
	w.m.guards.died(writer)
	if g := w.m.guards; len(g.byName)+len(g.byNode)+len(g.fences) != 0 {
		t.Errorf("still guarded: %v, %v, %v", g.byName, g.byNode, g.fences)
	}
}

// The name given to another inode is guarded there, and the old inode no more.
func TestGuardFollowsTheName(t *testing.T) {
	w := newGuardWorld(t)
	w.hold(GuardDeny, writer)
	next := InodeID{Dev: 1, Ino: 51}
	w.m.Guarding(guardedFile, next)
	if got := w.m.WriteInode(next, WriteBytes, as(intruder), func() {}); got != Busy {
		t.Errorf("a write to the new inode: %v", got)
	}
	if got := w.m.WriteInode(guardedNode, WriteBytes, as(intruder), func() {}); got != Pass {
		t.Errorf("a write to the old inode: %v", got)
	}
}

// A write that was let through before the grant is done when Guarding returns.
func TestGuardWaitsForWritesUnderWay(t *testing.T) {
	w := newGuardWorld(t)
	inside, finish := make(chan bool), make(chan bool)
	written := false
	go w.m.WriteInode(guardedNode, WriteBytes, as(intruder), func() {
		inside <- true
		<-finish
		written = true
	})
	<-inside
	w.grant(GuardDeny, writer)
	granted := make(chan bool)
	go func() {
		w.m.Guarding(guardedFile, guardedNode)
		granted <- written
	}()
	select {
	case <-granted:
		t.Fatal("granted while a stranger's write was under way")
	case finish <- true:
	}
	if !<-granted {
		t.Fatal("granted before the stranger's write was done")
	}
}
