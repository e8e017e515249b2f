package lockmgr

// shield is what of an entry others go by without its turn: see index. Guarded by
// Manager.mu, and set when a turn ends, with the turn still taken.
type shield struct {
	held  bool // it protects its inode
	open  bool // somebody has its creating handle open
	owner *Process
	token Token
}

func (e *entry) shieldNow() shield {
	return shield{held: e.held() && !e.git, open: e.handleOpen, owner: e.owner, token: e.token}
}

// track enters the entry, whose turn is taken, into the indexes.
func (m *Manager) track(e *entry, inode InodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[e.key.Dir]++; m.dirs[e.key.Dir] == 1 {
		m.Tree.Pin(e.key.Dir)
	}
	m.index(e, inode)
}

// index remembers which inode the name has. An inode that existed before it became a
// lock, by link or rename, may have several names, each a lock of its own. It is
// protected through all of them: who has the turn of one goes by the shields of the
// others, which say what they were when their last turn ended. So what somebody does to
// an inode while another name of it is being granted counts as done before: the grant's
// turn has not ended, and nobody was told. Caller holds m.mu.
func (m *Manager) index(e *entry, inode InodeID) {
	m.Tree.Pin(inode)
	e.inode = inode
	e.twin = m.inodes[inode]
	m.inodes[inode] = e
}

// unindex undoes it, but for the pin: to unpin may mean system calls, which the caller,
// who holds m.mu, must do without it.
func (m *Manager) unindex(e *entry) {
	first := m.inodes[e.inode]
	switch {
	case first == e && e.twin == nil:
		delete(m.inodes, e.inode)
	case first == e:
		m.inodes[e.inode] = e.twin
	default:
		for first.twin != e {
			first = first.twin
		}
		first.twin = e.twin
	}
	e.twin = nil
}

// AtInode takes a turn at a tracked name that has this inode, else it returns nil. Of
// several names it is the one that was granted last of those that are held.
func (m *Manager) AtInode(inode InodeID) *Turn {
	for {
		m.mu.Lock()
		e := m.inodes[inode]
		if e == nil {
			m.mu.Unlock()
			return nil
		}
		if e.twin != nil {
			m.settleNames(inode)
			if e = m.foremost(inode); e == nil {
				m.mu.Unlock()
				return nil
			}
		}
		m.take(e)
		if e.inode == inode {
			return &Turn{m: m, e: e}
		}
		m.leave(e) // it went while we waited for the turn
	}
}

// settleNames has the owners of all names of an inode asked after, one turn after the
// other: two at once could be out of order. Caller holds m.mu, which is given up for it.
func (m *Manager) settleNames(inode InodeID) {
	var names []*entry
	for e := m.inodes[inode]; e != nil; e = e.twin {
		e.uses++
		names = append(names, e)
	}
	m.mu.Unlock()
	for _, e := range names {
		e.turn.Lock()
		m.settle(e, Identity{})
		m.leave(e)
	}
	m.mu.Lock()
}

// foremost is the name whose turn stands for the inode. Caller holds m.mu.
func (m *Manager) foremost(inode InodeID) *entry {
	best := m.inodes[inode]
	for e := best; e != nil; e = e.twin {
		if e.shield.held && (!best.shield.held || e.shield.token > best.shield.token) {
			best = e
		}
	}
	return best
}

// otherNames asks whether, by another name of its inode, somebody but c holds the entry's
// inode, and whether c does.
func (m *Manager) otherNames(e *entry, c Identity) (others, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for o := m.inodes[e.inode]; o != nil; o = o.twin {
		if o != e && o.shield.held {
			others = others || o.shield.owner.Identity != c
			mine = mine || o.shield.owner.Identity == c
		}
	}
	return others, mine
}

// holdsLocks reports whether a lock inside the directory that the entry is can still be
// somebody's: only what its dead owner held itself, with the handle closed, is nobody's.
func (m *Manager) holdsLocks(e *entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[e.inode] == 0 {
		return false
	}
	for _, in := range m.names[e.inode] {
		if s := in.shield; s.held && (s.open || s.owner.Identity != e.owner.Identity) {
			return true
		}
	}
	return false
}

// Holding is one owner's hold of one lock.
type Holding struct {
	Key   Key
	Kind  Kind
	Token Token
	Owner Process
}

// Holder tells who holds the lock that this inode is; of several names, by the one that was
// granted last. ok is false if nobody does.
func (m *Manager) Holder(inode InodeID) (h Holding, ok bool) {
	t := m.AtInode(inode)
	if t == nil {
		return Holding{}, false
	}
	defer t.End()
	m.settle(t.e, Identity{})
	return t.Holder()
}

// Holder tells who holds the name. ok is false if nobody does.
func (t *Turn) Holder() (h Holding, ok bool) {
	if !t.e.held() {
		return Holding{}, false
	}
	return Holding{Key: t.e.key, Kind: t.e.kind, Token: t.e.token, Owner: *t.e.owner}, true
}
