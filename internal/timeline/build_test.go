package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionlockfs/internal/events"
)

// start is the first second of all histories here.
var start = time.Date(2026, 7, 3, 10, 0, 0, 0, time.UTC)

func second(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }

// process is one that is called by a letter.
func process(name string) *events.Process {
	if name == "" || name == "?" {
		return nil
	}
	return &events.Process{PID: int32(name[0]), Comm: name}
}

// happened is one event, said in short.
type happened struct {
	at    float64 // seconds
	what  string
	lock  string
	token uint64
	owner string
	more  func(ev *events.Event)
}

func by(name string) func(*events.Event) { return func(ev *events.Event) { ev.By = process(name) } }

func because(reason string) func(*events.Event) {
	return func(ev *events.Event) { ev.Reason = reason }
}

func heldFor(seconds float64) func(*events.Event) {
	return func(ev *events.Event) { ev.Held = seconds }
}

func refusedSoFar(n int) func(*events.Event) {
	return func(ev *events.Event) { ev.Refused, ev.Act, ev.By = n, "remove", process("Z") }
}

func (h happened) event(seq int) events.Event {
	ev := events.Event{Seq: uint64(seq), Time: second(h.at), Event: h.what, Lock: h.lock, Token: h.token, Owner: process(h.owner)}
	if h.more != nil {
		h.more(&ev)
	}
	return ev
}

// built is the history from second 0, or before, to second 100.
func built(from float64, told []happened) *History {
	b := NewBuilder(second(from), second(100), nil)
	for i, h := range told {
		b.Add(h.event(i + 1))
	}
	return b.History(MostLanes)
}

var kindWords = map[Kind]string{Hold: "hold", Orphan: "orphan", Abandoned: "abandoned"}

var endWords = map[End]string{
	Open: "open", Released: "released", Died: "died", ForcedAway: "forced", Overdue: "overdue", HandedOver: "handed over", Taken: "taken",
	Removed: "removed", Unseen: "unseen",
}

var markKindWords = map[MarkKind]string{
	Wanted: "wanted", Refused: "refused", Guarded: "guarded", Denied: "denied", Expired: "expired", Forced: "forced", Death: "death",
	Started: "started", TookOver: "took over", Lost: "lost",
}

// told is a history in words: "x.lock: A hold 1-3 released", and its marks.
func (h *History) told() (lines []string) {
	for _, l := range h.Lanes {
		for _, s := range l.Spans {
			who, before := s.Holder.Comm, ""
			if who == "" {
				who = "?"
			}
			if s.Before {
				before = "<"
			}
			line := fmt.Sprintf("%s: %s %s %s%g-%g %s", l.Lock, who, kindWords[s.Kind], before, s.From.Sub(start).Seconds(), s.To.Sub(start).Seconds(), endWords[s.End])
			if s.By.known() {
				line += " by " + s.By.Comm
			}
			lines = append(lines, line)
		}
		for _, m := range l.Marks {
			lines = append(lines, fmt.Sprintf("%s: %s %g ×%d %s", l.Lock, markKindWords[m.Kind], m.At.Sub(start).Seconds(), m.N, m.By.Comm))
		}
	}
	for _, m := range h.Server {
		lines = append(lines, fmt.Sprintf("%s %g", markKindWords[m.Kind], m.At.Sub(start).Seconds()))
	}
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

func TestSpans(t *testing.T) {
	for name, c := range map[string]struct {
		told []happened
		want []string
	}{
		"a hold": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "released", "x", 7, "A", nil}},
			[]string{"x: A hold 1-3 released"},
		},
		"one that goes on": {
			[]happened{{1, "granted", "x", 7, "A", nil}},
			[]string{"x: A hold 1-100 open"},
		},
		"of an unknown process": {
			[]happened{{1, "granted", "x", 7, "", nil}, {3, "released", "x", 7, "", nil}},
			[]string{"x: ? hold 1-3 released"},
		},
		"contended and refused": {
			[]happened{
				{1, "granted", "x", 7, "A", nil}, {2, "contended", "x", 7, "A", by("B")}, {3, "refused", "x", 7, "A", refusedSoFar(1)},
				{4, "refused", "x", 7, "A", refusedSoFar(21)}, {5, "released", "x", 7, "A", nil},
			},
			[]string{"x: A hold 1-5 released", "x: wanted 2 ×1 B", "x: refused 3 ×1 Z", "x: refused 4 ×20 Z"},
		},
		"a death, and it goes at once": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "reclaimed", "x", 7, "A", because("its owner is dead")}},
			[]string{"x: A hold 1-3 died", "x: death 3 ×1 A"},
		},
		"a death, and the next one takes the orphan": {
			[]happened{
				{1, "granted", "x", 7, "A", nil}, {3, "orphaned", "x", 7, "A", nil},
				{8, "reclaimed", "x", 7, "A", by("B")}, {8, "granted", "x", 8, "B", nil}, {9, "released", "x", 8, "B", nil},
			},
			[]string{"x: A hold 1-3 died", "x: A orphan 3-8 taken by B", "x: B hold 8-9 released", "x: death 3 ×1 A"},
		},
		"an orphan that is removed": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "orphaned", "x", 7, "A", nil}, {8, "cleared", "x", 7, "A", by("C")}},
			[]string{"x: A hold 1-3 died", "x: A orphan 3-8 removed by C", "x: death 3 ×1 A"},
		},
		"an orphan that can't be removed": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "reclaimed", "x", 7, "A", nil}, {4, "orphaned", "x", 7, "A", nil}},
			[]string{"x: A hold 1-3 died", "x: A orphan 4-100 open", "x: death 3 ×1 A"},
		},
		"abandoned": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "abandoned", "x", 7, "A", nil}},
			[]string{"x: A hold 1-3 died", "x: A abandoned 3-100 open", "x: death 3 ×1 A"},
		},
		"an orphan that somebody writes into": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "orphaned", "x", 7, "A", nil}, {4, "abandoned", "x", 7, "A", nil}},
			[]string{"x: A hold 1-3 died", "x: A orphan 3-4 died", "x: A abandoned 4-100 open", "x: death 3 ×1 A"},
		},
		"an orphan from before the mount": {
			[]happened{{1, "orphaned", "x", 0, "", nil}, {4, "reclaimed", "x", 0, "", by("B")}},
			[]string{"x: ? orphan 1-4 taken by B"},
		},
		"a second caller's removal is no death": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "reclaimed", "x", 7, "A", because("its owner's process removed it before it closed it")}},
			[]string{"x: A hold 1-3 released"},
		},
		"a person releases it": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "forced", "x", 7, "A", nil}, {3, "reclaimed", "x", 7, "A", nil}},
			[]string{"x: A hold 1-3 forced", "x: forced 3 ×1"},
		},
		"held for too long": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "expired", "x", 7, "A", by("B")}},
			[]string{"x: A hold 1-3 overdue by B", "x: expired 3 ×1 B"},
		},
		"the payload names a shell": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {2, "delegated", "x", 7, "S", nil}, {5, "released", "x", 7, "S", nil}},
			[]string{"x: A hold 1-2 handed over by S", "x: S hold 2-5 released"},
		},
		"writes to what it protects": {
			[]happened{
				{1, "granted", "x", 7, "A", nil}, {2, "guarded", "x", 7, "A", by("B")}, {3, "released", "x", 7, "A", nil},
				{4, "guarded", "x", 7, "A", func(ev *events.Event) { ev.Denied = true }},
			},
			[]string{"x: A hold 1-3 released", "x: guarded 2 ×1 B", "x: denied 4 ×1"},
		},
		"another server goes on": {
			[]happened{
				{1, "granted", "x", 7, "A", nil}, {1, "granted", "y", 8, "B", nil}, {2, "took_over", "", 0, "", nil},
				{2, "restored", "x", 7, "A", nil}, {5, "released", "x", 7, "A", nil},
			},
			[]string{"x: A hold 1-5 released", "y: B hold 1-2 unseen", "took over 2"},
		},
		"a death while no server was there": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {5, "started", "", 0, "", nil}, {5, "orphaned", "x", 7, "A", nil}},
			[]string{"x: A hold 1-5 died", "x: A orphan 5-100 open", "x: death 5 ×1 A", "started 5"},
		},
		"a new server says again what is an orphan": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {3, "orphaned", "x", 7, "A", nil}, {5, "started", "", 0, "", nil}, {5, "orphaned", "x", 7, "A", nil}},
			[]string{"x: A hold 1-3 died", "x: A orphan 3-100 open", "x: death 3 ×1 A", "started 5"},
		},
		"a release that was lost": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {2, "lost", "", 0, "", nil}, {5, "granted", "x", 9, "B", nil}, {6, "released", "x", 9, "B", nil}},
			[]string{"x: A hold 1-5 unseen", "x: B hold 5-6 released", "lost 2"},
		},
		"released without a grant": {
			[]happened{{1, "released", "y", 1, "B", nil}, {4, "released", "x", 7, "A", nil}},
			[]string{"x: A hold <1-4 released", "y: B hold <1-1 released"},
		},
		"released without a grant, and it is known for how long it was held": {
			[]happened{{1, "granted", "y", 9, "B", nil}, {4, "released", "x", 7, "A", heldFor(90)}},
			[]string{"y: B hold 1-100 open", "x: A hold -86-4 released"},
		},
		"wanted without a grant": {
			[]happened{{1, "started", "", 0, "", nil}, {4, "contended", "x", 7, "A", by("B")}},
			[]string{"x: A hold <1-100 open", "x: wanted 4 ×1 B", "started 1"},
		},
		"a grant that was lost": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {2, "released", "x", 7, "A", nil}, {4, "contended", "x", 9, "B", by("A")}},
			[]string{"x: A hold 1-2 released", "x: B hold <2-100 open", "x: wanted 4 ×1 A"},
		},
		"a release and a grant that were lost": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {4, "contended", "x", 9, "B", by("A")}, {5, "released", "x", 9, "B", nil}},
			[]string{"x: A hold 1-4 unseen", "x: B hold <4-5 released", "x: wanted 4 ×1 A"},
		},
		"a release and a grant that a server died with": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {4, "took_over", "", 0, "", nil}, {5, "restored", "x", 9, "B", nil}},
			[]string{"x: A hold 1-4 unseen", "x: B hold <4-100 open", "took over 4"},
		},
		"its directory has another name by now": {
			[]happened{{1, "granted", "a/x", 7, "A", nil}, {2, "contended", "b/x", 7, "A", by("B")}, {4, "released", "b/x", 7, "A", nil}},
			[]string{"a/x: A hold 1-4 released", "a/x: wanted 2 ×1 B"},
		},
		"the clock is set back": {
			[]happened{{9, "granted", "x", 7, "A", nil}, {4, "released", "x", 7, "A", nil}},
			[]string{"x: A hold 4-4 released"},
		},
		"what nobody knows": {
			[]happened{{1, "granted", "x", 7, "A", nil}, {2, "sung", "x", 7, "A", nil}, {3, "unwatched", "x", 7, "A", nil}, {4, "released", "x", 7, "A", nil}},
			[]string{"x: A hold 1-4 released"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := built(0, c.told).told(); !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}
