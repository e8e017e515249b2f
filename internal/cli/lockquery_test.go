package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/lockmgr"
)

// lockOf makes a lock of a process; of nobody if pid is 0.
func lockOf(path, state string, pid int32, since time.Time) fsnode.LockDump {
	l := fsnode.LockDump{Path: path, Kind: "file", State: state, CreatedAt: since, Contenders: []fsnode.ContenderDump{}}
	if pid != 0 {
		l.Token = lockmgr.Token(1000 + pid)
		l.Owner = &fsnode.OwnerDump{PID: pid, NSPIDs: []int32{pid}, UID: 1000, Comm: "node",
			StartTime: 123456, BootID: "8ec9e09e-30a3-4832-a4e6-d32db8c92583", PIDNS: 4026531836}
	}
	return l
}

func TestLocksQuery(t *testing.T) {
	locks := []fsnode.LockDump{
		lockOf("main/a.jsonl.lock", "held", 101, time.Time{}), lockOf("main/b.jsonl.lock", "orphan", 102, time.Time{}),
		lockOf("other/a.jsonl.lock", "held", 102, time.Time{}), lockOf("old.lock", "untracked", 0, time.Time{}),
	}
	for _, c := range []struct {
		name string
		q    LocksQuery
		want string
	}{
		{"all", LocksQuery{}, "main/a.jsonl.lock main/b.jsonl.lock other/a.jsonl.lock old.lock"},
		{"a state", LocksQuery{States: []string{"held"}}, "main/a.jsonl.lock other/a.jsonl.lock"},
		{"states", LocksQuery{States: []string{"orphan", "untracked"}}, "main/b.jsonl.lock old.lock"},
		{"an owner", LocksQuery{Owner: 102}, "main/b.jsonl.lock other/a.jsonl.lock"},
		{"a name", LocksQuery{Lock: "a.*"}, "main/a.jsonl.lock other/a.jsonl.lock"},
		{"a path", LocksQuery{Lock: "main/*"}, "main/a.jsonl.lock main/b.jsonl.lock"},
		{"all at once", LocksQuery{States: []string{"held"}, Owner: 102, Lock: "other/*"}, "other/a.jsonl.lock"},
		{"none", LocksQuery{Owner: 7}, ""},
	} {
		var got []string
		for _, l := range c.q.filter(locks) {
			got = append(got, l.Path)
		}
		if err := c.q.check(); err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestLocksQueryThatMakesNoSense(t *testing.T) {
	for _, q := range []LocksQuery{{States: []string{"held", "hold"}}, {Owner: -1}, {Lock: "[a"}} {
		if err := q.check(); !errors.Is(err, ErrUsage) {
			t.Errorf("%+v: %v, want an error of usage", q, err)
		}
	}
	err := LocksQuery{States: []string{"hold"}}.check()
	if want := "there are held, overdue, unknown_owner, orphan, abandoned, untracked"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// A pipe hears of changes, and time alone is none.
func TestFeedTellsOfChangesOnly(t *testing.T) {
	var out bytes.Buffer
	f := feed{out: &out}
	dump := fsnode.Dump{Locks: []fsnode.LockDump{lockOf("a.lock", "held", 101, time.Now())}}
	says := func(what, want string, failed error) {
		t.Helper()
		out.Reset()
		if err := f.show(dump, failed); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	says("the first look", "node 101", nil)
	dump.Locks = slices.Clone(dump.Locks)
	dump.Locks[0].CreatedAt = dump.Locks[0].CreatedAt.Add(-time.Hour)
	says("an hour later", "", nil)
	dump.Locks[0].Contenders = []fsnode.ContenderDump{{PID: 7}}
	says("somebody waits", "held   node 101  1h0m  1 ", nil)
	says("a mount that hangs", "no answer", errStuck)
	says("and still does", "", errStuck)
	says("and answers", "node 101", nil)
	dump.Locks = nil
	says("the lock is released", "no locks", nil)
}

// What is filtered out is an empty list in JSON, and a change is one line.
func TestFeedInJSON(t *testing.T) {
	var out bytes.Buffer
	q := LocksQuery{JSON: true, Owner: 7}
	f := feed{out: &out, q: q}
	if err := errors.Join(f.show(fsnode.Dump{Version: 1, Locks: q.filter(nil)}, nil), f.show(fsnode.Dump{}, errStuck)); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%v: %q", err, out.String())
	}
	if locks, ok := back["locks"].([]any); !ok || len(locks) != 0 {
		t.Errorf("locks: %v", back["locks"])
	}
}

func TestCropped(t *testing.T) {
	lines := []string{"1", "2", "3", "4"}
	for room, want := range map[int]string{9: "1 2 3 4", 4: "1 2 3 4", 3: "1 2 … and 2 more", 1: "… and 4 more", 0: "… and 4 more"} {
		if got := strings.Join(cropped(lines, room), " "); got != want {
			t.Errorf("room for %d: %q, want %q", room, got, want)
		}
	}
}

func TestShortened(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"main/a.lock", 11, "main/a.lock"},
		{"main/a.jsonl.lock", 10, "mai…l.lock"},
		{"main/a.jsonl.lock", 2, "ma"},
		{"main/a.jsonl.lock", 0, ""},
		{"日本語の名前.lock", 9, "日….lock"}, // two cells each
	} {
		if got := shortened(c.text, c.width); got != c.want {
			t.Errorf("%s in %d: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
