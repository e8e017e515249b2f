package lockmgr

import "time"

// Record is what has to be known of a grant when the process that gave it is gone: it is kept before anybody hears of
// the grant, and read by Restore.
type Record struct {
	Token    Token
	Since    time.Time // in seconds
	Owner    Identity  // zero for one that the kernel could not name
	NSPIDs   []int32   // what a payload may call the owner
	Shells   []Process // of those above the maker, Identity and NSPIDs
	ByHelper bool      // see Process
	Adopted  bool      // it was found, not made through the mount
	Second   bool      // a second caller's removal was refused: it goes when the creating handle closes
	Closed   bool      // the owner's process has closed the creating handle
	Git      bool      // it is git's own
}

// Ledger keeps records. Its methods are called with the name's turn taken.
type Ledger interface {
	// Enter keeps the record of a name that is this inode, in place of what was kept before. The error is what a client
	// is told: nothing was granted then.
	Enter(Key, InodeID, Record) error
	// Strike ends that. The entry may be gone.
	Strike(Key)
}

// noLedger keeps nothing.
type noLedger struct{}

func (noLedger) Enter(Key, InodeID, Record) error { return nil }
func (noLedger) Strike(Key)                       {}

// record is what is to be kept of an entry.
func (e *entry) record() Record {
	return Record{
		Token: e.token, Since: e.since, Owner: e.owner.Identity, NSPIDs: e.owner.NSPIDs, Shells: e.owner.Shells,
		ByHelper: e.owner.ByHelper, Adopted: e.adopted, Second: e.second, Closed: e.closed, Git: e.git,
	}
}

// rewrite keeps what changed about a grant. If that fails the grant goes on, and a later server will know of it
// what was kept before.
func (m *Manager) rewrite(e *entry) {
	if err := m.Ledger.Enter(e.key, e.inode, e.record()); err != nil {
		m.tell(e, Event{What: Unrecorded, Reason: err.Error()})
	}
}

// Replacing records that the name is about to have another inode, by its owner's rename: should we die right after that,
// the grant must be found with it. The error is the ledger's, and nothing may be renamed then.
func (t *Turn) Replacing(inode InodeID) error {
	if !t.e.held() {
		return nil
	}
	return t.m.Ledger.Enter(t.e.key, inode, t.e.record())
}

// NotReplaced takes that back.
func (t *Turn) NotReplaced() {
	if t.e.held() {
		t.m.rewrite(t.e)
	}
}

// Standing is how things are with a recorded grant.
type Standing struct {
	Owner      Process
	Verdict    Verdict // on the owner; Unknown loses no lock
	Rebooted   bool    // the machine was started again since: that ended the owner, and whoever it made the lock for
	HandleOpen bool    // the creating handle is open
	Closed     bool    // the owner's process has closed it
}

// Restore takes a recorded grant over, before the first request. Whoever lives keeps lock and token, a dead owner's lock
// is an orphan. After a start of the mount, as opposed to a takeover, nobody has the creating handle open through
// us: a removal by its owner is a release then (rule 2).
func (m *Manager) Restore(k Key, inode InodeID, kind Kind, r Record, s Standing) {
	m.mu.Lock()
	m.token = max(m.token, r.Token)
	m.mu.Unlock()
	e := m.enter(k)
	defer m.leave(e)
	if e.tracked() {
		return
	}
	e.state, e.owner, e.kind, e.token, e.since = Held, &s.Owner, kind, r.Token, r.Since
	e.adopted, e.second, e.git = r.Adopted, r.Second, r.Git
	e.handleOpen, e.closed = s.HandleOpen, r.Closed || s.Closed || !s.HandleOpen
	m.track(e, inode)
	if !r.Owner.Known() {
		e.state = UnknownOwner
		m.guard(e)
		m.tell(e, Event{What: Restored})
		return
	}
	m.own(e)
	m.guard(e)
	switch s.Verdict {
	case Dead, Recycled:
		m.restoreDead(e, s)
	default:
		m.watch(e)
		m.tell(e, Event{What: Restored})
	}
}

// restoreDead is ownerGone for an owner that nobody watched.
func (m *Manager) restoreDead(e *entry, s Standing) {
	e.ownerDead, e.killed = true, s.Rebooted
	if e.handleOpen {
		return
	}
	reason := "its owner is dead"
	if s.Rebooted {
		reason = "the machine was started again since its owner made it"
	}
	m.orphan(e, reason)
}
