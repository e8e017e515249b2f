package cli

import (
	"strings"
	"time"

	"sessionlockfs/internal/events"
)

// news is what happened of late.
type news struct {
	last     []events.Event // oldest first
	grants   rate
	refusals rate
	refused  map[uint64]int // how many refusals each grant had when we last heard, by its token
	failure  error          // why nothing is heard
}

const (
	keptNews    = 500     // more than any screen has lines
	keptRefused = 1 << 14 // grants that were ever refused, before they are forgotten
)

func (n *news) add(msg newsMsg) {
	n.failure = msg.err
	for _, ev := range msg.events {
		switch ev.Event {
		case "granted":
			n.grants.add(ev.Time, 1)
		case "refused":
			n.refusals.add(ev.Time, n.refusalsSince(ev))
		}
	}
	n.last = append(n.last, msg.events...)
	n.last = n.last[max(0, len(n.last)-keptNews):]
}

// refusalsSince counts those that no event told of: where somebody tries in a tight loop, only some have one.
func (n *news) refusalsSince(ev events.Event) int {
	if n.refused == nil || len(n.refused) > keptRefused {
		n.refused = map[uint64]int{}
	}
	before, known := n.refused[ev.Token]
	n.refused[ev.Token] = ev.Refused
	if !known {
		return 1
	}
	return max(1, ev.Refused-before)
}

// rateOver is the time that a rate is the mean of, in seconds.
const rateOver = 10

// rate counts what happens in each of the last seconds.
type rate struct {
	second [rateOver + 1]int64
	count  [rateOver + 1]int
}

func (r *rate) add(at time.Time, n int) {
	i := at.Unix() % int64(len(r.second))
	if r.second[i] < at.Unix() {
		r.second[i], r.count[i] = at.Unix(), 0
	}
	if r.second[i] == at.Unix() {
		r.count[i] += n
	}
}

// perSecond leaves out the second that is not over.
func (r *rate) perSecond(now time.Time) float64 {
	sum := 0
	for i, second := range r.second {
		if ago := now.Unix() - second; ago > 0 && ago <= rateOver {
			sum += r.count[i]
		}
	}
	return float64(sum) / rateOver
}

// lower is what stands below the table: the question, if there is one, and else what happened last.
func (m *top) lower() []string {
	room := m.newsRoom()
	if m.question != nil {
		return m.questionLines(room)
	}
	if room == 0 {
		return nil
	}
	lines := []string{m.paint(bold, "LAST EVENTS")}
	told := m.told(room)
	for _, ev := range told {
		lines = append(lines, m.eventLine(ev))
	}
	switch {
	case m.news.failure != nil:
		lines = append(lines[:min(len(lines), room)], "none are heard: "+PrintableText(m.news.failure.Error()))
	case len(told) == 0:
		lines = append(lines, "none yet")
	}
	for len(lines) < 1+room {
		lines = append(lines, "")
	}
	return lines
}

func (m *top) lowerHeight() int {
	switch room := m.newsRoom(); {
	case m.question != nil:
		return len(m.questionLines(room))
	case room == 0:
		return 0
	default:
		return 1 + room
	}
}

// newsRoom is how many events there is room for: a quarter of the screen, unless it is so small that the locks need all of it.
func (m *top) newsRoom() int {
	if m.height < 12 {
		return 0
	}
	return max(3, min(m.height/4, 12))
}

// told are the last events that have what the filter asks for, no more than there is room for, the last at the end.
func (m *top) told(room int) []events.Event {
	var some []events.Event
	text := strings.ToLower(m.filter)
	for i := len(m.news.last) - 1; i >= 0 && len(some) < room; i-- {
		if ev := m.news.last[i]; text == "" || strings.Contains(strings.ToLower(ev.Lock+" "+describeEvent(ev)), text) {
			some = append([]events.Event{ev}, some...)
		}
	}
	return some
}

// eventLine has the time, what happened, to which lock, and of the rest what there is room for; all of it is in the panel.
func (m *top) eventLine(ev events.Event) string {
	const clock, what = 14, 12
	left := max(16, m.width-clock-what)
	lock := min(left/2, max(20, m.widths().lock))
	return fit(ev.Time.Local().Format("15:04:05.000"), clock) + fit(eventName(ev), what) +
		fit(shortened(Printable(ev.Lock), lock-1), lock) + fit(eventRest(ev), left-lock)
}

func eventName(ev events.Event) string { return strings.ReplaceAll(ev.Event, "_", " ") }

// eventRest is the line for a person without when it was, what happened and to which lock.
func eventRest(ev events.Event) string {
	ev.Lock = ""
	_, rest, _ := strings.Cut(describeEvent(ev), eventName(ev))
	return strings.TrimLeft(rest, " ,;:")
}
