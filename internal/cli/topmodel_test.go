package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
)

const errDead = unix.ENOTCONN

func manyLocks(n int) (locks []fsnode.LockDump) {
	for i := range n {
		l := lockOf(fmt.Sprintf("agents/agent-%02d/sessions/session-%05d.jsonl.lock", i%40, i), "held", int32(1000+i%300), noon.Add(-time.Duration(i)*time.Second))
		if i%50 == 0 {
			l.Contenders = make([]fsnode.ContenderDump, 1+i%7)
		}
		locks = append(locks, l)
	}
	return locks
}

func paths(m *top) (all []string) {
	for _, l := range m.rows {
		all = append(all, strings.TrimSuffix(l.Path, ".lock"))
	}
	return all
}

func TestOrderOfRows(t *testing.T) {
	a, b, c := lockOf("a.lock", "orphan", 30, noon), lockOf("b.lock", "held", 10, noon.Add(-time.Hour)), lockOf("c.lock", "held", 20, noon.Add(-time.Minute))
	a.RefusedChanges, c.Contenders = 3, make([]fsnode.ContenderDump, 1)
	m, _ := topOf(a, b, c)
	for _, want := range []string{"c b a", "a b c", "a b c", "b c a", "b c a", "b c a", "c b a"} { // waiting, refused, lock, state, holder, age
		if got := strings.Join(paths(m), " "); got != want {
			t.Errorf("by column %d: %s, want %s", m.by, got, want)
		}
		press(m, "s")
	}
}

// The cursor stays on its lock wherever that goes, and where the lock was when it is gone.
func TestCursorStaysOnItsLock(t *testing.T) {
	locks := manyLocks(100)
	m, _ := topOf(locks...)
	press(m, "down", "j", "j", "k")
	on := m.selected().Path
	press(m, "s", "s")
	if got := m.selected().Path; got != on {
		t.Errorf("on %s after sorting, was on %s", got, on)
	}
	press(m, "end")
	if last := m.rows[99].Path; m.selected().Path != last || !strings.Contains(m.screen(), ">") {
		t.Errorf("on %s at the end, which is %s\n%s", m.selected().Path, last, m.screen())
	}
	m.Update(dumpMsg{at: noon, dump: fsnode.Dump{Locks: locks[:10]}})
	if m.selected() == nil || m.cursor != 9 {
		t.Errorf("on row %d of 10", m.cursor)
	}
	m.Update(dumpMsg{at: noon})
	if press(m, "enter", "r", "y"); m.panel != nil || m.question != nil {
		t.Error("there is something to explain or release among no locks")
	}
}

func TestFilter(t *testing.T) {
	m, _ := topOf(threeLocks()...)
	m.Update(newsMsg{events: someNews()})
	for typed, want := range map[string]int{"B.JSONL": 1, "orphan": 1, "node 1201": 1, "gateway": 1, "lock": 3, "nothing": 0} {
		press(m, "/")
		for _, letter := range typed {
			press(m, string(letter))
		}
		press(m, "enter")
		if len(m.rows) != want {
			t.Errorf("%q: %d locks, want %d", typed, len(m.rows), want)
		}
		press(m, "esc")
	}
	press(m, "/", "q", "x", "backspace")
	if m.filter != "q" || !m.typing {
		t.Errorf("q in the filter: %q", m.filter)
	}
	if press(m, "esc"); m.filter != "" || len(m.rows) != 3 {
		t.Errorf("%q, %d locks after esc", m.filter, len(m.rows))
	}
}

// An orphan takes one yes, anything else two by different keys, and whatever else is pressed is a no.
func TestRelease(t *testing.T) {
	for _, c := range []struct {
		keys string
		lock int // by name
		want string
	}{
		{"r y", 1, "main/sessions/b.jsonl.lock false"}, {"r n", 1, ""}, {"r enter", 1, ""}, {"r f", 1, ""},
		{"r y f", 0, "main/sessions/a.jsonl.lock true"}, {"r y y", 0, ""}, {"r f", 0, ""}, {"r y esc", 0, ""}, {"r q", 0, ""},
		{"enter r y", 1, "main/sessions/b.jsonl.lock false"}, {"enter down r y f", 0, "main/sessions/a.jsonl.lock true"},
	} {
		m, released := topOf(threeLocks()...)
		press(m, "s", "s", "home")
		m.move(c.lock)
		press(m, strings.Fields(c.keys)...)
		if got := strings.Join(*released, ", "); got != c.want || m.question != nil {
			t.Errorf("%s: released %q, want %q", c.keys, got, c.want)
		}
		if c.want == "" && !strings.Contains(m.screen(), "is not released") {
			t.Errorf("%s: nothing is said of it", c.keys)
		}
	}
}

// Whoever has been asked about one grant has not said yes to another.
func TestReleaseOfWhatHasChanged(t *testing.T) {
	for name, change := range map[string]func(d *fsnode.Dump){
		"granted anew": func(d *fsnode.Dump) { d.Locks[2].Token++ },
		"an orphan":    func(d *fsnode.Dump) { d.Locks[2].State = "orphan" },
		"gone":         func(d *fsnode.Dump) { d.Locks = d.Locks[:2] },
	} {
		m, released := topOf(threeLocks()...)
		press(m, "r", "y")
		dump := fsnode.Dump{Locks: threeLocks()}
		m.Update(dumpMsg{at: noon, dump: dump})
		if m.question == nil {
			t.Fatalf("the question is gone, and nothing has changed")
		}
		change(&dump)
		m.Update(dumpMsg{at: noon, dump: dump})
		if !strings.Contains(m.screen(), "is not released") {
			t.Errorf("%s: nothing is said of it", name)
		}
		if press(m, "f"); len(*released) != 0 {
			t.Errorf("%s: released %v", name, *released)
		}
	}
}

// A mount that hangs is asked once, and the screen says since when, until there is an answer.
func TestMountThatHangs(t *testing.T) {
	m, _ := topOf(threeLocks()...)
	for i := 1; i < 10; i++ {
		m.Update(tickMsg(noon.Add(time.Duration(i) * time.Second)))
		if first := noon.Add(time.Second); !m.asked.Equal(first) {
			t.Fatalf("asked at %v, and it has not answered since %v", m.asked, first)
		}
		if said := strings.Contains(m.screen(), "no answer since 12:00:00"); said != (i > 3) {
			t.Errorf("after %d s: said %v\n%s", i, said, m.screen())
		}
	}
	m.Update(dumpMsg{at: noon.Add(9 * time.Second), err: errStuck})
	if !strings.Contains(m.screen(), "no answer since 12:00:00, for 9s") || m.ask() == nil {
		t.Errorf("it is given up, and not asked again\n%s", m.screen())
	}
	m.Update(dumpMsg{at: noon.Add(10 * time.Second)})
	if strings.Contains(m.screen(), "no answer") {
		t.Errorf("it has answered\n%s", m.screen())
	}
}

// The panel goes on with its lock, by events that it hears once, and says when the lock is gone.
func TestPanel(t *testing.T) {
	m, _ := topOf(threeLocks()...)
	press(m, "enter")
	m.Update(newsMsg{events: someNews()[1:]})
	m.Update(historyMsg{lock: "main/sessions/a.jsonl.lock", events: someNews()[:2]})
	m.Update(historyMsg{lock: "another.lock", events: make([]events.Event, 7)})
	var seqs []uint64
	for _, ev := range m.panel.history {
		seqs = append(seqs, ev.Seq)
	}
	if !slices.Equal(seqs, []uint64{1, 2, 4}) {
		t.Errorf("events %v, want those of the lock, 1, 2 and 4", seqs)
	}
	m.Update(dumpMsg{at: noon})
	if !strings.Contains(m.screen(), "a.jsonl.lock is gone") {
		t.Errorf("it is not said that it is gone\n%s", m.screen())
	}
	press(m, "end", "down", "down")
	if all := m.panel.lines(m); m.panel.first != len(all)-m.panelRoom() && m.panel.first != 0 {
		t.Errorf("line %d is the first of %d", m.panel.first, len(all))
	}
	if press(m, "esc"); m.panel != nil {
		t.Error("it is there after esc")
	}
}

func TestRates(t *testing.T) {
	var n news
	for i := range 20 {
		n.add(newsMsg{events: []events.Event{{Event: "granted", Time: noon.Add(-time.Duration(i) * time.Second)}}})
	}
	// A client in a tight loop, of whose refusals not each has an event.
	for _, refused := range []int{19, 20, 40, 60} {
		n.add(newsMsg{events: []events.Event{{Event: "refused", Token: 1, Refused: refused, Time: noon.Add(-2 * time.Second)}}})
	}
	if got := n.grants.perSecond(noon); got != 1 {
		t.Errorf("%v grants/s, want 1", got)
	}
	if got := n.refusals.perSecond(noon); got != 4.2 {
		t.Errorf("%v refusals/s, want 4.2", got)
	}
	if got := n.grants.perSecond(noon.Add(time.Minute)); got != 0 {
		t.Errorf("%v grants/s a minute later", got)
	}
}

// redrawWithin is how long a person may wait for a key to be followed by what it does.
const redrawWithin = 50 * time.Millisecond

// The best of some tries: other programs may be busy.
func TestRedrawOfTenThousandLocks(t *testing.T) {
	m, _ := topOf(manyLocks(10_000)...)
	m.plain = false
	m.Update(newsMsg{events: someNews()})
	m.width, m.height = 200, 50
	dump := m.dump
	best := func(do func()) time.Duration {
		least := time.Hour
		for range 10 {
			began := time.Now()
			do()
			least = min(least, time.Since(began))
		}
		return least
	}
	draw := best(func() { m.View() })
	key := best(func() { press(m, "down"); m.View() })
	whole := best(func() { m.Update(dumpMsg{at: noon, dump: dump}); m.View() })
	t.Logf("View %v, with a key %v, with a new dump %v", draw, key, whole)
	if max(draw, key) > redrawWithin {
		t.Errorf("View takes %v, with a key %v, want %v", draw, key, redrawWithin)
	}
}

func BenchmarkRedraw(b *testing.B) {
	m, _ := topOf(manyLocks(10_000)...)
	m.plain, m.width, m.height = false, 80, 24
	for b.Loop() {
		m.View()
	}
}
