package timeline

import (
	"cmp"
	"slices"
	"time"
)

// History is what the events so far come to, with that many lanes at most. It ends the Builder's use.
func (b *Builder) History(most int) *History {
	for _, s := range b.open {
		b.leaveOpen(s)
	}
	h := &History{From: b.from, To: b.to, Server: b.server}
	if h.From.Before(b.first) { // there is nothing to see before
		h.From, h.Cut = b.first.In(b.to.Location()), b.cut
	}
	if b.first.IsZero() || !h.From.Before(h.To) { // there is nothing to see at all
		h.From = h.To.Add(-time.Minute)
	}
	holders := map[identity]bool{}
	for _, l := range b.lanes {
		if len(l.Spans)+len(l.Marks) > 0 {
			l.sum(h.From, h.To)
			h.Lanes = append(h.Lanes, l.Lane)
			h.Totals.add(&l.Lane, holders)
		}
	}
	h.Totals.Holders = len(holders)
	slices.SortFunc(h.Lanes, byContention)
	if h.LeftOut = max(0, len(h.Lanes)-most); h.LeftOut > 0 {
		h.Lanes = slices.Clone(h.Lanes[:most])
	}
	return h
}

// leaveOpen keeps what has not ended, unless a server that ought to know it said nothing of it.
func (b *Builder) leaveOpen(s *span) {
	s.To, s.End = b.to, Open
	if !s.doubt.IsZero() {
		s.To, s.End = s.doubt, Unseen
	}
	b.keep(s)
}

// sum puts a lane in order and adds up what is shown of it.
func (l *Lane) sum(from, to time.Time) {
	slices.SortStableFunc(l.Spans, func(a, b Span) int { return a.From.Compare(b.From) })
	slices.SortStableFunc(l.Marks, func(a, b Mark) int { return a.At.Compare(b.At) })
	for _, s := range l.Spans {
		if s.Kind == Hold {
			l.Holds++
			l.Held += within(s, from, to)
		}
	}
	for _, m := range l.Marks {
		switch m.Kind {
		case Wanted:
			l.Contended += m.N
		case Refused:
			l.Refused += m.N
		}
	}
}

// within is how much of a span is between two moments.
func within(s Span, from, to time.Time) time.Duration {
	if s.From.After(from) {
		from = s.From
	}
	if s.To.Before(to) {
		to = s.To
	}
	return max(0, to.Sub(from))
}

func (t *Totals) add(l *Lane, holders map[identity]bool) {
	t.Locks++
	t.Holds += l.Holds
	t.Contended += l.Contended
	t.Refused += l.Refused
	for _, s := range l.Spans {
		if s.Kind == Hold && s.Holder.known() {
			holders[s.Holder.identity()] = true
		}
	}
	for _, m := range l.Marks {
		if m.Kind == Death {
			t.Deaths++
		}
	}
}

// byContention has the lock first that most wanted in vain, then the one that was refused most, held most.
func byContention(a, b Lane) int {
	return cmp.Or(
		cmp.Compare(b.Contended, a.Contended), cmp.Compare(b.Refused, a.Refused),
		cmp.Compare(b.Holds, a.Holds), cmp.Compare(b.Held, a.Held), cmp.Compare(a.Lock, b.Lock))
}
