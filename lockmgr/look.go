package lockmgr

// Sight is how a name or an inode is to be shown to a caller.
type Sight uint8

// The sights.
const (
	AsItIs Sight = iota
	Fresh        // as held by somebody else: its times are now, its payload is rendered
	Hidden       // as if it were not there
)

// Look decides how a lookup of the name is answered. found is the inode in the real
// directory, zero if there is none. creating is asked only where it matters: whether
// the lookup is, or may be, that of an exclusive create.
func (t *Turn) Look(c Identity, found InodeID, creating func() bool) Sight {
	e, m := t.e, t.m
	m.settle(e, c)
	switch {
	case e.adopted && e.state == Held && found != e.inode: // its owner doesn't come by us
		m.tell(e, Event{What: Released, Reason: "it was gone already"})
		m.forget(e)
	case e.held() && found == InodeID{} && t.ownedBy(c): // it was removed past the mount
		m.tell(e, Event{What: Released, By: c, Reason: "it was gone already"})
		m.forget(e)
		return AsItIs
	case e.held():
		return t.sightOfHeld(c)
	case e.tracked() && e.inode != found: // it was removed or replaced past the mount
		m.forget(e)
	}
	switch {
	case e.leaving:
		if c != m.Self {
			return Hidden
		}
	case e.state == Orphan:
		if creating() {
			return Hidden
		}
	case found != InodeID{} && (e.state == Free || e.state == Untracked) && !t.git:
		if creating() {
			m.meet(e, found)
		}
	}
	return AsItIs
}

func (t *Turn) sightOfHeld(c Identity) Sight {
	if t.ownedBy(c) {
		return AsItIs
	}
	t.contend(c)
	return t.sightOfOthers()
}

// sightOfOthers is how a lock that somebody else holds is shown: git never judges one, and
// one that is held for too long is there to be judged.
func (t *Turn) sightOfOthers() Sight {
	if t.judged() || t.m.isRaw(t.e) {
		return AsItIs
	}
	return Fresh
}

// judged reports whether others may judge a held lock by what they are shown of it.
func (t *Turn) judged() bool { return t.e.git || t.m.overdue(t.e) }

func (m *Manager) isRaw(e *entry) bool {
	l := m.Policy().Of(e.key.Name)
	return l != nil && l.Raw
}

// ownedBy reports whether the caller is the owner, or cannot be told from it: an
// unnamed caller must see the exact bytes of an unnamed owner's lock, which it may
// compare before it releases.
func (t *Turn) ownedBy(c Identity) bool { return t.e.ownedBy(c) }

func (e *entry) ownedBy(c Identity) bool {
	return e.held() && c == e.owner.Identity
}

// Stat decides how the lock's attributes or bytes are shown, and remembers who looked
// into something that anyone may remove.
func (t *Turn) Stat(c Identity) Sight {
	e := t.e
	t.m.settle(e, c)
	if e.held() && t.ownedBy(c) {
		return AsItIs
	}
	others, mine := t.m.otherNames(e, c)
	switch {
	case mine:
		return AsItIs
	case others || e.held() && !t.judged():
		if t.m.isRaw(e) {
			return AsItIs
		}
		return Fresh
	case e.tracked() && !e.git && c.Known():
		e.mark(c, t.m.Now())
	}
	return AsItIs
}

// Opened is Stat for somebody who opens a lock: whoever reads what a new owner wrote
// has judged that, and no orphan that was there before.
func (t *Turn) Opened(c Identity) Sight {
	s := t.Stat(c)
	if t.e.held() && !t.ownedBy(c) && !t.judged() {
		t.e.unlook(c)
	}
	return s
}

// Listing is whom a name shows to in a listing of its directory.
type Listing uint8

// The listings.
const (
	Shown    Listing = iota
	Withheld         // held by somebody else: left out, so that sweepers never meet it (rule 5), but for those who watch the directory
	Going            // on its way out: left out for everybody
)

// Listed tells how the name shows in a listing that the caller asks for.
func (m *Manager) Listed(k Key, c Identity) Listing {
	e := m.enterKnown(k)
	if e == nil {
		return Shown
	}
	defer m.leave(e)
	switch {
	case e.held() && !e.git && !m.isRaw(e) && !e.ownedBy(c) && !m.overdue(e):
		return Withheld
	case e.leaving:
		return Going
	}
	return Shown
}
