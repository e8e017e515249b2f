package cli

import (
	"fmt"
	"strconv"
	"strings"

	"sessionlockfs/fsnode"
)

// Widths of the columns. The numbers stand right, with a blank before them.
const (
	markWidth    = 2
	stateWidth   = 10 // abandoned, untracked
	ageWidth     = 8  // 364d23h
	waitingWidth = 6
	refusedWidth = 9
	tokenWidth   = 19
	fixedWidth   = markWidth + stateWidth + ageWidth + waitingWidth + refusedWidth

	wideScreen = 120 // from here on there is room for what is of use now and then
)

// widths are those that depend on the screen and on what is on it.
type widths struct {
	lock, holder int
	token        bool
}

// widths gives the holder two fifths of what is left, and the lock the rest, but neither more than the longest takes.
func (m *top) widths() (w widths) {
	left := m.width - fixedWidth
	if w.token = m.width >= wideScreen; w.token {
		left -= tokenWidth
	}
	w.holder = max(8, min(left*2/5, m.longest.holder+1)) // with a blank after it
	w.lock = max(8, min(left-w.holder, m.longest.lock+1))
	return w
}

// table is its head, and the rows there is room for.
func (m *top) table() []string {
	w, room := m.widths(), m.room()
	lines := []string{m.paint(bold, m.tableHead(w))}
	for i := m.offset; i < min(m.offset+room, len(m.rows)); i++ {
		lines = append(lines, m.row(w, i))
	}
	if len(m.rows) == 0 {
		lines = append(lines, strings.Repeat(" ", markWidth)+m.nothing())
	}
	for len(lines) < 1+room {
		lines = append(lines, "")
	}
	return lines
}

func (m *top) nothing() string {
	if len(m.dump.Locks) > 0 {
		return "no such locks"
	}
	return "no locks"
}

func (m *top) tableHead(w widths) string {
	names := [columns]string{"LOCK", "STATE", "HOLDER", "FOR", "WAIT", "REFUSED"}
	names[m.by] += "*"
	return w.line("", names[byLock], names[byState], names[byHolder], names[byAge], names[byWaiting], names[byRefused], "TOKEN")
}

func (m *top) row(w widths, i int) string {
	l, mark, look := m.rows[i], "", ""
	if l.State != "held" {
		look = yellow
	}
	if len(l.Contenders) > 0 {
		look += bold
	}
	if i == m.cursor {
		mark, look = ">", reverse
	}
	text := w.line(mark, shortened(Printable(l.Path), w.lock-1), stateName(l.State), holderIn(l, w.holder-1), age(l.CreatedAt, m.now),
		strconv.Itoa(len(l.Contenders)), strconv.Itoa(l.RefusedChanges), token(*l))
	return m.paint(look, text)
}

func (w widths) line(mark, lock, state, holder, age, waiting, refused, token string) string {
	text := fit(mark, markWidth) + fit(lock, w.lock) + fit(state, stateWidth) + fit(holder, w.holder) +
		right(age, ageWidth) + right(waiting, waitingWidth) + right(refused, refusedWidth)
	if w.token {
		text += right(token, tokenWidth)
	}
	return text
}

// stateName is the one in the dump, as people write it.
func stateName(state string) string {
	if state == "unknown_owner" {
		return "unknown"
	}
	return strings.ReplaceAll(state, "_", " ")
}

// holderIn says who holds a lock in so many cells: what is left of a long name, and the PID whole. That it is dead says the state.
func holderIn(l *fsnode.LockDump, width int) string {
	if l.Owner == nil {
		return shortened(holder(*l), width)
	}
	pid := fmt.Sprintf(" %d", l.Owner.PID)
	if n := len(l.Owner.NSPIDs); n > 1 && width >= roomForContainer {
		pid += fmt.Sprintf(" (%d in its container)", l.Owner.NSPIDs[n-1])
	}
	return shortened(Printable(l.Owner.Comm), width-len(pid)) + pid
}

// roomForContainer is how wide the holder has to be to say which PID it has in its container.
const roomForContainer = 44

// extents are the widths of the longest of all rows, so that no column moves while one looks through them. They are those of
// ordinary names: others are shortened.
type extents struct{ lock, holder int }

func (e extents) with(l *fsnode.LockDump) extents {
	holder := roomForContainer
	if l.Owner != nil && len(l.Owner.NSPIDs) < 2 {
		holder = len(l.Owner.Comm) + len(" 4194304")
	}
	return extents{max(e.lock, len(l.Path)), max(e.holder, holder)}
}
