package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionlockfs/internal/events"
)

func TestWindow(t *testing.T) {
	told := []happened{
		{1, "granted", "over", 1, "A", nil}, {2, "contended", "over", 1, "A", by("B")}, {3, "released", "over", 1, "A", nil},
		{4, "granted", "long", 2, "B", nil}, {5, "contended", "long", 2, "B", by("A")},
		{6, "granted", "within", 3, "C", nil}, {60, "released", "within", 3, "C", nil},
		{70, "contended", "long", 2, "B", by("C")}, {110, "released", "long", 2, "B", nil},
		{120, "granted", "later", 4, "D", nil}, {130, "released", "unheard", 5, "E", heldFor(100)},
	}
	want := []string{
		"long: B hold 4-110 released", "long: wanted 70 ×1 C",
		"unheard: E hold 30-130 released",
		"within: C hold 6-60 released",
	}
	h := built(50, told)
	if got := h.told(); !slices.Equal(got, want) {
		t.Errorf("got\n  %s", strings.Join(got, "\n  "))
	}
	if l := h.Lanes[0]; l.Contended != 1 || l.Held != 50*time.Second {
		t.Errorf("wanted %d times, held for %v of 50 s", l.Contended, l.Held)
	}
}

func TestWindowBeginsWithTheFirstEvent(t *testing.T) {
	for _, seq := range []uint64{1, 500} {
		b := NewBuilder(second(-3600), second(100), nil)
		b.Add(events.Event{Seq: seq, Time: second(10), Event: "started"})
		if h := b.History(MostLanes); !h.From.Equal(second(10)) || h.Cut != (seq > 1) {
			t.Errorf("first event %d: from %v, cut: %v", seq, h.From, h.Cut)
		}
	}
	if h := NewBuilder(time.Time{}, second(100), nil).History(MostLanes); h.From.IsZero() || !h.From.Before(h.To) {
		t.Errorf("without events: from %v to %v", h.From, h.To)
	}
}

func TestHeldNow(t *testing.T) {
	b := NewBuilder(second(0), second(100), func(lock string) bool { return lock != "hidden" })
	b.Add(happened{1, "granted", "x", 7, "A", nil}.event(900))
	b.Add(happened{1, "granted", "y", 8, "A", nil}.event(901))
	b.Add(happened{2, "released", "y", 8, "A", nil}.event(902))
	for lock, token := range map[string]uint64{"x": 7, "y": 8, "z": 3, "hidden": 4} {
		b.Holds(lock, token, process("B"), second(-500))
	}
	want := []string{"x: A hold 1-100 open", "z: B hold -500-100 open", "y: A hold 1-2 released"}
	if got := b.History(MostLanes).told(); !slices.Equal(got, want) {
		t.Errorf("got\n  %s", strings.Join(got, "\n  "))
	}
}

func TestLanesAreTheMostContended(t *testing.T) {
	var told []happened
	for i := range 100 {
		lock, token := fmt.Sprintf("lock-%02d", i), uint64(i+1)
		told = append(told, happened{1, "granted", lock, token, "A", nil})
		for range i % 50 {
			told = append(told, happened{2, "contended", lock, token, "A", by("B")})
		}
	}
	h := built(0, told)
	if len(h.Lanes) != MostLanes || h.LeftOut != 60 || h.Totals.Locks != 100 || h.Totals.Holders != 1 {
		t.Fatalf("%d lanes, %d left out, totals %+v", len(h.Lanes), h.LeftOut, h.Totals)
	}
	for i := range h.Lanes[1:] {
		if h.Lanes[i].Contended < h.Lanes[i+1].Contended {
			t.Errorf("lane %d was wanted %d times, the next one %d", i, h.Lanes[i].Contended, h.Lanes[i+1].Contended)
		}
	}
	if h.Lanes[0].Lock != "lock-49" || h.Lanes[1].Lock != "lock-99" {
		t.Errorf("first are %s and %s", h.Lanes[0].Lock, h.Lanes[1].Lock)
	}
}
