package timeline

import (
	"time"

	"sessionlockfs/internal/events"
)

// grant is what a span is of. An entry that nobody was granted has no token, but a name.
type grant struct {
	token uint64
	lock  string
}

func grantOf(ev events.Event) grant {
	if ev.Token != 0 {
		return grant{token: ev.Token}
	}
	return grant{lock: ev.Lock}
}

// lane is one that grows.
type lane struct {
	Lane
	now   *span     // what has begun and not ended
	ended uint64    // the last token whose grant ended
	free  time.Time // since when, as far as is known
}

// span is one that has not ended.
type span struct {
	Span
	grant   grant
	lane    *lane
	refused int       // of its grant so far
	doubt   time.Time // a server began then that may not know it
}

// begin starts a span. What the lock was in before ends, if nobody told how, when the server was last new to it or now.
func (b *Builder) begin(ev events.Event, kind Kind) *span {
	l := b.laneOf(ev.Lock)
	if l.now != nil {
		b.end(l.now, ev, Unseen)
	}
	s := &span{grant: grantOf(ev), lane: l, Span: Span{Kind: kind, Holder: holder(ev.Owner), Token: ev.Token, From: ev.Time}}
	l.now, b.open[s.grant] = s, s
	return s
}

// opened is the span that an event is of, also if its beginning was not seen. It is nil if it ended before, or never was.
func (b *Builder) opened(ev events.Event) *span {
	if s := b.open[grantOf(ev)]; s != nil {
		s.doubt = time.Time{}
		return s
	}
	l := b.laneOf(ev.Lock)
	if ev.Token <= l.ended {
		return nil
	}
	began := ev
	began.Time = b.latestStart(l, ev)
	s := b.begin(began, Hold)
	s.Before = ev.Held == 0
	return s
}

// latestStart is until when a hold must have begun of which an event is the first that is known: when the lock was last known to be
// free, or another's. It may have been before that, if events are missing. Of some ends it is told how long the hold was.
func (b *Builder) latestStart(l *lane, ev events.Event) time.Time {
	switch {
	case ev.Held > 0:
		return ev.Time.Add(-time.Duration(ev.Held * float64(time.Second)))
	case l.now != nil && !l.now.doubt.IsZero():
		return l.now.doubt
	case l.now != nil:
		return ev.Time
	case l.free.After(b.first):
		return l.free
	}
	return b.first
}

// end ends a span, and keeps it if something of it is to be seen.
func (b *Builder) end(s *span, ev events.Event, how End) {
	s.To, s.End = ev.Time, how
	if how == Unseen && !s.doubt.IsZero() && s.doubt.Before(s.To) {
		s.To = s.doubt
	}
	if how != Unseen && (s.Reason == "" || ev.Reason != "" && s.Kind == Hold) {
		s.Reason = ev.Reason
	}
	b.keep(s)
	delete(b.open, s.grant)
	s.lane.now, s.lane.ended, s.lane.free = nil, max(s.lane.ended, s.Token), s.To
}

// keep also mends what a clock that was set back makes of a span.
func (b *Builder) keep(s *span) {
	if s.To.Before(s.From) {
		s.From = s.To
	}
	if !s.To.Before(b.from) && s.From.Before(b.to) {
		s.lane.Spans = append(s.lane.Spans, s.Span)
	}
}

func (b *Builder) laneOf(lock string) *lane {
	l := b.lanes[lock]
	if l == nil {
		l = &lane{Lane: Lane{Lock: lock}}
		b.lanes[lock] = l
	}
	return l
}
