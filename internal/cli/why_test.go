package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
)

var now = time.Date(2026, 7, 1, 3, 14, 15, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

var (
	gateway = events.Process{PID: 4711, NSPIDs: []int32{4711, 1}, UID: 1000, Comm: "node"}
	agent   = events.Process{PID: 130, NSPIDs: []int32{130, 7}, Comm: "node"}
	rm      = events.Process{PID: 200, NSPIDs: []int32{200}, Comm: "rm"}
)

const payloadText = "{\n  \"pid\": 1,\n  \"createdAt\": \"2026-07-01T03:12:02.000Z\"\n}\n"

// answered is an answer about a lock of the gateway's in a state, with the past that the events tell. change makes of it what a test
// is about.
func answered(state string, past []events.Event, change func(a *Answer)) *Answer {
	a := &Answer{
		At: now, Lock: "main/a.jsonl.lock", Path: "main/a.jsonl.lock", User: "agent",
		File: &fsnode.PayloadDump{
			Kind: "file", Size: int64(len(payloadText)), Data: []byte(payloadText), PID: 1, Lock: true, Guard: "log", Evidence: true,
		},
		Container: &Container{Runtime: "docker", ID: strings.Repeat("3f2a9c0d", 8), Name: "agent-7"},
		Process:   &Living{State: "S", Command: []string{"openclaw-gateway", "--port", "18789"}},
	}
	dump := fsnode.Dump{Locks: []fsnode.LockDump{{
		Path: a.Path, Kind: "file", State: state, Token: 77, CreatedAt: ago(2*time.Minute + 13*time.Second),
		Owner: &fsnode.OwnerDump{PID: gateway.PID, NSPIDs: gateway.NSPIDs, UID: gateway.UID, Comm: gateway.Comm},
	}}}
	if state == "free" {
		dump.Locks = nil
	}
	a.know(dump)
	if state != "held" {
		a.Process = nil
	}
	change(a)
	a.know(dump)
	a.remember(past)
	a.Expectations, a.Advice = a.expectations(), a.advice()
	return a
}

func event(what string, before time.Duration, change func(ev *events.Event)) events.Event {
	ev := events.Event{Time: ago(before), Event: what, Lock: "main/a.jsonl.lock", Token: 77, Owner: &gateway}
	change(&ev)
	return ev
}

func by(p *events.Process) func(ev *events.Event) { return func(ev *events.Event) { ev.By = p } }

func because(reason string) func(ev *events.Event) {
	return func(ev *events.Event) { ev.Reason = reason }
}

func granted() events.Event { return event("granted", 133*time.Second, by(nil)) }

func refused() events.Event {
	return event("refused", 2*time.Second, func(ev *events.Event) {
		ev.By, ev.Act, ev.Reason = &rm, "remove", "somebody else holds it"
	})
}

func wrote(denied bool) events.Event {
	return event("guarded", time.Second, func(ev *events.Event) { ev.By, ev.Write, ev.Denied = &agent, "truncate", denied })
}

// whyCases are the states, and what is said of each. "go test ./internal/cli -run TestWhyText -v" shows what it would be now.
var whyCases = []struct {
	name   string
	answer *Answer
}{
	{"held", answered("held", []events.Event{granted(), event("contended", 90*time.Second, by(&agent)), refused(), refused(), wrote(false)}, func(a *Answer) {
		a.Known.HandleOpen, a.Known.RefusedChanges = true, 9
		a.Known.Contenders = []fsnode.ContenderDump{{PID: 130, Comm: "node", LastSeen: ago(400 * time.Millisecond)}}
	})},
	{"held and stopped", answered("held", []events.Event{granted()}, func(a *Answer) { a.Process.State, a.File.Guard = "T", "deny" })},
	{"held by what can't be watched", answered("held", []events.Event{event("unwatched", time.Minute, because("pidfd_open: not implemented"))},
		func(a *Answer) { a.Process.State, a.File.Guard, a.File.PID = "D", "off", 99 })},
	{"held past its limit", answered("held", nil, func(a *Answer) { a.File.Overdue = true })},
	{"held open by a child", answered("held", []events.Event{granted()}, func(a *Answer) { a.Process, a.Known.HandleOpen = nil, true })},
	{"held, seen from a container", answered("held", nil, func(a *Answer) {
		a.Process, a.Hidden, a.Container, a.User = nil, true, nil, ""
		a.File, a.FileError = nil, errNoSocket.Error()
	})},
	{"held directory of a script", answered("held", nil, func(a *Answer) {
		a.Known.Kind, a.Container = "dir", nil
		a.File = &fsnode.PayloadDump{Kind: "dir", Lock: true, Guard: "log"}
	})},
	{"held by git", answered("held", nil, func(a *Answer) {
		a.File.Git, a.File.Guard, a.File.PID, a.Container = true, "off", 0, nil
		a.File.Data = []byte("DIRC\x00\x00\x00\x02")
	})},
	{"unknown owner", answered("unknown_owner", nil, func(a *Answer) { a.Known.Owner, a.Container = nil, nil })},
	{"orphan", answered("orphan", []events.Event{granted(), event("orphaned", 3*time.Second, func(ev *events.Event) {
		ev.Held, ev.Reason = 130, "its owner is dead; it stays until somebody takes or removes it"
	})}, func(a *Answer) { a.Container = nil })},
	{"abandoned", answered("abandoned", nil, func(a *Answer) {
		a.File.Data, a.File.Size, a.File.PID = bytes.Repeat([]byte("version: 1\n"), 400)[:fsnode.MaxTold], 4400, 0
	})},
	{"untracked", answered("untracked", nil, func(a *Answer) {
		a.Known.Owner, a.Container, a.Known.Token = nil, nil, 0
		a.Known.Verdict, a.Known.Reason = "unknown", "nobody has it open, but it is younger than 5s"
	})},
	{"free", answered("free", []events.Event{event("released", time.Hour, func(ev *events.Event) { ev.Held = 75 })}, func(a *Answer) {
		a.File, a.Container = &fsnode.PayloadDump{}, nil
	})},
	{"free, and something is there", answered("free", nil, func(a *Answer) { a.Container = nil })},
	{"free, as far as can be told", answered("free", nil, func(a *Answer) {
		a.File, a.FileError, a.Container, a.EventsError = nil, errNoSocket.Error(), nil, "no answer"
	})},
}

func TestWhyText(t *testing.T) {
	golden, err := os.ReadFile("testdata/why.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, part := range strings.Split(string(golden), "==== ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		want[name] = text
	}
	for _, c := range whyCases {
		got := c.answer.text() + "\n"
		if got != want[c.name] {
			t.Errorf("==== %s\n%s", c.name, got)
		}
		for line := range strings.Lines(got) {
			if width(strings.TrimSuffix(line, "\n")) > screen {
				t.Errorf("%s: too wide: %s", c.name, line)
			}
		}
	}
}

func TestWhyVerdicts(t *testing.T) {
	for _, c := range whyCases {
		want := IsUnknown
		switch {
		case strings.HasPrefix(c.name, "held"):
			want = IsHeld
		case c.name == "orphan", c.name == "free":
			want = IsFree
		}
		if c.answer.Verdict != want {
			t.Errorf("%s: %s, want %s", c.name, c.answer.Verdict, want)
		}
	}
	for v, code := range map[Verdict]int{IsHeld: OK, IsFree: Free, IsUnknown: Unknown} {
		if got := Exit(v.exit(), &bytes.Buffer{}); got != code {
			t.Errorf("%s: exit code %d, want %d", v, got, code)
		}
	}
}

// Whoever names a file or a process must not get at the terminal of who looks.
func TestWhyIsSafeForATerminal(t *testing.T) {
	const evil = "\x1b]0;\x07\u009b2J\u202e\n\r"
	hostile := events.Process{PID: 1, Comm: evil}
	a := answered("held", []events.Event{
		event("refused", 0, func(ev *events.Event) { ev.By, ev.Act = &hostile, evil }),
		event(evil, 0, func(ev *events.Event) { ev.By, ev.Owner, ev.Reason, ev.Act = &hostile, &hostile, evil, evil }),
	}, func(a *Answer) {
		a.Lock, a.User, a.File.Data, a.FileError = evil, evil, []byte(evil+evil), evil
		a.Known.Owner.Comm, a.Process.Command = evil, []string{evil, evil}
		a.Container = &Container{Runtime: "docker", ID: evil, Name: evil, Pod: evil}
		a.Known.Contenders = []fsnode.ContenderDump{{PID: 2, Comm: evil}}
	})
	var asJSON bytes.Buffer
	if err := writeJSON(&asJSON, a); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{a.text(), asJSON.String()} {
		for _, r := range text {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("%U in %q", r, text)
			}
		}
	}
}
