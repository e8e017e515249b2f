package cli

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"sessionlockfs/fsnode"
)

// The columns of the table, from the left.
const (
	byLock = iota
	byState
	byHolder
	byAge
	byWaiting
	byRefused
	columns
)

// arrange puts the locks in order, leaves out what is not asked for, and keeps the cursor on its lock.
func (m *top) arrange() {
	var on string
	if l := m.selected(); l != nil {
		on = l.Path
	}
	m.rows, m.longest = make([]*fsnode.LockDump, 0, len(m.dump.Locks)), extents{len("LOCK*"), len("HOLDER*")}
	for i := range m.dump.Locks {
		if l := &m.dump.Locks[i]; m.filter == "" || has(l, strings.ToLower(m.filter)) {
			m.rows, m.longest = append(m.rows, l), m.longest.with(l)
		}
	}
	slices.SortFunc(m.rows, func(a, b *fsnode.LockDump) int { return order(m.by, a, b) })
	if at := slices.IndexFunc(m.rows, func(l *fsnode.LockDump) bool { return l.Path == on }); at >= 0 {
		m.cursor = at
	}
	m.move(0)
}

// has tells whether some text, which is in small letters, is in what the table says of a lock.
func has(l *fsnode.LockDump, text string) bool {
	return strings.Contains(strings.ToLower(l.Path), text) || strings.Contains(stateName(l.State), text) ||
		l.Owner != nil && strings.Contains(strings.ToLower(l.Owner.Comm)+" "+strconv.Itoa(int(l.Owner.PID)), text)
}

// order is by a column: numbers from the largest, which need a look most. Among equals the oldest comes first.
func order(by int, a, b *fsnode.LockDump) int {
	var first int
	switch by {
	case byState:
		first = strings.Compare(a.State, b.State)
	case byHolder:
		first = compareOwners(a.Owner, b.Owner)
	case byWaiting:
		first = cmp.Compare(len(b.Contenders), len(a.Contenders))
	case byRefused:
		first = cmp.Compare(b.RefusedChanges, a.RefusedChanges)
	}
	if by == byLock {
		return strings.Compare(a.Path, b.Path)
	}
	return cmp.Or(first, a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.Path, b.Path))
}

// compareOwners has those that nobody can name at the end.
func compareOwners(a, b *fsnode.OwnerDump) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Or(strings.Compare(a.Comm, b.Comm), cmp.Compare(a.PID, b.PID))
}

// selected is the lock that the cursor is on; nil if there is none.
func (m *top) selected() *fsnode.LockDump {
	if m.cursor < len(m.rows) {
		return m.rows[m.cursor]
	}
	return nil
}

// move moves the cursor by so many rows, as far as there are any.
func (m *top) move(by int) { m.cursor = max(0, min(m.cursor+by, len(m.rows)-1)) }

// scroll has the cursor on the screen, and no room unused that rows could have.
func (m *top) scroll() {
	room := m.room()
	m.offset = max(0, min(m.offset, len(m.rows)-room))
	m.offset = max(min(m.offset, m.cursor), m.cursor-room+1)
}
