package lockmgr

import (
	"iter"
	"slices"
	"sync"
	"time"
)

const (
	maxContenders = 16              // that are remembered of one lock
	contendFor    = 5 * time.Second // how long a contender is shown after it was last seen
)

// contention is who else looked up which held locks: who is refused an exclusive create did, as a look-up is all of it that
// reaches us.
//
// mu is taken after a turn, with nothing locked inside, and is held for one lock at a time: who counts the contenders of
// all locks must not keep anybody waiting.
type contention struct {
	mu    sync.Mutex
	locks map[*entry]contended
}

// contended is what is remembered of one lock until it is held no more.
type contended struct {
	since time.Time   // when it was granted
	by    []Contender // few: a list takes less than a map, and is gone through faster
}

// contend remembers that somebody else looked the name up.
func (t *Turn) contend(c Identity) {
	if c == t.m.Self {
		return
	}
	if t.m.contention.saw(t.e, c, t.m.Now()) && t.e.held() {
		t.m.tell(t.e, Event{What: Contended, By: c})
	}
}

// saw reports whether the caller is one more than was known, and there are not too many. The turn is taken.
func (n *contention) saw(e *entry, c Identity, now time.Time) (more bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.locks[e]
	l.since = e.since
	i := slices.IndexFunc(l.by, func(o Contender) bool { return o.Identity == c })
	switch {
	case i >= 0:
	case len(l.by) < maxContenders:
		more, i = true, len(l.by)
		l.by = append(l.by, Contender{})
	default:
		i = l.oldest()
	}
	l.by[i] = Contender{c, now}
	n.locks[e] = l
	return more
}

func (l contended) oldest() (i int) {
	for j := range l.by {
		if l.by[j].LastSeen.Before(l.by[i].LastSeen) {
			i = j
		}
	}
	return i
}

// of are a lock's contenders of late, in no order.
func (n *contention) of(e *entry, now time.Time) []Contender {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(n.locks[e].recent(now))
}

// recent are those of late. Caller holds mu.
func (l contended) recent(now time.Time) iter.Seq[Contender] {
	return func(yield func(Contender) bool) {
		for _, c := range l.by {
			if c.Known() && now.Sub(c.LastSeen) <= contendFor && !yield(c) {
				return
			}
		}
	}
}

// end forgets the contenders of a lock that is held no more. The turn is taken.
func (n *contention) end(e *entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.locks, e)
}

// Contention is how many contenders there were of late, one that wants two locks counted twice, and since when the lock
// is held that is held longest of those that they want; zero if there are none. It takes no turn: it answers also while
// somebody has one for ever.
func (m *Manager) Contention() (contenders int, since time.Time) {
	n, now := &m.contention, m.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.locks {
		for range l.recent(now) {
			contenders++
			if since.IsZero() || l.since.Before(since) {
				since = l.since
			}
		}
		n.mu.Unlock() // others may come between: a range goes on whatever they change
		n.mu.Lock()
	}
	return contenders, since
}

// Count is how many names are in a state. A lock on its way out is in none, and an overdue one counts as held. No owner is
// asked after, and no turn is taken: each name counts as its last turn left it.
func (m *Manager) Count(s State) int { return int(m.inState[s].Load()) }

// countState keeps it. The turn is taken.
func (m *Manager) countState(e *entry) {
	is := e.state
	if e.leaving {
		is = Free
	}
	if is == e.countedIn {
		return
	}
	m.inState[e.countedIn].Add(-1)
	m.inState[is].Add(1)
	e.countedIn = is
}
