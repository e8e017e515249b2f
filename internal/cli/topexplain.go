package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
)

// panel tells all that is known of one lock.
type panel struct {
	lock    fsnode.LockDump // as it was last
	gone    bool
	history []events.Event // of a lock with this path, oldest first
	asked   bool           // the history is not there yet
	failure error          // instead of it
	first   int            // line on the screen
}

// keptHistory is how many events of one lock are shown.
const keptHistory = 200

// explain opens the panel for the lock that the cursor is on.
func (m *top) explain() tea.Cmd {
	l := m.selected()
	if l == nil {
		return nil
	}
	m.panel = &panel{lock: *l, asked: true}
	return m.do.history(l.Path)
}

// follow keeps it as the mount says it is.
func (p *panel) follow(dump fsnode.Dump) {
	if p == nil {
		return
	}
	now := findLock(dump, p.lock.Path)
	if p.gone = now == nil; !p.gone {
		p.lock = *now
	}
}

// remember takes in what happened before the panel was opened, unless that is another lock's by now.
func (p *panel) remember(msg historyMsg) {
	if p == nil || msg.lock != p.lock.Path {
		return
	}
	since := p.history
	p.asked, p.failure, p.history = false, msg.err, msg.events
	p.add(since)
}

// add takes in what happens, once.
func (p *panel) add(news []events.Event) {
	if p == nil {
		return
	}
	for _, ev := range news {
		if n := len(p.history); ev.Lock == p.lock.Path && (n == 0 || ev.Seq > p.history[n-1].Seq) {
			p.history = append(p.history, ev)
		}
	}
	p.history = p.history[max(0, len(p.history)-keptHistory):]
}

func (m *top) panelRoom() int { return max(1, m.height-1-2-len(m.matter())) }

// panelLines are those of the panel that are on the screen.
func (m *top) panelLines() []string {
	all, room := m.panel.lines(m), m.panelRoom()
	first := max(0, min(m.panel.first, len(all)-room))
	lines := append([]string(nil), all[first:min(first+room, len(all))]...)
	for len(lines) < room {
		lines = append(lines, "")
	}
	if more := len(all) - first - room; more > 0 {
		lines[room-1] = fmt.Sprintf("  … %d more lines", more+1)
	}
	return lines
}

// lines are all of them.
func (p *panel) lines(m *top) []string {
	name := Printable(p.lock.Path)
	if p.gone {
		name += " is gone; this is what was known of it"
	}
	var lines []string
	for _, line := range wrapped(name, m.width, farther) {
		lines = append(lines, m.paint(bold, line))
	}
	for _, f := range facts(p.lock, m.now) {
		lines = append(lines, f.lines(m.width)...)
	}
	lines = append(lines, "", m.paint(bold, "EVENTS, the last first"))
	for i := len(p.history) - 1; i >= 0; i-- {
		lines = append(lines, historyLines(p.history[i], m.width)...)
	}
	switch {
	case p.asked:
		lines = append(lines, "  …")
	case p.failure != nil:
		lines = append(lines, wrapped("  not to be had: "+PrintableText(p.failure.Error()), m.width, mostLines)...)
	case len(p.history) == 0:
		lines = append(lines, "  none are kept")
	}
	return lines
}

// fact is something that is known, under its name.
type fact struct{ name, text string }

const factWidth = 12

func (f fact) lines(width int) []string {
	lines := wrapped(f.text, max(20, width-factWidth-2), farther)
	for i, line := range lines {
		lines[i] = "  " + fit(f.name, factWidth) + line
		f.name = ""
	}
	return lines
}

func historyLines(ev events.Event, width int) []string {
	const when = "2006-01-02 15:04:05.000"
	what := fit(eventName(ev), max(10, len(eventName(ev)))) + " " + eventRest(ev)
	lines := wrapped(what, max(20, width-len(when)-4), farther)
	for i, line := range lines {
		before := strings.Repeat(" ", len(when))
		if i == 0 {
			before = ev.Time.Local().Format(when)
		}
		lines[i] = "  " + before + "  " + line
	}
	return lines
}

// facts are all that the mount says of a lock.
func facts(l fsnode.LockDump, now time.Time) []fact {
	all := []fact{{"state", stateName(l.State) + ": " + meaning(l.State)}}
	if l.Verdict != "" {
		all = append(all, fact{"verdict", PrintableText(l.Verdict + ": " + l.Reason)})
	}
	all = append(all, ownerFacts(l)...)
	all = append(all, fact{"since", l.CreatedAt.Local().Format("2006-01-02 15:04:05.000") + ", for " + age(l.CreatedAt, now)},
		fact{"kind", Printable(l.Kind) + ", " + handleState(l)}, fact{"token", token(l)},
		fact{"refused", strconv.Itoa(l.RefusedChanges) + " changes by others"})
	if len(l.Contenders) == 0 {
		return append(all, fact{"waiting", "nobody"})
	}
	name := "waiting"
	for _, c := range l.Contenders {
		all = append(all, fact{name, fmt.Sprintf("%s %d, last seen %s ago", Printable(c.Comm), c.PID, age(c.LastSeen, now))})
		name = ""
	}
	return all
}

func ownerFacts(l fsnode.LockDump) (all []fact) {
	o := l.Owner
	if o == nil {
		return []fact{{"holder", "nobody known"}}
	}
	who := fmt.Sprintf("%s %d, of user %d", Printable(o.Comm), o.PID, o.UID)
	if l.State == "orphan" || l.State == "abandoned" {
		who += ", dead"
	}
	all = append(all, fact{"holder", who})
	if o.Container != "" {
		all = append(all, fact{"container", Printable(o.Container)})
	}
	pids := fmt.Sprintf("in the namespace %d", o.PIDNS)
	if len(o.NSPIDs) > 1 {
		pids = strings.Trim(fmt.Sprint(o.NSPIDs), "[]") + ", from the mount's namespace inwards, the last " + pids
	}
	return append(all, fact{"PIDs", pids}, fact{"started", fmt.Sprintf("%d ticks after the boot", o.StartTime)}, fact{"boot", Printable(o.BootID)})
}

func handleState(l fsnode.LockDump) string {
	if l.HandleOpen {
		return "and the handle that made it is open"
	}
	return "and the handle that made it is closed"
}

// meaning is what the README says of a state.
func meaning(state string) string {
	switch state {
	case "held":
		return "its owner lives, or a child of it has its handle open"
	case "overdue":
		return "held for longer than the hold limit: anybody may remove it"
	case "unknown_owner":
		return "granted to a process that the kernel can't name to the mount"
	case "orphan":
		return "its owner is dead, and the next exclusive create takes it"
	case "abandoned":
		return "its owner is dead, and it could be data: it stays until somebody removes it"
	case "untracked":
		return "it has a lock's name, and nobody was granted it"
	}
	return "not known to this version"
}
