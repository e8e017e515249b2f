package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTimelineIsCalledWrongly(t *testing.T) {
	for name, q := range map[string]TimelineQuery{
		"an image of another kind": {Output: "x.png"},
		"no kind":                  {Output: "/tmp/x"},
		"no time":                  {Since: "yesterday"},
		"no end":                   {Until: "soon"},
		"an end before the start":  {Since: "1h", Until: "2h"},
		"a start to come":          {Since: "-1h"},
		"no pattern":               {Lock: "[", Output: "x.svg"},
	} {
		if err := Timeline(context.Background(), t.TempDir(), q, &bytes.Buffer{}); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimelineEndsNow(t *testing.T) {
	now := time.Date(2026, 7, 3, 12, 0, 0, 0, time.Local)
	for until, want := range map[string]time.Time{
		"": now, "30m": now.Add(-30 * time.Minute), "-1h": now, "2026-07-03 11:00:00": now.Add(-time.Hour),
	} {
		b, err := TimelineQuery{Since: "2h", Until: until}.builder(now)
		if err != nil {
			t.Fatal(err)
		}
		if h := b.History(1); !h.To.Equal(want) {
			t.Errorf("until %q: %v", until, h.To)
		}
	}
}

func TestTimelineIsNotForATerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	for _, output := range []string{"", "-"} {
		if _, err := (TimelineQuery{Output: output}).renderer(master); !errors.Is(err, ErrUsage) {
			t.Errorf("-o %q: %v", output, err)
		}
	}
	if _, err := (TimelineQuery{Output: "x.svg"}).renderer(master); err != nil {
		t.Error(err)
	}
}
