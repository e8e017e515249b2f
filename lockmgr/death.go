package lockmgr

import (
	"errors"
	"time"
)

// declaredGrace is how long after the declared hold limit a process that removes a
// lock it still has open is believed to mean it: clients give themselves 120 s to
// wind up, and hold for 5 minutes where they declare nothing (rule 6).
const (
	declaredGrace = 120 * time.Second
	defaultHold   = 5 * time.Minute
)

// watch has the owner's death told. The death of an owner that can't be watched is
// noticed when somebody comes across its locks: see settle.
func (m *Manager) watch(e *entry) {
	if err := m.Deaths.Watch(e.owner.Identity); err != nil {
		m.tell(e, Event{What: Unwatched, Reason: err.Error()})
	}
}

// breath is after how many locks of a dead owner others come first. Nobody waits for the rest: whoever wants one of them has
// the owner asked after (settle).
const breath = 8

// OwnerDied is the kernel's news that a process is dead, zombies included. Every lock
// it holds becomes an orphan, at once or when the last handle goes.
func (m *Manager) OwnerDied(id Identity) {
	m.guards.died(id)
	m.mu.Lock()
	var held []*entry
	if of := m.owners[id]; of != nil {
		for e := range of.entries {
			e.uses++
			held = append(held, e)
		}
	}
	m.mu.Unlock()
	for i, e := range held {
		if i%breath == breath-1 {
			m.Breathe()
		}
		e.turn.Lock()
		if e.state == Held && e.owner.Identity == id {
			m.ownerGone(e)
		}
		m.leave(e)
	}
}

func (m *Manager) ownerGone(e *entry) {
	if !e.ownerDead {
		e.ownerDead, e.killed = true, e.owner.ByHelper && m.Deaths.Killed(e.owner.Identity)
	}
	if !e.handleOpen {
		m.orphan(e, "its owner is dead")
	}
}

// settle makes sure that the state is as the living are before c is answered. The news
// of a death may still be on its way, or for an owner that can't be watched never come,
// so whoever comes across a held lock has the owner asked after: the next try after a
// death wins. The owner itself is alive. Of whoever the payload may make the owner, it is
// asked whether it does.
func (m *Manager) settle(e *entry, c Identity) {
	m.delegateTo(e, c)
	for e.state == Held && c != e.owner.Identity {
		owner := e.owner.Identity
		m.settleOwner(e)
		if e.owner.Identity == owner { // else it went to a shell, which may be dead as well
			return
		}
	}
}

func (m *Manager) settleOwner(e *entry) {
	if e.ownerDead {
		if !e.handleOpen { // what it holds could not be read
			m.orphan(e, "its owner is dead")
		}
		return
	}
	if v := m.Deaths.Verdict(e.owner.Identity); v == Dead || v == Recycled {
		m.ownerGone(e)
	}
}

// orphan makes a held lock an orphan, or abandons it if it is not recognised: then it
// could be data. An orphan that is no evidence leaves at once (rule 4).
func (m *Manager) orphan(e *entry, reason string) {
	content, err := m.Tree.Content(e.key, e.inode)
	switch {
	case errors.Is(err, ErrGone):
		m.tell(e, Event{What: Released, Reason: "its owner is dead and it was gone already"})
		m.forget(e)
	case err != nil: // stays as it is; whoever comes across it tries again
	case m.delegate(e, content, Identity{}):
	case !m.recognised(e, content):
		m.disown(e)
		e.state = Abandoned
		m.tell(e, Event{What: AbandonedBy, Reason: reason + "; it could be data, so it stays"})
	case m.Policy().IsEvidence(e.key.Name) && !e.git:
		m.disown(e)
		e.state = Orphan
		m.tell(e, Event{What: Orphaned, Reason: reason + "; it stays until somebody takes or removes it"})
	default:
		m.depart(e, OwnerDied, reason, content.Record())
	}
}

// depart sends the lock on its way: free for the next create from now on, hidden from
// everybody, and soon removed through the mount.
func (m *Manager) depart(e *entry, cause Cause, reason string, payload []byte) {
	m.disown(e)
	e.state, e.leaving = Orphan, true
	m.tell(e, Event{What: Reclaimed, By: m.Self, Cause: cause, Reason: reason, Payload: payload})
	m.Reaper.Reap(e.key, e.token)
}

// Flushed is a FLUSH of the creating handle: somebody closed a descriptor of it. From
// the owner's own process that is the close that rule 6 speaks of.
func (m *Manager) Flushed(k Key, token Token, c Identity) {
	e := m.enterKnown(k)
	if e == nil {
		return
	}
	defer m.leave(e)
	if e.state == Held && e.token == token && c == e.owner.Identity {
		m.closed(e)
	}
}

// HandleClosed is the RELEASE of the creating handle: nobody has it open any more.
func (m *Manager) HandleClosed(k Key, token Token) {
	e := m.enterKnown(k)
	if e == nil {
		return
	}
	defer m.leave(e)
	if !e.held() || e.token != token {
		return
	}
	e.handleOpen = false
	if e.ownerDead && !e.second {
		m.orphan(e, "its owner is dead and the last handle closed")
		return
	}
	m.closed(e)
}

// closed ends the time in which a removal by the owner's process may be a second
// caller's mistake. If there was one, the lock goes now: the first caller is done with
// it, and its own removal, still to come, must not hit its neighbour's new lock.
func (m *Manager) closed(e *entry) {
	e.closed = true
	if !e.second {
		m.delegateIfNamed(e, Identity{})
		return
	}
	owner := e.owner.Identity
	e.giveUp(owner, m.Now())
	content, _ := m.Tree.Content(e.key, e.inode)
	m.depart(e, GivenUp, RemovedBySecond, content.Record())
}

// mayBeSecond reports whether a removal by the owner's process may be that of a second
// caller in it. Clients that write createdAt keep the handle open while they hold; what
// they have not written yet counts where the name, or a removal that is still to come
// from this process, says that it is such a client.
func (m *Manager) mayBeSecond(e *entry, gaveUp bool) bool {
	if !e.handleOpen || e.closed {
		return false
	}
	content, err := m.Tree.Content(e.key, e.inode)
	if errors.Is(err, ErrGone) {
		return false
	}
	p, ok := ParsePayload(content)
	if err == nil && (!ok || !KeepsOpen(content, e.key.Name) && !(p.Empty && gaveUp)) {
		return false
	}
	hold := p.MaxHold
	if hold == 0 {
		hold = defaultHold
	}
	return m.Now().Before(e.since.Add(hold + declaredGrace))
}

// Leaving reports whether the lock with this token is still on its way out.
func (t *Turn) Leaving(token Token) bool { return t.e.leaving && t.e.token == token }

// Reap removes a lock that is on its way out, where it can't be done through the mount.
func (t *Turn) Reap() error {
	e, m := t.e, t.m
	content, err := m.Tree.Content(e.key, e.inode)
	if err == nil && !m.mayGo(e, content) {
		return nil
	}
	if !unreadable(e, err) {
		err = m.remove(e, content)
	}
	if err == errData {
		return nil
	}
	if err != nil && !errors.Is(err, ErrGone) {
		m.tell(e, Event{What: Orphaned, Reason: "it can't be removed: " + err.Error()})
		e.leaving = false // it lingers, and the next exclusive create tries again
		if e.sure {       // a person's word was not enough
			e.state, e.sure = Abandoned, false
		}
		return err
	}
	m.forget(e)
	return nil
}
