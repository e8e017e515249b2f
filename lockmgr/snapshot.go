package lockmgr

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Lock is what is known of one tracked name at one moment.
type Lock struct {
	Key        Key
	Inode      InodeID
	Kind       Kind
	State      State
	Token      Token
	Owner      Process
	Since      time.Time
	HandleOpen bool
	Contenders []Contender
	Refused    int
	Finding    Finding // of an untracked entry
}

// Contender is a process that looked a held name up of late.
type Contender struct {
	Identity
	LastSeen time.Time
}

// Snapshot lists every tracked name, by token. Each lock is shown as it is at one
// moment, not all of them at the same one.
func (m *Manager) Snapshot() []Lock {
	var locks []Lock
	m.each(func(e *entry) {
		if e.tracked() && !e.leaving {
			locks = append(locks, m.describe(e))
		}
	})
	slices.SortFunc(locks, func(a, b Lock) int {
		return cmp.Or(cmp.Compare(a.Token, b.Token), compareKeys(a.Key, b.Key))
	})
	return locks
}

// Settle has every owner asked after. When it returns, no lock counts as held by a process
// that was dead when it was called, unless somebody has its creating handle open.
func (m *Manager) Settle() { m.each(func(*entry) {}) }

// each visits every name, settled and with its turn taken.
func (m *Manager) each(visit func(*entry)) {
	m.mu.Lock()
	var entries []*entry
	for _, e := range m.names.all() {
		e.uses++
		entries = append(entries, e)
	}
	m.mu.Unlock()
	for _, e := range entries {
		e.turn.Lock()
		m.settle(e, Identity{})
		visit(e)
		m.leave(e)
	}
}

func (m *Manager) describe(e *entry) Lock {
	l := Lock{
		Key: e.key, Inode: e.inode, Kind: e.kind, State: e.state, Token: e.token, Owner: *e.owner,
		Since: e.since, HandleOpen: e.handleOpen, Refused: int(e.refused), Finding: e.judged().finding,
	}
	l.Contenders = m.contention.of(e, m.Now())
	slices.SortFunc(l.Contenders, func(a, b Contender) int { return cmp.Compare(a.PID, b.PID) })
	return l
}

// HeldError says who holds a lock that a person wanted released.
type HeldError struct {
	State State
	Owner Process
	Since time.Time
}

func (e *HeldError) Error() string {
	switch e.State {
	case Held:
		return fmt.Sprintf("held by %s (PID %d) since %s", e.Owner.Comm, e.Owner.PID, e.Since.Format(time.DateTime))
	case UnknownOwner:
		return "held by a process outside the mount's PID namespace since " + e.Since.Format(time.DateTime)
	}
	return "it is " + e.State.String() + " and could be data"
}

// ForceRelease releases a lock on a person's word. Without force only an orphan goes;
// for anything else the answer is a *HeldError. ErrGone if the name is not tracked.
func (m *Manager) ForceRelease(k Key, force bool) error {
	e := m.enterKnown(k)
	if e == nil {
		return ErrGone
	}
	defer m.leave(e)
	m.settle(e, Identity{})
	switch {
	case !e.tracked() || e.leaving:
		return ErrGone
	case e.state != Orphan && !force:
		return &HeldError{State: e.state, Owner: *e.owner, Since: e.since}
	}
	if e.state == Held {
		m.fence(e)
	}
	if e.owner.Known() {
		e.giveUp(e.owner.Identity, m.Now()) // its own removal, still to come, must not meet a new owner's lock
	}
	content, _ := m.Tree.Content(e.key, e.inode)
	m.tell(e, Event{What: Forced, Reason: "released by a person"})
	e.sure = true
	m.depart(e, ByPerson, "released by a person", content.Record())
	return nil
}
