package lockmgr

// What goes on inside a lock directory is its owner's alone, in directories below it as
// well: whoever acts there asks for each lock directory above. The answer is given without
// keeping the turn, since what is acted on may be a lock with a turn of its own. That is
// enough: a directory becomes a lock when it is made, with nothing in it. Where an existing
// one becomes a lock by a rename, what was under way in it counts as done before. And a dead
// owner's directory goes only as it was when it was looked at (Tree.Empty).

// Put decides an act that makes, renames, links or writes something inside a directory.
// Pass, also for a directory that is no lock; else Busy, or Gone where the lock is an
// orphan: that is to go with all that is in it, and nothing that is put into it brings it back.
func (m *Manager) Put(dir InodeID, c Identity) Outcome { return m.inside(dir, Put, c) }

// Take decides an act that removes something from a directory, or renames it away. Pass
// or Busy.
func (m *Manager) Take(dir InodeID, c Identity) Outcome { return m.inside(dir, Take, c) }

func (m *Manager) inside(dir InodeID, a Act, c Identity) Outcome {
	if c == m.Self { // the reaper: it removes what is nobody's, wherever that is
		return Pass
	}
	t := m.AtInode(dir)
	if t == nil {
		return Pass
	}
	defer t.End()
	m.settle(t.e, c)
	o := t.decide(a, c)
	if others, _ := m.otherNames(t.e, c); others && !o.Refused() {
		o = Busy
	}
	switch o {
	case Busy:
		t.refuse(a, c, "somebody else holds the directory that it is in")
	case Gone:
		t.refuse(a, c, "the directory that it is in is a dead owner's lock, and is to go")
	}
	return o
}
