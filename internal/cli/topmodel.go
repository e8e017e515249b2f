package cli

import (
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
)

// top is what the screen shows. Only Update changes it, and it knows the mount only by what it is told: no test of it needs a
// terminal, or a mount.
type top struct {
	do    asks
	root  string // where the mount is
	plain bool   // without bold, reverse and colour

	width, height int
	now           time.Time

	dump     fsnode.Dump
	asked    time.Time // when the mount was asked for what it has not answered; zero if it owes nothing
	answered time.Time // when dump was
	failure  error     // instead of the last answer

	news   news
	notice string // what came of the last thing a person asked for; gone with the next key

	by      int // the column that the rows are sorted by
	filter  string
	typing  bool               // the filter
	rows    []*fsnode.LockDump // those that are shown, sorted, of dump
	cursor  int                // of rows
	offset  int                // the first row on the screen
	longest extents            // of rows

	panel    *panel           // nil if nothing is explained
	question *releaseQuestion // nil if nothing is asked
}

// asks are what the screen wants of the mount. Each ends with the message that it is named after.
type asks struct {
	dump    tea.Cmd
	news    tea.Cmd // when there is some
	history func(lock string) tea.Cmd
	release func(lock string, force bool) tea.Cmd
}

type (
	tickMsg time.Time
	dumpMsg struct {
		at   time.Time
		dump fsnode.Dump
		err  error
	}
	newsMsg struct {
		events []events.Event
		err    error // why there are none, until there are
	}
	historyMsg struct {
		lock   string
		events []events.Event
		err    error
	}
	releasedMsg struct {
		lock string
		err  error
	}
)

func newTop(root string, first dumpMsg, do asks) *top {
	m := &top{do: do, root: root, now: first.at, answered: first.at, width: 80, height: 24, by: byWaiting}
	m.hear(first)
	return m
}

// Init has everything under way that goes on by itself.
func (m *top) Init() tea.Cmd { return tea.Batch(m.do.news, tick()) }

func tick() tea.Cmd { return tea.Tick(lookEvery, func(at time.Time) tea.Msg { return tickMsg(at) }) }

// Update takes a message in, and gives what is to be done about it.
func (m *top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	do := m.take(msg)
	m.scroll()
	return m, do
}

func (m *top) take(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m.press(msg)
	case tickMsg:
		m.now = time.Time(msg)
		return tea.Batch(m.ask(), tick())
	case dumpMsg:
		m.hear(msg)
	case newsMsg:
		m.news.add(msg)
		m.panel.add(msg.events)
		return m.do.news
	case historyMsg:
		m.panel.remember(msg)
	case releasedMsg:
		m.notice = msg.text()
		return m.ask()
	}
	return nil
}

// ask wants the state of the locks, unless the mount owes it: a mount that hangs is not asked twice.
func (m *top) ask() tea.Cmd {
	if !m.asked.IsZero() {
		return nil
	}
	m.asked = m.now
	return m.do.dump
}

// hear takes in what the mount said, if it did.
func (m *top) hear(msg dumpMsg) {
	m.asked, m.failure = time.Time{}, msg.err
	if msg.err != nil {
		return
	}
	if msg.at.After(m.now) {
		m.now = msg.at
	}
	m.dump, m.answered = msg.dump, msg.at
	m.arrange()
	m.panel.follow(m.dump)
	m.doubt()
}

// patience is how long an answer may take before the screen says so: longer than a server needs to take over.
const patience = 3 * time.Second

// trouble says why the screen may show what is no more; "" if it does not.
func (m *top) trouble() string {
	if m.failure != nil && !errors.Is(m.failure, errStuck) {
		return "! " + PrintableText(refuseRead(m.root, m.failure).Error())
	}
	if silent := m.now.Sub(m.answered); silent > patience {
		return "! no answer since " + m.answered.Local().Format(time.TimeOnly) + ", for " + Span(silent.Truncate(time.Second)) +
			": the server hangs or is being replaced"
	}
	return ""
}
