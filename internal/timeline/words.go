package timeline

import (
	"fmt"
	"strings"
	"time"
)

// clock says when something was, with the date if the picture is of more than a day.
func (h *History) clock(t time.Time) string {
	layout := "15:04:05.000"
	if h.To.Sub(h.From) > day || t.Before(h.From.Add(-day)) {
		layout = "2 Jan 15:04:05.000"
	}
	return t.In(h.From.Location()).Format(layout)
}

// lasting is a duration in at most two units.
func lasting(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < day:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// label is how a holder is called where there is little room.
func (h Holder) label() string {
	switch {
	case !h.known():
		return "unknown process"
	case h.Comm == "":
		return fmt.Sprintf("PID %d", h.PID)
	}
	return fmt.Sprintf("%s %d", h.Comm, h.PID)
}

// String is all that is known of it.
func (h Holder) String() string {
	text := h.label()
	switch {
	case h.Inside != 0 && h.Container != "":
		text += fmt.Sprintf(" (%d in container %s)", h.Inside, shorten(clean(h.Container), 16))
	case h.Inside != 0:
		text += fmt.Sprintf(" (%d in its container)", h.Inside)
	case h.Container != "":
		text += fmt.Sprintf(" (container %s)", shorten(clean(h.Container), 16))
	}
	return text
}

// spanWords tell of one span, in lines.
func (h *History) spanWords(s Span) string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch s.Kind {
	case Hold:
		say("%s, user %d", s.Holder, s.Holder.UID)
		if !s.Holder.known() {
			lines[0] = "a process that the kernel could not name"
		}
	case Orphan:
		say("orphan of %s", s.Holder)
	case Abandoned:
		say("abandoned by %s: it could be data, so it stays", s.Holder)
	}
	since := "from"
	if s.Before {
		since = "since before"
	}
	say("%s %s for %s%s", since, h.clock(s.From), lasting(s.To.Sub(s.From)), h.endWords(s))
	if s.Reason != "" {
		say("%s", s.Reason)
	}
	if s.Contended > 0 {
		say("wanted by others %s", times(s.Contended))
	}
	if s.Refused > 0 {
		say("others' acts on it refused %s", times(s.Refused))
	}
	return strings.Join(lines, "\n")
}

func (h *History) endWords(s Span) string {
	switch s.End {
	case Open:
		return ", and goes on"
	case Released:
		return ", then released"
	case Died:
		if s.Kind == Hold {
			return ", then it died"
		}
	case ForcedAway:
		return ", then released by a person"
	case Overdue:
		return ", then taken away by " + s.By.String()
	case HandedOver:
		return ", then handed over to " + s.By.String()
	case Taken:
		return ", then gone: " + s.By.String() + " took it or cleared it away"
	case Removed:
		return ", then removed by " + s.By.String()
	case Unseen:
		return " at most: its end was not seen"
	}
	return ""
}

// barWords tell of a bar; of many spans, what they have in common.
func (h *History) barWords(b bar) string {
	if len(b.spans) == 1 {
		return h.spanWords(b.spans[0])
	}
	var holds, deaths int
	var longest, total time.Duration
	who := newCrowd()
	for _, s := range b.spans {
		if s.Kind != Hold {
			continue
		}
		who.add(s.Holder)
		holds++
		total += s.To.Sub(s.From)
		longest = max(longest, s.To.Sub(s.From))
		if s.End == Died {
			deaths++
		}
	}
	first, last := b.spans[0], b.spans[len(b.spans)-1]
	text := fmt.Sprintf("%d holds by %s\n%s to %s\nthe longest %s, together %s", holds, who, h.clock(first.From), h.clock(last.To), lasting(longest), lasting(total))
	if deaths > 0 {
		text += fmt.Sprintf("\nended by death %s", times(deaths))
	}
	return text
}

// flagWords tell of a mark, or of many.
func (h *History) flagWords(f flag) string {
	who, n := newCrowd(), 0
	for _, m := range f.marks {
		who.add(m.By)
		n += m.N
	}
	first, last := f.marks[0], f.marks[len(f.marks)-1]
	text := h.clock(first.At)
	if len(f.marks) > 1 {
		text += " to " + h.clock(last.At)
	}
	text += "\n" + markWords(first.Kind, who, first.PID)
	if n > 1 && first.Kind != Lost {
		text += ", " + times(n)
	}
	if first.Text != "" {
		text += "\n" + first.Text
	}
	return text
}

func markWords(kind MarkKind, who *crowd, pid int) string {
	switch kind {
	case Wanted:
		return "wanted by " + who.String()
	case Refused:
		return "refused to " + who.String()
	case Guarded:
		return "written to by " + who.String()
	case Denied:
		return "write denied to " + who.String()
	case Expired:
		return "held for too long: taken away by " + who.String()
	case Forced:
		return "released by a person"
	case Death:
		return "death of " + who.String()
	case Started:
		return fmt.Sprintf("the mount was started, server %d", pid)
	case TookOver:
		return fmt.Sprintf("another server took over, %d", pid)
	}
	return "events are missing"
}

// crowd is who takes part in something, each once.
type crowd struct {
	known map[identity]bool
	first []string
}

func newCrowd() *crowd { return &crowd{known: map[identity]bool{}} }

func (c *crowd) add(who Holder) {
	if !c.known[who.identity()] {
		c.known[who.identity()] = true
		if len(c.first) < 3 {
			c.first = append(c.first, who.String())
		}
	}
}

// String names three of them.
func (c *crowd) String() string {
	text := strings.Join(c.first, ", ")
	if more := len(c.known) - len(c.first); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
