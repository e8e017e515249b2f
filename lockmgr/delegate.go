package lockmgr

// A payload that names a shell above the lock's maker makes that shell the owner (rule 7):
// the maker is a program that the shell had make the lock for it. That is looked at when
// it matters: when the maker dies or closes the creating handle, and when the shell itself
// comes across the lock.

// delegate makes the shell that the payload names the owner. While the maker lives the
// shell must live as well, or the maker would lose its lock to nobody; c, who asks, does. Of
// a dead maker's shell that is dead too, the news comes at once.
func (m *Manager) delegate(e *entry, content Content, c Identity) bool {
	if len(e.owner.Shells) == 0 || Names(content, e.owner.NSPIDs) {
		return false
	}
	for _, shell := range e.owner.Shells {
		if !shell.Known() || shell.Identity == e.owner.Identity || !Names(content, shell.NSPIDs) {
			continue
		}
		if e.ownerDead || shell.Identity == c || m.lives(shell.Identity) {
			m.handOver(e, shell)
			return true
		}
	}
	return false
}

// lives asks after a shell while somebody may wait for us who closes a handle inside
// execve(2), the shell even. Without pidfds that never go stale the answer might wait for
// that; then it is left for later.
func (m *Manager) lives(shell Identity) bool {
	return shell.Pidfs != 0 && m.Deaths.Verdict(shell) == Alive
}

// handOver gives the lock another owner, with the token it has. That has no handle of its
// own open, so a removal by it is no second caller's.
func (m *Manager) handOver(e *entry, to Process) {
	m.disown(e)
	e.owner, e.ownerDead, e.killed, e.closed, e.second = &to, false, false, true, false
	m.own(e)
	m.guard(e)
	m.rewrite(e)
	m.watch(e)
	m.tell(e, Event{What: Delegated, Reason: "the payload names it"})
}

// delegateIfNamed is delegate for whoever has not read the payload yet.
func (m *Manager) delegateIfNamed(e *entry, c Identity) {
	if e.state != Held || len(e.owner.Shells) == 0 {
		return
	}
	if content, err := m.Tree.Content(e.key, e.inode); err == nil {
		m.delegate(e, content, c)
	}
}

// delegateTo is delegateIfNamed for a caller that may be the one who is named.
func (m *Manager) delegateTo(e *entry, c Identity) {
	if !c.Known() || c == e.owner.Identity {
		return
	}
	for _, shell := range e.owner.Shells {
		if shell.Identity == c {
			m.delegateIfNamed(e, c)
			return
		}
	}
}
