package cli

import (
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// press does what a key is for, where it is pressed.
func (m *top) press(key tea.KeyPressMsg) tea.Cmd {
	m.notice = ""
	switch k := key.String(); {
	case k == "ctrl+c":
		return tea.Quit
	case k == "ctrl+z":
		return tea.Suspend
	case m.typing:
		m.edit(key)
	case m.question != nil:
		return m.reply(k)
	case k == "q":
		return tea.Quit
	case k == "r":
		m.wonder()
	case m.panel != nil:
		m.turn(k)
	default:
		return m.choose(k)
	}
	return nil
}

// choose is for the table.
func (m *top) choose(key string) tea.Cmd {
	m.move(m.step(key))
	switch key {
	case "enter", "w":
		return m.explain()
	case "/":
		m.typing = true
	case "esc":
		m.filter = ""
		m.arrange()
	case "s":
		m.by = (m.by + 1) % columns
		m.arrange()
	}
	return nil
}

// farther than any table or panel is long.
const farther = 1 << 30

// step is by how many lines a key moves.
func (m *top) step(key string) int {
	switch key {
	case "up", "k":
		return -1
	case "down", "j":
		return 1
	case "pgup", "ctrl+b":
		return -max(1, m.room()-1)
	case "pgdown", "ctrl+f", "space":
		return max(1, m.room()-1)
	case "home", "g":
		return -farther
	case "end", "G":
		return farther
	}
	return 0
}

// turn is for the panel.
func (m *top) turn(key string) {
	switch key {
	case "esc", "enter", "w", "backspace":
		m.panel = nil
	default:
		last := max(0, len(m.panel.lines(m))-m.panelRoom())
		m.panel.first = max(0, min(m.panel.first+m.step(key), last))
	}
}

// edit is for the filter, which counts from the first letter on.
func (m *top) edit(key tea.KeyPressMsg) {
	switch key.String() {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		m.filter = ansi.Truncate(m.filter, ansi.StringWidth(m.filter)-1, "")
	case "ctrl+u":
		m.filter = ""
	default:
		m.filter += key.Text
	}
	m.arrange()
}
