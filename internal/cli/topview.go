package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// View draws the screen.
func (m *top) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	return v
}

// screen is all lines of it, none of them wider than it is. Of the locks only those are looked at that are on it.
func (m *top) screen() string {
	lines := m.head()
	if m.panel != nil {
		lines = append(lines, m.panelLines()...)
	} else {
		lines = append(append(lines, m.table()...), m.lower()...)
	}
	lines = append(lines[:min(len(lines), m.height-1)], m.help())
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	return strings.Join(lines, "\n")
}

// head says which mount it is, how it goes, and what is the matter.
func (m *top) head() []string {
	server := fmt.Sprintf("server %d, up %s  %s", m.dump.Mount.PID, age(m.dump.Mount.StartedAt, m.now), m.now.Local().Format(time.TimeOnly))
	room := max(8, m.width-len("sessionlockfs  ")-len(server)-2)
	title := fit("sessionlockfs "+shortened(Printable(m.root), room), m.width-len(server)) + server
	return append([]string{m.paint(bold, title), m.counts()}, m.matter()...)
}

// counts tells how many locks there are of each state, who waits, and what happens.
func (m *top) counts() string {
	of, waiting := map[string]int{}, 0
	for i := range m.dump.Locks {
		of[m.dump.Locks[i].State]++
		waiting += len(m.dump.Locks[i].Contenders)
	}
	text := []string{fmt.Sprintf("%d held", of["held"]), plural(of["orphan"], "orphan")}
	for _, state := range States() {
		if n := of[state]; n > 0 && state != "held" && state != "orphan" {
			text = append(text, fmt.Sprintf("%d %s", n, stateName(state)))
		}
	}
	return fmt.Sprintf("%s  |  %d waiting  |  %.1f grants/s, %.1f refusals/s", strings.Join(text, ", "), waiting,
		m.news.grants.perSecond(m.now), m.news.refusals.perSecond(m.now))
}

// matter has a line at least, so that nothing jumps when there is something to say.
func (m *top) matter() []string {
	switch trouble := m.trouble(); {
	case trouble != "":
		return m.loud(wrapped(trouble, m.width, mostLines))
	case m.notice != "":
		return m.loud(wrapped(m.notice, m.width, mostLines))
	}
	var left, right string
	if m.filter != "" {
		left = fmt.Sprintf("only with %s: %d of %d", PrintableText(m.filter), len(m.rows), len(m.dump.Locks))
	}
	if room := m.room1(1); m.panel == nil && len(m.rows) > room {
		right = fmt.Sprintf("%d to %d of %d", m.offset+1, min(m.offset+room, len(m.rows)), len(m.rows))
	}
	return []string{fit(left, m.width-ansi.StringWidth(right)) + right}
}

// mostLines are enough for what a person has to be told.
const mostLines = 3

func (m *top) loud(lines []string) []string {
	for i, line := range lines {
		lines[i] = m.paint(bold+yellow, line)
	}
	return lines
}

// help says what can be done here.
func (m *top) help() string {
	switch {
	case m.typing:
		return "only with: " + PrintableText(m.filter) + "_   enter keep it   esc show all"
	case m.question != nil:
		return m.paint(bold, m.question.keys())
	case m.panel != nil:
		return "esc back   arrows j/k scroll   r release   q quit"
	}
	return "arrows j/k move   enter explain   r release   / filter   s sort (*)   q quit"
}

// room is how many locks there is room for.
func (m *top) room() int { return m.room1(len(m.matter())) }

// room1 is that when so many lines say what the matter is: two more are the head's, one each the table's head and the help.
func (m *top) room1(matter int) int { return max(1, m.height-4-matter-m.lowerHeight()) }

// What a text can look like. A terminal without colours, or NO_COLOR, loses nothing but them: what they say is in words as well.
const (
	bold    = "\x1b[1m"
	reverse = "\x1b[7m"
	yellow  = "\x1b[33m"
	usual   = "\x1b[0m"
)

func (m *top) paint(how, text string) string {
	if m.plain || how == "" {
		return text
	}
	return how + text + usual
}

// fit makes a text exactly so wide.
func fit(text string, width int) string {
	n := ansi.StringWidth(text)
	if n > width {
		text = ansi.Truncate(text, max(width, 0), "…")
		n = ansi.StringWidth(text)
	}
	return text + strings.Repeat(" ", max(width-n, 0))
}

// right is a short text at the end of a column.
func right(text string, width int) string {
	return strings.Repeat(" ", max(width-ansi.StringWidth(text), 0)) + text
}

// wrapped is a text in lines, at words where there are any, and no more of them than most.
func wrapped(text string, width, most int) []string {
	lines := strings.Split(ansi.Wrap(text, max(width, 1), ""), "\n")
	if len(lines) > most {
		lines = slices.Clip(lines[:most])
		lines[most-1] += "…"
	}
	return lines
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
