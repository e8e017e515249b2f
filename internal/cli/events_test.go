package cli

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionlockfs/internal/events"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	for text, want := range map[string]time.Time{
		"":                          {},
		"90m":                       now.Add(-90 * time.Minute),
		"1ns":                       now.Add(-1),
		"2026-02-28":                time.Date(2026, 2, 28, 0, 0, 0, 0, now.Location()),
		"2026-02-28 13:14:15":       time.Date(2026, 2, 28, 13, 14, 15, 0, now.Location()),
		"2026-02-28T13:14:15.5Z":    time.Date(2026, 2, 28, 13, 14, 15, 5e8, time.UTC),
		"2026-02-28T13:14:15+02:00": time.Date(2026, 2, 28, 11, 14, 15, 0, time.UTC),
	} {
		if got, err := moment("--since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "5", "13:14", "2026-02-30"} {
		if _, err := moment("--since", text, now); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDescribeEvent(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.Local)
	node := &events.Process{PID: 12, NSPIDs: []int32{12, 3}, Comm: "node"}
	for want, ev := range map[string]events.Event{
		"granted    a.lock  node 12 (3 in its container)":                     {Event: "granted", Lock: "a.lock", Owner: node},
		"released   a.lock  node 12 (3 in its container), held for 1.5s":      {Event: "released", Lock: "a.lock", Owner: node, Held: 1.5},
		"refused    a.lock  node 12 (3 in its container); remove by rm 7: no": {Event: "refused", Lock: "a.lock", Owner: node, By: &events.Process{PID: 7, Comm: "rm"}, Act: "remove", Reason: "no"},
		"cleared    a.lock by process 7":                                      {Event: "cleared", Lock: "a.lock", By: &events.Process{PID: 7}},
		"guarded    a.lock; open by rm 7, denied":                             {Event: "guarded", Lock: "a.lock", By: &events.Process{PID: 7, Comm: "rm"}, Write: "open", Denied: true},
		"took over  server 99":                                                {Event: events.TookOver, Server: 99},
		"lost       5 events":                                                 {Event: events.Lost, Missing: 5},
		`"\x1b[2J"  "\u009b.lock"  "\x1b" 1; "\a" by "a b" 2: "\x1b]0;"`: {
			Event: "\x1b[2J", Lock: "\u009b.lock", Owner: &events.Process{PID: 1, Comm: "\x1b"}, By: &events.Process{PID: 2, Comm: "a b"}, Act: "\a", Reason: "\x1b]0;",
		},
	} {
		ev.Time = at
		if got := describeEvent(ev); got != "2026-03-01 12:00:00.005  "+want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestShowEscapes(t *testing.T) {
	var out bytes.Buffer
	line := "{\"lock\":\"\u009b2J\"}"
	if err := (EventsQuery{JSON: true}).show([]byte(line), events.Event{}, time.Time{}, &out); err != nil || strings.Contains(out.String(), "\u009b") {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, lock string
		want          bool
	}{
		{"*.jsonl.lock", "main/a.jsonl.lock", true}, {"a*", "main/a.lock", true}, {"main/*", "main/a.lock", true}, {"main/*", "main/b/a.lock", false},
		{"b/*", "main/b/a.lock", false}, {"main", "main/a.lock", false}, {"*", "", true},
	} {
		if got := matches(c.pattern, c.lock); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.lock, got)
		}
	}
}

func TestEventFile(t *testing.T) {
	t.Setenv("LOGS_DIRECTORY", "/logs:/others")
	file := func(dir string) string {
		t.Helper()
		path, err := EventFile(dir)
		if err != nil || filepath.Dir(path) != "/logs" || len(filepath.Base(path)) > 250 {
			t.Errorf("%s: %s, %v", dir, path, err)
		}
		return filepath.Base(path)
	}
	if got := file("/srv/agents/my-sessions"); got != `srv-agents-my\x2dsessions.events` {
		t.Errorf("got %s", got)
	}
	long := "/" + strings.Repeat("deep-down/", 50)
	if file(long+"a") == file(long+"b") {
		t.Error("two deep mount points have one file")
	}
}
