package lockmgr

// overdue reports whether the lock is held for longer than the policy lets it. It reads the
// payload where that says how long. git's locks know no limit.
func (m *Manager) overdue(e *entry) bool {
	if e.state != Held || e.git {
		return false
	}
	l := m.Policy().Of(e.key.Name)
	if l == nil {
		return false
	}
	limit := l.HoldLimit
	hold := limit.For
	if limit.Declared {
		content, err := m.Tree.Content(e.key, e.inode)
		if err != nil {
			return false
		}
		p, _ := ParsePayload(content)
		hold = p.MaxHold
	}
	return hold > 0 && !m.Now().Before(e.since.Add(hold))
}

// Overdue reports whether a name is held for longer than the policy lets it.
func (m *Manager) Overdue(k Key) bool {
	e := m.enterKnown(k)
	if e == nil {
		return false
	}
	defer m.leave(e)
	return m.overdue(e)
}
