package lockmgr

import "time"

// The bounds on what is remembered of the callers of one name.
const (
	maxContenders = 16
	maxLate       = 64
	contendFor    = 5 * time.Second // how long a contender is shown after it was last seen
)

// contend remembers that somebody else looked the name up: a refused create is a
// lookup to us.
func (t *Turn) contend(c Identity) {
	e := t.e
	if c == t.m.Self {
		return
	}
	if e.contenders == nil {
		e.contenders = map[Identity]time.Time{}
	}
	if _, known := e.contenders[c]; !known && e.held() && len(e.contenders) < maxContenders {
		t.m.tell(e, Event{What: Contended, By: c})
	}
	e.contenders[c] = t.m.Now()
	if len(e.contenders) > maxContenders {
		delete(e.contenders, oldestContender(e.contenders))
	}
}

func oldestContender(seen map[Identity]time.Time) (oldest Identity) {
	var at time.Time
	for id, t := range seen {
		if at.IsZero() || t.Before(at) {
			oldest, at = id, t
		}
	}
	return oldest
}

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
