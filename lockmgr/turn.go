package lockmgr

import (
	"errors"
	"strings"
)

// Turn is one caller's turn at one name: until End nobody else can do anything with
// it. A Turn belongs to one goroutine.
type Turn struct {
	m        *Manager
	e        *entry
	git      bool   // see InGit
	removing []byte // payload of what is about to be removed
}

// At takes a turn at a name.
func (m *Manager) At(k Key) *Turn { return &Turn{m: m, e: m.enter(k)} }

// Known takes a turn at a name if anything is known of it, else it returns nil.
func (m *Manager) Known(k Key) *Turn {
	if e := m.enterKnown(k); e != nil {
		return &Turn{m: m, e: e}
	}
	return nil
}

// Turns takes turns at two names, in the order of their keys. For one name it is one turn.
func (m *Manager) Turns(a, b Key) (first, second *Turn) {
	switch c := compareKeys(a, b); {
	case c == 0:
		t := m.At(a)
		return t, t
	case c < 0:
		first = m.At(a)
		return first, m.At(b)
	}
	second = m.At(b)
	return m.At(a), second
}

func compareKeys(a, b Key) int {
	if a.Dir != b.Dir {
		if a.Dir.Dev < b.Dir.Dev || a.Dir.Dev == b.Dir.Dev && a.Dir.Ino < b.Dir.Ino {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

// InGit says that the name is that of a lock of git's own, inside a git directory: see
// GitLock. It comes before everything else, in every turn that looks the name up or
// makes it.
func (t *Turn) InGit() { t.git = true }

// End ends the turn.
func (t *Turn) End() { t.m.leave(t.e) }

// Create decides an exclusive act: O_EXCL, mknod, mkdir and symlink, link onto the name and
// a rename that doesn't replace. With Grant the caller does it on the real
// directory and says Granted. An orphan in the way has been removed by then; if that
// fails, the error is the Tree's and nothing has changed.
func (t *Turn) Create(c Identity) (Outcome, error) {
	t.m.settle(t.e, c)
	o := t.decide(Create, c)
	if o != TakeOver {
		return o, nil
	}
	switch err := t.m.clearOrphan(t.e, c); {
	case err == errData:
		return Exists, nil
	case err != nil:
		return Exists, err
	}
	return Grant, nil
}

// Granted records that the caller's exclusive act was done, and which inode the name has
// since: a new one, or after a link or a rename one that may have other names. The creating
// handle counts as open if withHandle. It must come before the caller hears that it won. The error is the ledger's:
// nothing is granted then, and the caller undoes what was done.
func (t *Turn) Granted(p Process, inode InodeID, kind Kind, withHandle bool) (Token, error) {
	e, m := t.e, t.m
	token, since := m.nextToken(), m.Now()
	r := Record{
		Token: token, Since: since, Owner: p.Identity, NSPIDs: p.NSPIDs, Shells: p.Shells, ByHelper: p.ByHelper, Git: t.git,
	}
	if err := m.Ledger.Enter(e.key, inode, r); err != nil {
		return 0, err
	}
	e.state, e.owner, e.kind = Held, &p, kind
	e.token, e.since = token, since
	e.handleOpen, e.git = withHandle, t.git
	m.track(e, inode)
	e.unlook(p.Identity)
	if !p.Known() {
		e.state = UnknownOwner
		m.guard(e)
		m.tell(e, Event{What: GrantedTo})
		return e.token, nil
	}
	m.own(e)
	m.guard(e)
	m.watch(e)
	m.tell(e, Event{What: GrantedTo})
	return e.token, nil
}

// Remove decides unlink, rmdir and rename away. If it is not refused the caller does
// it on the real directory and says Removed.
func (t *Turn) Remove(c Identity) Outcome {
	e := t.e
	t.m.settle(e, c)
	if e.leaving {
		return t.removeLeaving(c)
	}
	if c == t.m.Self {
		return Gone
	}
	o := t.decide(Remove, c)
	late := e.late[c].gaveUp
	delete(e.late, c)
	switch o {
	case Remember:
		e.second = true
		t.m.rewrite(e)
		t.refuse(Remove, c, "a second caller in the owner's process: the creating handle is still open")
		if late {
			return Gone
		}
	case Busy:
		t.refuse(Remove, c, "somebody else holds it")
	case Clear, Expire:
		t.remember()
	case Gone:
		t.refuse(Remove, c, "what the caller judged is gone; somebody else was granted the name since")
	}
	return o
}

// remember reads what is about to go, for the event: afterwards it can't be read.
func (t *Turn) remember() {
	if t.e.state == Orphan || t.e.state == Held {
		content, _ := t.m.Tree.Content(t.e.key, t.e.inode)
		t.removing = content.Record()
	}
}

// removeLeaving lets the reaper through; for everybody else the lock is gone already.
func (t *Turn) removeLeaving(c Identity) Outcome {
	if c != t.m.Self {
		delete(t.e.late, c)
		return Gone
	}
	content, err := t.m.Tree.Content(t.e.key, t.e.inode)
	if unreadable(t.e, err) {
		return Busy
	}
	if err == nil && !t.m.mayGo(t.e, content) {
		return Gone
	}
	switch err := t.m.empty(t.e, content); {
	case err == errData:
		return Gone
	case err != nil && !errors.Is(err, ErrGone):
		return Busy
	}
	return Clear
}

// Removed records that what Remove let through was done.
func (t *Turn) Removed(c Identity, o Outcome) {
	switch {
	case o == Release:
		t.m.tell(t.e, Event{What: Released, By: c})
	case o == Expire:
		t.m.tell(t.e, Event{What: Expired, By: c, Reason: "its owner held it for longer than it may", Payload: t.removing})
		t.m.fence(t.e)
		t.e.giveUp(t.e.owner.Identity, t.m.Now()) // its own removal, still to come, must not meet a new owner's lock
	case o == Clear && c == t.m.Self:
		// told when it was put on its way
	case o == Clear:
		t.m.tell(t.e, Event{What: Cleared, By: c, Payload: t.removing})
	}
	t.m.forget(t.e)
}

// Replace decides a rename over the name, or an exchange with another one. If it is not refused the caller does it on
// the real directory and says Replaced.
func (t *Turn) Replace(c Identity) Outcome {
	t.m.settle(t.e, c)
	o := t.decide(Replace, c)
	switch o {
	case Clear:
		t.remember()
	case Busy:
		t.refuse(Replace, c, "somebody else holds it")
	}
	return o
}

// Replaced records that the name has another inode now, after an exchange maybe one of
// another kind: an owner's grant goes on with it, everything else is forgotten. What a
// second caller wanted removed is gone.
func (t *Turn) Replaced(c Identity, o Outcome, inode InodeID, kind Kind) {
	e := t.e
	if o == Clear {
		t.m.tell(e, Event{What: Cleared, By: c, Reason: "something was renamed over it", Payload: t.removing})
		t.m.forget(e)
		return
	}
	if !e.held() {
		return
	}
	e.second, e.kind = false, kind
	before := e.inode
	t.m.mu.Lock()
	t.m.unindex(e)
	t.m.index(e, inode)
	t.m.mu.Unlock()
	t.m.rewrite(e)
	t.m.Tree.Unpin(before)
}

// Change decides everything that alters a lock in place, and links it elsewhere.
func (t *Turn) Change(c Identity) Outcome {
	t.m.settle(t.e, c)
	o := t.decide(Change, c)
	if others, _ := t.m.otherNames(t.e, c); others && !o.Refused() {
		o = Busy
	}
	if o == Busy {
		t.refuse(Change, c, "somebody else holds it")
	}
	return o
}

// decide asks the table.
func (t *Turn) decide(a Act, c Identity) Outcome {
	r := t.relation(a, c)
	rows := &table
	if t.e.git {
		rows = &gitTable
	}
	return rows[a][t.state(r)][r]
}

// state is the entry's, or Overdue. Of the owner nobody asks how long it may hold.
func (t *Turn) state(r Relation) State {
	if r != Owner && r != Second && t.m.overdue(t.e) {
		return Overdue
	}
	return t.e.state
}

func (t *Turn) relation(a Act, c Identity) Relation {
	e := t.e
	switch {
	case !c.Known():
		return Unnamed
	case e.state == Held && c == e.owner.Identity:
		if a == Remove && !e.git && t.m.mayBeSecond(e, e.late[c].gaveUp) {
			return Second
		}
		return Owner
	}
	if mark, ok := e.late[c]; ok && (mark.token != e.token || mark.gaveUp) {
		return Late
	}
	return Stranger
}

func (t *Turn) refuse(a Act, c Identity, reason string) {
	t.e.refused++
	t.m.tell(t.e, Event{What: Refused, Act: a, By: c, Reason: reason})
}

// MakeWay decides an act that brings an entry into being and is granted to nobody. What
// the caller was not shown goes: a lock on its way out, and for an exclusive act any
// orphan. The error is the Tree's, and nothing has changed then.
func (t *Turn) MakeWay(c Identity, exclusive bool) (Outcome, error) {
	e := t.e
	t.m.settle(e, c)
	if e.held() {
		return Exists, nil
	}
	if e.leaving || exclusive && e.state == Orphan {
		switch err := t.m.clearOrphan(e, c); {
		case err == errData:
			return Exists, nil
		case err != nil:
			return Exists, err
		}
	}
	return Pass, nil
}
