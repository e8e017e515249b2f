package timeline

import (
	"time"

	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
)

// Builder makes a History of events. It wants them from as early on as there are, oldest first: what a window begins with
// is known only from what came before it. What is over before the window is not kept.
type Builder struct {
	from, to time.Time
	shown    func(lock string) bool // nil for all

	first  time.Time // of all events
	cut    bool      // there were events before the first
	lanes  map[string]*lane
	open   map[grant]*span
	server []Mark
}

// NewBuilder makes one for what happened between two moments; from may be zero. Locks for which shown, if it is not nil, is
// false are left out.
func NewBuilder(from, to time.Time, shown func(lock string) bool) *Builder {
	return &Builder{from: from, to: to, shown: shown, lanes: map[string]*lane{}, open: map[grant]*span{}}
}

// What each event does. Of others nothing is shown.
var acts = map[string]func(*Builder, events.Event){
	lockmgr.GrantedTo.String():   (*Builder).granted,
	lockmgr.Adopted.String():     (*Builder).granted,
	lockmgr.Restored.String():    (*Builder).held,
	lockmgr.Delegated.String():   (*Builder).delegated,
	lockmgr.Released.String():    (*Builder).released,
	lockmgr.Orphaned.String():    (*Builder).orphaned,
	lockmgr.AbandonedBy.String(): (*Builder).orphaned,
	lockmgr.Reclaimed.String():   (*Builder).reclaimed,
	lockmgr.Cleared.String():     (*Builder).cleared,
	lockmgr.Forced.String():      (*Builder).forced,
	lockmgr.Expired.String():     (*Builder).expired,
	lockmgr.Contended.String():   (*Builder).contended,
	lockmgr.Refused.String():     (*Builder).refused,
	lockmgr.Guarded.String():     (*Builder).guarded,
	lockmgr.Unwatched.String():   (*Builder).held,
	lockmgr.Unrecorded.String():  (*Builder).held,
	events.Started:               (*Builder).began,
	events.TookOver:              (*Builder).began,
	events.Lost:                  (*Builder).lost,
}

// Add takes the next event.
func (b *Builder) Add(ev events.Event) {
	if b.first.IsZero() {
		b.first, b.cut = ev.Time, ev.Seq > 1
	}
	if ev.Lock != "" && b.shown != nil && !b.shown(ev.Lock) {
		return
	}
	if act, known := acts[ev.Event]; known {
		act(b, ev)
	}
}

// Holds adds what is held now, and of which no event is kept any more.
func (b *Builder) Holds(lock string, token uint64, owner *events.Process, since time.Time) {
	if b.shown != nil && !b.shown(lock) {
		return
	}
	if b.open[grant{token: token}] == nil && b.laneOf(lock).ended < token {
		b.begin(events.Event{Lock: lock, Token: token, Owner: owner, Time: since}, Hold)
	}
}

func (b *Builder) granted(ev events.Event) { b.begin(ev, Hold).Reason = ev.Reason }

// held is for what happens only to what is held.
func (b *Builder) held(ev events.Event) { b.opened(ev) }

func (b *Builder) delegated(ev events.Event) {
	s := b.opened(ev)
	if s == nil {
		return
	}
	if s.Holder == holder(ev.Owner) { // we know no earlier owner
		return
	}
	s.By = holder(ev.Owner)
	b.end(s, ev, HandedOver)
	b.begin(ev, Hold).refused = s.refused
}

func (b *Builder) released(ev events.Event) {
	if s := b.opened(ev); s != nil {
		s.By = holder(ev.By)
		b.end(s, ev, Released)
	}
}

func (b *Builder) orphaned(ev events.Event) {
	kind := Orphan
	if ev.Event == lockmgr.AbandonedBy.String() {
		kind = Abandoned
	}
	if s := b.opened(ev); s != nil {
		if s.Kind == kind {
			return // a new server says so again
		}
		b.die(s, ev)
	}
	b.begin(ev, kind).Reason = ev.Reason
}

// die ends a hold by its owner's death, or an orphan's time as one.
func (b *Builder) die(s *span, ev events.Event) {
	if s.Kind == Hold {
		b.mark(ev, Mark{Kind: Death, By: s.Holder, Text: ev.Reason})
	}
	b.end(s, ev, Died)
}

func (b *Builder) reclaimed(ev events.Event) {
	s := b.opened(ev)
	switch {
	case s == nil: // a person released it, or it lingered for reasons of its own
	case s.Kind != Hold:
		s.By = holder(ev.By)
		b.end(s, ev, Taken)
	case ev.Reason == lockmgr.RemovedBySecond: // its owner lives
		b.end(s, ev, Released)
	default:
		b.die(s, ev)
	}
}

func (b *Builder) cleared(ev events.Event) {
	if s := b.open[grantOf(ev)]; s != nil {
		s.By = holder(ev.By)
		b.end(s, ev, Removed)
	}
}

func (b *Builder) forced(ev events.Event) {
	b.mark(ev, Mark{Kind: Forced, Text: ev.Reason})
	if s := b.opened(ev); s != nil {
		b.end(s, ev, ForcedAway)
	}
}

func (b *Builder) expired(ev events.Event) {
	b.mark(ev, Mark{Kind: Expired, By: holder(ev.By), Text: ev.Reason})
	if s := b.opened(ev); s != nil {
		s.By = holder(ev.By)
		b.end(s, ev, Overdue)
	}
}
