package lockmgr

import (
	"container/list"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// What a Tree answers when the entry is not there or is another inode, and when a lock
// directory holds anything else than it did.
var (
	ErrGone    = errors.New("the entry is gone")
	ErrChanged = errors.New("the lock directory holds something else by now")
)

// Tree is the real directory tree as far as the law needs it. Its methods are called
// with the name's turn taken; they may be called for many names at once.
type Tree interface {
	// Content reads what stands under the name, and what is in it if it is a directory; no
	// link is followed. ErrGone if it is not that inode (any more).
	Content(Key, InodeID) (Content, error)
	// Remove takes the entry out of the real directory. A directory must be empty. ErrGone
	// as above.
	Remove(Key, InodeID) error
	// Empty takes these files, as Content told of them, out of the directory that is under
	// the name. ErrGone as above. If there is anything else in it, or one of them is not the
	// same inode with the same bytes, it takes out nothing (more) and answers ErrChanged.
	Empty(Key, InodeID, []Content) error
	// Pin keeps an inode, a directory or a lock, from going away while it is tracked, so
	// that its number can't mean another one and its path stays known. Unpin ends that.
	Pin(InodeID)
	Unpin(InodeID)
}

// Deaths brings the kernel's news of deaths.
type Deaths interface {
	// Watch has Manager.OwnerDied called when the process is dead: never from inside
	// Watch, and once for all calls before the death. After it, a call has it called again.
	Watch(Identity) error
	// Verdict tells on demand. It is asked for every look at a lock that somebody else
	// holds, so it should be cheap for a process under watch.
	Verdict(Identity) Verdict
	// Killed reports whether a process that is dead was ended by a signal; false if there is
	// no telling. It is asked when the death is learnt, for each lock that was made for it.
	Killed(Identity) bool
}

// Reaper removes, soon and in the background, a lock that is to go: by an unlink
// through the mount, so that watchers see it. It must not block.
type Reaper interface {
	Reap(Key, Token)
}

// Judge finds out about an untracked entry in the background and answers with
// Manager.Judged. It must not block.
type Judge interface {
	Judge(Key, InodeID)
}

// Config is what a Manager is made of. All fields are needed but Ledger, Events and Breathe.
type Config struct {
	Policy     Policy
	Tree       Tree
	Deaths     Deaths
	Reaper     Reaper
	Judge      Judge
	Ledger     Ledger   // nil keeps nothing
	Self       Identity // the mount process, which reaps
	Now        func() time.Time
	FirstToken Token       // the first grant gets this token
	Events     func(Event) // called with a turn taken: it must be quick and must not call back
	Breathe    func()      // called, with no turn taken, now and then between the locks of a dead owner that had many: others come first
}

// Manager arbitrates the locks of one tree. All methods may be called at any time
// from any goroutine, but not from the callbacks in Config.
//
// Lock order: an entry's turn, then Manager.mu, then whatever Tree, Deaths, Reaper
// and Judge have inside. Two turns at once are taken only by Turns, in the order of
// their keys, and by forgetInside, which does not wait. Manager.mu is held for map operations only, never for a system call.
//
// Why this excludes: a name's state changes only while its turn is taken, and a turn
// is held from the decision until the act on the real directory is done. So two
// creates of one name are decided one after the other, and the second sees what the
// first did. A death or a closed handle takes the turn as well, so it comes before or
// after an act and never in the middle of one. The same holds for every way of making:
// link and rename onto a name have the name's turn as a create has.
//
// An inode may have several names, and a lock directory has entries with names of their
// own: what is asked of those others is answered by their shields, without their turns
// (index.go), so that nobody ever waits for one turn while it has another.
type Manager struct {
	Config
	policy      atomic.Pointer[Policy]
	directories atomic.Int64         // how many tracked names are those of directories
	inState     [states]atomic.Int64 // how many names are in each: see Count
	contention  contention

	mu     sync.Mutex
	names  keyed[*entry]
	inodes map[InodeID]*entry     // tracked entries by their inode; more names of it hang at the first, by twin
	owners map[Identity]*holdings // what each living owner holds
	dirs   map[InodeID]int        // how many tracked names each directory has
	token  Token                  // the last one given
	kept   list.List              // entries kept only for their late marks, oldest first
	guards *guards
}

// New makes a Manager that knows of no locks.
func New(c Config) *Manager {
	if c.Events == nil {
		c.Events = func(Event) {}
	}
	if c.Breathe == nil {
		c.Breathe = func() {}
	}
	if c.Ledger == nil {
		c.Ledger = noLedger{}
	}
	m := &Manager{
		Config:     c,
		names:      keyed[*entry]{},
		inodes:     map[InodeID]*entry{},
		owners:     map[Identity]*holdings{},
		dirs:       map[InodeID]int{},
		token:      max(c.FirstToken, 1) - 1,
		guards:     newGuards(),
		contention: contention{locks: map[*entry]contended{}},
	}
	m.SetPolicy(c.Policy)
	return m
}

// Policy is the policy in force. It is asked for anew for each decision.
func (m *Manager) Policy() *Policy { return m.policy.Load() }

// SetPolicy puts another policy in force, for decisions to come: what is held stays held,
// also under a name that is no lock's any more.
func (m *Manager) SetPolicy(p Policy) {
	p.prepare()
	m.policy.Store(&p)
}

// entry is what is known of one name. Everything below turn is guarded by it. There may be a hundred thousand of them
// (TestMemoryOfHeldLocks): what few have is behind a pointer, and what many have is there once.
type entry struct {
	key    Key
	uses   int32  // turns taken or waited for; guarded by Manager.mu
	twin   *entry // another name of the same inode; guarded by Manager.mu
	shield shield // guarded by Manager.mu

	turn    sync.Mutex
	refused int32    // changes refused to others
	owner   *Process // never nil, never changed: entries share it
	token   Token
	inode   InodeID
	since   time.Time // when it was granted, adopted or first seen
	inquiry *inquiry  // of an entry that is or was untracked, else nil

	state State
	kind  Kind

	ownerDead  bool  // the owner died while somebody has the creating handle open
	handleOpen bool  // somebody has the creating handle open
	closed     bool  // the owner's own process has closed it (rule 6)
	second     bool  // a second caller's removal was refused: the lock goes when the handle closes
	leaving    bool  // an orphan that does not linger: hidden from all until the reaper has been
	ended      bool  // the end of its grant was told
	counted    bool  // in Manager.directories
	countedIn  State // in Manager.inState
	adopted    bool  // it was granted to a process that made it past the mount
	git        bool  // it is git's own lock, in a git directory (rule 9)
	killed     bool  // its dead owner was ended by a signal; asked only of a shell for which it was made (rule 7)
	sure       bool  // a person's word: it goes whatever it holds

	late map[Identity]lateMark
	kept *list.Element // in Manager.kept, while it is remembered only for its late marks; guarded by Manager.mu
}

// nobody owns what is free.
var nobody = &Process{}

// holdings are the locks of one living owner.
type holdings struct {
	owner   *Process
	entries map[*entry]bool
}

// lateMark says which lock of a name a process judged, and when.
type lateMark struct {
	token  Token
	at     time.Time
	gaveUp bool // it held that lock and lost it, and its own removal is still to come
}

// tracked reports whether there is anything in the real directory that we know of.
func (e *entry) tracked() bool { return e.state != Free }

// held reports whether others are kept away.
func (e *entry) held() bool { return e.state == Held || e.state == UnknownOwner }

// enter takes a turn at the name's entry, making it if need be.
func (m *Manager) enter(k Key) *entry {
	m.mu.Lock()
	e := m.names.at(k)
	if e == nil {
		e = &entry{key: k, owner: nobody}
		m.names.set(k, e)
	}
	e.uses++
	m.mu.Unlock()
	e.turn.Lock()
	return e
}

// enterKnown is enter for a name that is known already; nil if it is not.
func (m *Manager) enterKnown(k Key) *entry {
	m.mu.Lock()
	e := m.names.at(k)
	if e != nil {
		e.uses++
	}
	m.mu.Unlock()
	if e != nil {
		e.turn.Lock()
	}
	return e
}

// take is enter for an entry that was found in an index. Caller holds m.mu, which is
// given up: an entry with uses is never forgotten, so it is still the name's entry.
func (m *Manager) take(e *entry) *entry {
	e.uses++
	m.mu.Unlock()
	e.turn.Lock()
	return e
}

// leave ends a turn; an entry of which nothing is known is forgotten. With no uses
// left nobody can be changing the entry, so it may be read without its turn.
func (m *Manager) leave(e *entry) {
	m.countDirectory(e)
	m.countState(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	e.shield = e.shieldNow()
	e.turn.Unlock()
	e.uses--
	if e.uses > 0 || e.tracked() {
		return
	}
	if len(e.late) > 0 {
		m.keepMarked(e)
		return
	}
	m.drop(e)
}

// drop forgets a free name. Caller holds m.mu.
func (m *Manager) drop(e *entry) {
	if e.kept != nil {
		m.kept.Remove(e.kept)
		e.kept = nil
	}
	m.names.remove(e.key)
}

// maxMarked bounds the names that are remembered only because somebody looked into
// an orphan there.
const maxMarked = 4096

// keepMarked remembers a free name for its late marks. Caller holds m.mu.
func (m *Manager) keepMarked(e *entry) {
	if e.kept != nil {
		m.kept.MoveToBack(e.kept)
		return
	}
	e.kept = m.kept.PushBack(e)
	if m.kept.Len() <= maxMarked {
		return
	}
	old := m.kept.Remove(m.kept.Front()).(*entry)
	old.kept = nil
	if old.uses == 0 && !old.tracked() {
		m.names.remove(old.key)
	}
}

// forget makes the entry, whose turn is taken, a free name again. Late marks stay.
func (m *Manager) forget(e *entry) {
	if !e.tracked() {
		return
	}
	m.Ledger.Strike(e.key)
	m.disown(e)
	m.mu.Lock()
	m.unindex(e)
	if m.dirs[e.key.Dir]--; m.dirs[e.key.Dir] == 0 {
		delete(m.dirs, e.key.Dir)
		defer m.Tree.Unpin(e.key.Dir)
	}
	m.mu.Unlock()
	m.Tree.Unpin(e.inode)
	e.state, e.owner, e.token, e.inode = Free, nobody, 0, InodeID{}
	e.ownerDead, e.handleOpen, e.closed, e.killed = false, false, false, false
	e.second, e.leaving, e.sure, e.adopted, e.git = false, false, false, false, false
	e.inquiry, e.refused, e.ended = nil, 0, false
	m.contention.end(e)
}

// own enters the entry among its owner's; disown takes it out.
func (m *Manager) own(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := m.owners[e.owner.Identity]
	if held == nil {
		held = &holdings{owner: e.owner, entries: map[*entry]bool{}}
		m.owners[e.owner.Identity] = held
	}
	if held.owner.same(e.owner) {
		e.owner = held.owner
	}
	held.entries[e] = true
}

func (m *Manager) disown(e *entry) {
	m.unguard(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	held := m.owners[e.owner.Identity]
	if held == nil {
		return
	}
	if delete(held.entries, e); len(held.entries) == 0 {
		delete(m.owners, e.owner.Identity)
	}
}

func (m *Manager) nextToken() Token {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.token++
	return m.token
}

// Knows reports whether anything is known of a name, KnowsInode whether an inode is tracked.
// Either may be otherwise a moment later.
func (m *Manager) Knows(k Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.names.at(k) != nil
}

// KnowsInode is Knows for an inode.
func (m *Manager) KnowsInode(inode InodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inodes[inode] != nil
}

// TracksDirectories reports whether any tracked name is that of a directory: if not, nothing
// is inside a lock.
func (m *Manager) TracksDirectories() bool { return m.directories.Load() > 0 }

// countDirectory keeps the number of tracked directories. The turn is taken.
func (m *Manager) countDirectory(e *entry) {
	is := e.tracked() && e.kind == KindDir
	if is == e.counted {
		return
	}
	e.counted = is
	if is {
		m.directories.Add(1)
	} else {
		m.directories.Add(-1)
	}
}

// TracksIn reports whether any name in the directory is tracked: if not, its
// entries need no second look when they are listed.
func (m *Manager) TracksIn(dir InodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dirs[dir] > 0
}
