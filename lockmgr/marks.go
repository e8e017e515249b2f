package lockmgr

import "time"

// maxLate bounds what is remembered of who judged the locks of one name.
const maxLate = 64

// mark remembers that a process has judged, or may have, the lock as it is now.
func (e *entry) mark(c Identity, now time.Time) {
	if e.late == nil {
		e.late = map[Identity]lateMark{}
	}
	e.late[c] = lateMark{e.token, now, e.late[c].gaveUp}
	if len(e.late) > maxLate {
		e.dropOldestMark(c)
	}
}

// dropOldestMark makes room: of marks left by looks first, as there are many of them.
func (e *entry) dropOldestMark(but Identity) {
	var oldest Identity
	for id, m := range e.late {
		o, found := e.late[oldest]
		if id != but && (!found || o.gaveUp && !m.gaveUp || o.gaveUp == m.gaveUp && m.at.Before(o.at)) {
			oldest = id
		}
	}
	delete(e.late, oldest)
}

// unlook forgets that a process judged the lock: it holds, or has read, a later one.
// Where it gave a lock up, its own removal is still to come.
func (e *entry) unlook(c Identity) {
	if !e.late[c].gaveUp {
		delete(e.late, c)
	}
}

// giveUp remembers that the process no longer holds the lock and will still remove it.
func (e *entry) giveUp(c Identity, now time.Time) {
	e.mark(c, now)
	m := e.late[c]
	m.gaveUp = true
	e.late[c] = m
}
