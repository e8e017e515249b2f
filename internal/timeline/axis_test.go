package timeline

import (
	"slices"
	"testing"
	"time"
	_ "time/tzdata"
)

func TestTicks(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from time.Time
		long time.Duration
		want []string // first, second and last
	}{
		"milliseconds":         {start.Add(3 * time.Millisecond), 30 * time.Millisecond, []string{"10:00:00.005", "10:00:00.010", "10:00:00.030"}},
		"a minute":             {start.Add(3 * time.Second), time.Minute, []string{"10:00:10", "10:00:20", "10:01:00"}},
		"an hour":              {start.Add(3 * time.Minute), time.Hour, []string{"10:10", "10:20", "11:00"}},
		"at a tick":            {start, 10 * time.Second, []string{"10:00:00", "10:00:01", "10:00:10"}},
		"half a zone":          {start.In(time.FixedZone("IST", 5*3600+1800)), 24 * time.Hour, []string{"18:00", "21:00", "15:00"}},
		"a month":              {start, 30 * day, []string{"9 Jul", "16 Jul", "30 Jul"}},
		"put forward":          {time.Date(2026, 3, 28, 23, 30, 0, 0, berlin), 18 * time.Hour, []string{"00:00", "04:00", "18:00"}},
		"put forward, closely": {time.Date(2026, 3, 29, 1, 10, 0, 0, berlin), 2 * time.Hour, []string{"01:15", "01:30", "04:00"}},
		"put back":             {time.Date(2026, 10, 24, 20, 0, 0, 0, berlin), 30 * time.Hour, []string{"21:00", "00:00", "00:00"}},
		"no time at all":       {start, time.Microsecond, []string{"10:00:00.000", "10:00:00.000", "10:00:00.000"}},
	} {
		a := axis{c.from, c.from.Add(c.long), 300, 1300}
		all := a.ticks()
		if len(all) > 12 {
			t.Errorf("%s: %d ticks", name, len(all))
		}
		got := []string{all[0].label, all[min(1, len(all)-1)].label, all[len(all)-1].label}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if !slices.IsSortedFunc(all, func(a, b tick) int { return a.at.Compare(b.at) }) || all[0].day == "" {
			t.Errorf("%s: %v", name, all)
		}
	}
}

func TestBarsThatAreTooNarrow(t *testing.T) {
	a := axis{second(0), second(1000), 0, 1000} // a pixel a second
	var spans []Span
	for _, s := range [][2]float64{{1, 1.2}, {1.5, 1.6}, {2, 2.1}, {10, 20}, {20, 20.1}, {20.2, 20.3}, {20.4, 40}, {50, 50.1}} {
		spans = append(spans, Span{From: second(s[0]), To: second(s[1])})
	}
	var got []int
	for _, b := range a.bars(spans, 1) {
		got = append(got, len(b.spans))
	}
	if want := []int{3, 1, 2, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("bars of %v spans, want %v", got, want)
	}
}

func TestFlags(t *testing.T) {
	a := axis{second(0), second(1000), 0, 1000}
	marks := []Mark{{At: second(1), Kind: Wanted}, {At: second(2), Kind: Death}, {At: second(2), Kind: Wanted}, {At: second(9), Kind: Wanted}}
	var got [][2]int
	for _, f := range a.flags(marks, 1) {
		got = append(got, [2]int{int(f.marks[0].Kind), len(f.marks)})
	}
	if want := [][2]int{{int(Wanted), 2}, {int(Wanted), 1}, {int(Death), 1}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestColours(t *testing.T) {
	h := &History{From: second(0), To: second(100)}
	l := Lane{}
	for pid := range int32(colours + 3) {
		l.Spans = append(l.Spans, Span{From: second(0), To: second(100 - float64(pid)), Holder: Holder{PID: pid + 1}})
	}
	h.Lanes = []Lane{l}
	p := colour(h)
	seen := map[int]bool{}
	for _, who := range p.people[:colours] {
		seen[p.look[who.identity()]] = true
	}
	if len(seen) != colours {
		t.Errorf("%d looks for %d processes", len(seen), colours)
	}
	if first := p.people[0].identity(); p.look[first] != lookOf(first) {
		t.Errorf("who held longest doesn't look as in every picture")
	}
}

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"main/chat.jsonl.lock": "main/…sonl.lock", "not too long...": "not too long...", "非常に長い名前のロック.lock": "非常…ック.lock",
	} {
		if got := shorten(text, 15); got != want {
			t.Errorf("%s is shortened to %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{"a b": "a b", "\x1b[0m": `\x1b[0m`, "\xff�": `\xff�`, "a\u202eb": `a\u202eb`, "\n": `\n`} {
		if got := clean(text); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
}
