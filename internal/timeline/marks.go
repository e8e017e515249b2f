package timeline

import (
	"fmt"
	"time"

	"sessionlockfs/internal/events"
)

func (b *Builder) contended(ev events.Event) {
	if s := b.opened(ev); s != nil {
		s.Contended++
	}
	b.mark(ev, Mark{Kind: Wanted, By: holder(ev.By)})
}

func (b *Builder) refused(ev events.Event) {
	n := 1
	if s := b.opened(ev); s != nil {
		n = s.refusedUpTo(ev.Refused)
	}
	b.mark(ev, Mark{Kind: Refused, By: holder(ev.By), N: n, Text: ev.Act + " refused: " + ev.Reason})
}

// refusedUpTo counts the refusals since the last one that was told: after some twenty, one stands for many.
func (s *span) refusedUpTo(total int) (n int) {
	n = 1
	if s.refused > 0 || !s.Before {
		n = max(1, total-s.refused)
	}
	s.refused = total
	s.Refused += n
	return n
}

// guarded does not tell that the lock is held: one who was fenced is told of afterwards.
func (b *Builder) guarded(ev events.Event) {
	m := Mark{Kind: Guarded, By: holder(ev.By), Text: ev.Write + ": " + ev.Reason}
	if ev.Denied {
		m.Kind = Denied
	}
	b.mark(ev, m)
}

// began is a server's start. What it does not tell of from now on had ended by then.
func (b *Builder) began(ev events.Event) {
	for _, s := range b.open {
		if s.doubt.IsZero() {
			s.doubt = ev.Time
		}
	}
	m := Mark{At: ev.Time, Kind: Started, PID: ev.Server}
	if ev.Event == events.TookOver {
		m.Kind = TookOver
	}
	b.serverMark(m)
}

func (b *Builder) lost(ev events.Event) {
	b.serverMark(Mark{At: ev.Time, Kind: Lost, N: int(ev.Missing), Text: fmt.Sprintf("%d events were not kept", ev.Missing)})
}

func (b *Builder) serverMark(m Mark) {
	if b.shows(m.At) {
		b.server = append(b.server, m)
	}
}

// mark puts a mark on the lane of the grant that the event is of: its directory may have another name by now.
func (b *Builder) mark(ev events.Event, m Mark) {
	if !b.shows(ev.Time) {
		return
	}
	l := b.laneOf(ev.Lock)
	if s := b.open[grantOf(ev)]; s != nil {
		l = s.lane
	}
	m.At, m.N = ev.Time, max(1, m.N)
	l.Marks = append(l.Marks, m)
}

func (b *Builder) shows(at time.Time) bool { return !at.Before(b.from) && !at.After(b.to) }
