package lockmgr

import (
	"strings"
	"sync"
)

// The write guard. While "a.jsonl.lock" is held, "a.jsonl" is its owner's to write. What
// another process writes is reported, or refused (Guard). A process whose lock was taken
// away while it lived is fenced: it counts as another until it is granted the lock anew.
//
// Unlike everything else in this package the guard is about files that are no locks.
// A file is guarded by name for what replaces or removes it, and by inode for what is
// written into it, also through handles that are older than the lock.

// WriteKind is a way of altering a file, as far as the guard tells them apart.
type WriteKind uint8

// The kinds of writes.
const (
	WriteOpen     WriteKind = iota // open for writing
	WriteBytes                     // write, allocate or punch through a handle
	WriteTruncate                  // set the size
	WriteCreate                    // make the file
	WriteReplace                   // rename or link something onto its name
	WriteRemove                    // unlink it or rename it away
)

func (w WriteKind) String() string {
	return [...]string{"open", "write", "truncate", "create", "replace", "remove"}[w]
}

// guards knows which files are guarded, and keeps a write that was let through from
// taking effect after a later grant.
//
// mu guards the maps and the files in them. It is taken last, after a turn and
// Manager.mu, and held for map operations only. underWay is taken before any turn: Guarding
// waits for writes under way, and a write to what is a lock itself needs a turn.
//
// Why a refused writer can't corrupt a file: Write decides and writes with the inode's
// share of underWay taken for reading. Guarding, which is called between a grant and its
// answer, takes it for writing once the grant is entered here. So a write that was let
// through before the grant is done before the new owner hears that it won, and every
// later one is decided by the grant. Acts by name need no such thing: the kernel lets
// one act at a time make, rename or remove entries of a directory, and the lock is in
// the same one.
type guards struct {
	mu     sync.Mutex
	byName keyed[*guarded]      // by the guarded file's own name
	byNode map[InodeID]*guarded // more of one inode hang at it, by next
	fences map[Identity]map[*guarded]bool

	underWay [64]sync.RWMutex
}

// guarded is a file that has a held lock, or writers to be kept away. Guarded by guards.mu.
type guarded struct {
	lock   *Key
	inode  InodeID // zero if there is no such file
	level  Guard
	held   bool
	owner  *Process // never nil, never changed
	token  Token
	fenced map[Identity]bool
	told   map[telling]bool // what was told of this grant
	next   *guarded         // another name of the inode
}

func (f *guarded) file() Key {
	return Key{Dir: f.lock.Dir, Name: strings.TrimSuffix(f.lock.Name, lockSuffix)}
}

type telling struct {
	by   Identity
	kind WriteKind
}

// maxTold bounds what is remembered of who was told of, for each grant.
const maxTold = 64

func newGuards() *guards {
	return &guards{
		byName: keyed[*guarded]{}, byNode: map[InodeID]*guarded{}, fences: map[Identity]map[*guarded]bool{},
	}
}

// guard begins to guard the file that a lock is for. Its turn is taken.
func (m *Manager) guard(e *entry) {
	file, level := m.Policy().Guards(e.key.Name)
	if file == "" {
		return
	}
	if e.git { // git knows its own
		level = GuardOff
	}
	g := m.guards
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.at(&e.key, file)
	f.level, f.held, f.owner, f.token, f.told = level, true, e.owner, e.token, nil
	g.unfence(f, e.owner.Identity)
	if level == GuardOff {
		f.held = false
		g.dropUnused(f)
	}
}

// unguard is when the lock is held no more. Its turn is taken.
func (m *Manager) unguard(e *entry) {
	g := m.guards
	g.mu.Lock()
	defer g.mu.Unlock()
	file, _ := m.Policy().Guards(e.key.Name)
	f := g.byName.at(Key{Dir: e.key.Dir, Name: file})
	if f == nil || !f.held {
		return
	}
	f.held, f.owner, f.token = false, nobody, 0
	g.dropUnused(f)
}

// fence keeps the owner of a lock away from its file, as the lock is taken from it while
// it lives. The turn is taken.
func (m *Manager) fence(e *entry) {
	file, level := m.Policy().Guards(e.key.Name)
	if file == "" || !e.owner.Known() {
		return
	}
	if e.git {
		level = GuardOff
	}
	g := m.guards
	g.mu.Lock()
	defer g.mu.Unlock()
	f, id := g.at(&e.key, file), e.owner.Identity
	f.level = level
	if f.fenced == nil {
		f.fenced = map[Identity]bool{}
	}
	if g.fences[id] == nil {
		g.fences[id] = map[*guarded]bool{}
	}
	f.fenced[id], g.fences[id][f] = true, true
}

// Fenced reports whether the lock was taken from the process, by force or because it held
// it for too long, and it was not granted to it anew since.
func (m *Manager) Fenced(id Identity, lock Key) bool {
	m.guards.mu.Lock()
	defer m.guards.mu.Unlock()
	for f := range m.guards.fences[id] {
		if *f.lock == lock {
			return true
		}
	}
	return false
}

// died forgets the fences of a process that is dead.
func (g *guards) died(id Identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for f := range g.fences[id] {
		g.unfence(f, id)
		g.dropUnused(f)
	}
}

// The rest of guards is called with mu taken.

// at finds or makes the record of a lock's file.
func (g *guards) at(lock *Key, file string) *guarded {
	k := Key{Dir: lock.Dir, Name: file}
	f := g.byName.at(k)
	if f == nil {
		f = &guarded{lock: lock, owner: nobody}
		g.byName.set(k, f)
	}
	return f
}

func (g *guards) unfence(f *guarded, id Identity) {
	delete(f.fenced, id)
	if delete(g.fences[id], f); len(g.fences[id]) == 0 {
		delete(g.fences, id)
	}
}

// dropUnused forgets a file with neither owner nor fence.
func (g *guards) dropUnused(f *guarded) {
	if f.held || len(f.fenced) > 0 {
		return
	}
	g.setInode(f, InodeID{})
	g.byName.remove(f.file())
}

// setInode says which inode the file is.
func (g *guards) setInode(f *guarded, inode InodeID) {
	if f.inode == inode {
		return
	}
	none := InodeID{}
	if f.inode != none {
		g.unlink(f)
	}
	if f.inode = inode; inode != none {
		f.next = g.byNode[inode]
		g.byNode[inode] = f
	}
}

// unlink takes the file out of those of its inode.
func (g *guards) unlink(f *guarded) {
	switch first := g.byNode[f.inode]; {
	case first != f:
		for first.next != f {
			first = first.next
		}
		first.next = f.next
	case f.next == nil:
		delete(g.byNode, f.inode)
	default:
		g.byNode[f.inode] = f.next
	}
	f.next = nil
}

// share is the lock that writes to an inode share.
func (g *guards) share(inode InodeID) *sync.RWMutex {
	return &g.underWay[(inode.Ino^inode.Dev)%uint64(len(g.underWay))]
}

// GuardsName reports whether writes to a file of this name are guarded now.
func (m *Manager) GuardsName(file Key) bool {
	m.guards.mu.Lock()
	defer m.guards.mu.Unlock()
	return m.guards.byName.at(file) != nil
}

// GuardsInode is GuardsName for an inode and a kind of write: writes through a handle
// matter only where they are refused.
func (m *Manager) GuardsInode(inode InodeID, kind WriteKind) bool {
	m.guards.mu.Lock()
	defer m.guards.mu.Unlock()
	for f := m.guards.byNode[inode]; f != nil; f = f.next {
		if kind != WriteBytes || f.level == GuardDeny {
			return true
		}
	}
	return false
}

// Guarding tells which inode a guarded file is: when its lock was granted, before that is
// answered, and when the name was given to another inode; zero if there is no such file.
// It returns when every write to the inode that was let through before is done.
func (m *Manager) Guarding(file Key, inode InodeID) {
	g := m.guards
	g.mu.Lock()
	f := g.byName.at(file)
	if f == nil {
		g.mu.Unlock()
		return
	}
	g.setInode(f, inode)
	wait := f.level == GuardDeny && inode != InodeID{}
	g.mu.Unlock()
	if wait {
		share := g.share(inode)
		share.Lock()
		share.Unlock() //nolint:staticcheck // that nobody has it is all that is wanted
	}
}

// WriteName decides what makes, replaces or removes a file: Pass or Busy.
func (m *Manager) WriteName(file Key, kind WriteKind, c Identity) Outcome {
	g := m.guards
	g.mu.Lock()
	var reports []Event
	o := Pass
	if f := g.byName.at(file); f != nil {
		o = f.decide(kind, c, &reports)
	}
	g.mu.Unlock()
	m.report(reports)
	return o
}

// WriteInode decides what writes into a file, and has it done if it may be. The answer is
// Pass, when it was done, or Busy. who is asked only if the file is guarded.
func (m *Manager) WriteInode(inode InodeID, kind WriteKind, who func() Identity, do func()) Outcome {
	share := m.guards.share(inode)
	share.RLock()
	defer share.RUnlock()
	if m.GuardsInode(inode, kind) && m.decideInode(inode, kind, who()) == Busy {
		return Busy
	}
	do()
	return Pass
}

func (m *Manager) decideInode(inode InodeID, kind WriteKind, c Identity) Outcome {
	g := m.guards
	g.mu.Lock()
	var reports []Event
	o := Pass
	for f := g.byNode[inode]; f != nil; f = f.next {
		if f.decide(kind, c, &reports) == Busy {
			o = Busy
		}
	}
	g.mu.Unlock()
	m.report(reports)
	return o
}

// decide is the guard's table: the owner writes, everybody else is reported or refused
// while there is one, and whoever is fenced in any case. Caller holds guards.mu.
func (f *guarded) decide(kind WriteKind, c Identity, reports *[]Event) Outcome {
	if f.level == GuardOff || f.held && c == f.owner.Identity || !f.held && !f.fenced[c] {
		return Pass
	}
	reason := "somebody else holds its lock"
	if f.fenced[c] {
		reason = "its lock was taken from the writer"
	}
	if t := (telling{c, kind}); !f.told[t] && len(f.told) < maxTold {
		if f.told == nil {
			f.told = map[telling]bool{}
		}
		f.told[t] = true
		*reports = append(*reports, Event{
			What: Guarded, Key: *f.lock, Token: f.token, Owner: *f.owner, By: c, Write: kind, Denied: f.level == GuardDeny, Reason: reason,
		})
	}
	if f.level == GuardDeny {
		return Busy
	}
	return Pass
}

func (m *Manager) report(events []Event) {
	for _, ev := range events {
		ev.Time = m.Now()
		m.Events(ev)
	}
}
