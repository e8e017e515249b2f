package cli

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
)

var update = flag.Bool("update", false, "write the screens in testdata anew")

func TestMain(m *testing.M) {
	time.Local = time.UTC // the screens show local times
	os.Exit(m.Run())
}

// noon is when the screens are looked at.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// topOf is a screen for some locks, whose mount does nothing, and says what it was asked to release.
func topOf(locks ...fsnode.LockDump) (m *top, released *[]string) {
	released = new([]string)
	dump := fsnode.Dump{Version: 1, Mount: fsnode.MountDump{PID: 4711, StartedAt: noon.Add(-50 * time.Hour)}, Locks: locks}
	m = newTop("/srv/agents/sessions", dumpMsg{at: noon, dump: dump}, asks{
		dump:    func() tea.Msg { return nil },
		history: func(string) tea.Cmd { return nil },
		release: func(lock string, force bool) tea.Cmd {
			*released = append(*released, fmt.Sprint(lock, " ", force))
			return nil
		},
	})
	m.plain = true
	return m, released
}

// threeLocks are one that somebody waits for, one in a container with a long path, and an orphan.
func threeLocks() []fsnode.LockDump {
	wanted := lockOf("main/sessions/a.jsonl.lock", "held", 1201, noon.Add(-182*time.Second))
	wanted.HandleOpen, wanted.RefusedChanges = true, 12
	wanted.Contenders = []fsnode.ContenderDump{{PID: 1300, Comm: "node", LastSeen: noon.Add(-400 * time.Millisecond)},
		{PID: 1301, Comm: "python3", LastSeen: noon.Add(-2100 * time.Millisecond)}}
	inside := lockOf("research/2026-03-01/a-session-with-a-name-of-its-own-that-is-long.jsonl.lock", "held", 2001, noon.Add(-90*time.Minute))
	inside.Owner.Comm, inside.Owner.NSPIDs, inside.Owner.Container = "openclaw-gateway", []int32{2001, 1}, "f00dfeed0123"
	inside.Owner.PIDNS = 4026532201
	dead := lockOf("main/sessions/b.jsonl.lock", "orphan", 1100, noon.Add(-26*time.Hour))
	return []fsnode.LockDump{dead, inside, wanted}
}

func someNews() []events.Event {
	node := &events.Process{PID: 1201, UID: 1000, Comm: "node"}
	at := func(ago time.Duration) time.Time { return noon.Add(-ago) }
	return []events.Event{
		{Seq: 1, Time: at(182 * time.Second), Event: "granted", Lock: "main/sessions/a.jsonl.lock", Token: 2201, Owner: node},
		{Seq: 2, Time: at(9 * time.Second), Event: "refused", Lock: "main/sessions/a.jsonl.lock", Token: 2201, Owner: node, Act: "remove",
			By: &events.Process{PID: 1301, Comm: "python3"}, Refused: 11, Reason: "somebody else holds it"},
		{Seq: 3, Time: at(5 * time.Second), Event: "released", Lock: "research/c.lock", Owner: &events.Process{PID: 2001, Comm: "node"}, Held: 2.5},
		{Seq: 4, Time: at(4 * time.Second), Event: "refused", Lock: "main/sessions/a.jsonl.lock", Token: 2201, Owner: node, Act: "remove",
			By: &events.Process{PID: 1301, Comm: "python3"}, Refused: 12, Reason: "somebody else holds it"},
	}
}

// keyOf is what bubbletea makes of a key.
func keyOf(name string) tea.KeyPressMsg {
	codes := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "down": tea.KeyDown, "up": tea.KeyUp, "end": tea.KeyEnd,
		"home": tea.KeyHome, "pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace}
	if code, ok := codes[name]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	return tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
}

func press(m *top, keys ...string) {
	for _, key := range keys {
		m.Update(keyOf(key))
	}
}

// scenes are what a person may have on the screen.
var scenes = map[string]func() *top{
	"empty": func() *top {
		m, _ := topOf()
		m.Update(newsMsg{})
		return m
	},
	"waiter": func() *top {
		m, _ := topOf(threeLocks()...)
		m.Update(newsMsg{events: someNews()})
		return m
	},
	"hung": func() *top {
		m, _ := topOf(threeLocks()...)
		m.Update(newsMsg{events: someNews()})
		m.Update(tickMsg(noon.Add(time.Second)))
		m.Update(tickMsg(noon.Add(14 * time.Second)))
		press(m, "down")
		return m
	},
	"dead": func() *top {
		m, _ := topOf(threeLocks()...)
		m.Update(newsMsg{err: errors.New("the control socket can't be reached: connection refused")})
		m.Update(dumpMsg{at: noon, err: os.NewSyscallError("read", errDead)})
		return m
	},
	"explain": func() *top {
		m, _ := topOf(threeLocks()...)
		press(m, "enter")
		m.Update(historyMsg{lock: "main/sessions/a.jsonl.lock", events: someNews()[:2]})
		m.Update(newsMsg{events: someNews()[1:]})
		return m
	},
	"explain-container": func() *top {
		m, _ := topOf(threeLocks()...)
		press(m, "end", "w")
		m.Update(historyMsg{lock: "research/2026-03-01/a-session-with-a-name-of-its-own-that-is-long.jsonl.lock"})
		return m
	},
	"release-orphan": func() *top {
		m, _ := topOf(threeLocks()...)
		press(m, "down", "r")
		return m
	},
	"release-held": func() *top {
		m, _ := topOf(threeLocks()...)
		press(m, "r")
		return m
	},
	"release-force": func() *top {
		m, _ := topOf(threeLocks()...)
		press(m, "r", "y")
		return m
	},
	"many": func() *top {
		m, _ := topOf(manyLocks(1000)...)
		press(m, "pgdown", "pgdown", "pgdown", "up")
		return m
	},
}

// Each scene on a small and on a large screen: as in testdata, and in no line too wide.
func TestScreens(t *testing.T) {
	for name, scene := range scenes {
		for _, size := range []tea.WindowSizeMsg{{Width: 80, Height: 24}, {Width: 200, Height: 50}} {
			m := scene()
			m.Update(size)
			got := m.screen()
			mustFit(t, m, name)
			compare(t, fmt.Sprintf("top-%s-%dx%d.txt", name, size.Width, size.Height), got)
			m.plain = false
			if styled := ansi.Strip(m.screen()); styled != got {
				t.Errorf("%s: with styles it says something else:\n%s", name, styled)
			}
		}
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	got = trimmed(got)
	file := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// trimmed has no blanks at the ends of lines, which nobody sees.
func trimmed(screen string) string {
	lines := strings.Split(screen, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func mustFit(t *testing.T, m *top, what string) {
	t.Helper()
	lines := strings.Split(m.screen(), "\n")
	if len(lines) > m.height {
		t.Errorf("%s: %d lines on a screen of %d", what, len(lines), m.height)
	}
	for _, line := range lines {
		if n := ansi.StringWidth(line); n > m.width {
			t.Errorf("%s: %d cells on a screen of %d: %s", what, n, m.width, line)
		}
	}
}

// However small a screen is, something is shown and nothing breaks.
func TestScreensOfAllSizes(t *testing.T) {
	for name, scene := range scenes {
		for _, width := range []int{1, 2, 7, 20, 39, 60, 119, 120} {
			for _, height := range []int{1, 2, 5, 8, 11, 12, 13} {
				m := scene()
				m.Update(tea.WindowSizeMsg{Width: width, Height: height})
				mustFit(t, m, fmt.Sprintf("%s on %dx%d", name, width, height))
			}
		}
	}
}

// No name, of a file or of a process, does anything to the terminal, wherever it is shown.
func TestScreensOfHostileNames(t *testing.T) {
	const evil = "a\x1b[2J\x1b]0;x\a\r\n\u202e\x9b31m.lock"
	l := lockOf(evil, "held", 7, noon)
	l.Owner.Comm, l.Owner.Container = evil, evil
	l.Contenders = []fsnode.ContenderDump{{PID: 8, Comm: evil, LastSeen: noon}}
	u := lockOf("u.lock", "untracked", 0, noon)
	u.Verdict, u.Reason = "unknown", evil
	news := newsMsg{events: []events.Event{{Seq: 1, Time: noon, Event: "refused", Lock: evil, Act: "remove", Reason: evil,
		By: &events.Process{PID: 9, Comm: evil}}}}
	for _, keys := range [][]string{nil, {"enter"}, {"down", "enter"}, {"r"}, {"r", "y"}, {"r", "n"}, {"/", evil}} {
		m, _ := topOf(l, u)
		m.root = "/srv/" + evil
		press(m, keys...)
		m.Update(news)
		m.Update(historyMsg{lock: evil, events: news.events, err: errors.New(evil)})
		for _, notice := range []tea.Msg{nil, releasedMsg{evil, errors.New(evil)}, newsMsg{err: errors.New(evil)}, dumpMsg{err: errors.New(evil)}} {
			m.Update(notice)
			if i := strings.IndexFunc(m.screen(), func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') }); i >= 0 {
				t.Errorf("%v, %T: %q", keys, notice, m.screen()[max(0, i-40):i+1])
			}
			mustFit(t, m, fmt.Sprint(keys))
		}
	}
}
