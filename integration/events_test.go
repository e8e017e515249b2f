package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionlockfs/internal/events"
)

// happened is what the command shows of a mount, for programs.
func (m *mount) happened(t testing.TB, flags ...string) (all []events.Event) {
	t.Helper()
	cmd, said := m.command(append([]string{suite.binary, "events", "--json", m.dir}, flags...)...), &logBuffer{}
	cmd.Stderr = said
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("events: %v\n%s", err, said)
	}
	for line := range strings.Lines(string(text)) {
		all = append(all, parseEvent(t, line))
	}
	return all
}

func parseEvent(t testing.TB, line string) (ev events.Event) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &ev); err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	return ev
}

// mustHappen finds the last event of a kind, of a lock if that is not "".
func mustHappen(t testing.TB, all []events.Event, kind, lock string) events.Event {
	t.Helper()
	for _, ev := range slices.Backward(all) {
		if ev.Event == kind && (lock == "" || ev.Lock == lock) {
			return ev
		}
	}
	t.Errorf("%s was not %s:\n%+v", lock, kind, all)
	return events.Event{}
}

// mustBeBy requires that a helper did it.
func mustBeBy(t testing.TB, what string, by *events.Process, h *helper) {
	t.Helper()
	if by == nil || int(by.PID) != h.cmd.Process.Pid || by.Comm != "helper" {
		t.Errorf("%s by %+v, want helper %d", what, by, h.cmd.Process.Pid)
	}
}

// mustCount requires that each event has the number after the one before.
func mustCount(t testing.TB, all []events.Event) {
	t.Helper()
	for i, ev := range all {
		if i > 0 && ev.Seq != all[i-1].Seq+1 {
			t.Fatalf("number %d comes after %d", ev.Seq, all[i-1].Seq)
		}
	}
}

func TestEvents(t *testing.T) {
	m := newMount(t)
	if err := os.Mkdir(m.path("main"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(m.path("main"), 0o777); err != nil {
		t.Fatal(err)
	}
	const lock = "main/a.jsonl.lock"
	holder := startHelper(t, nil, "hold-remove", m.path(lock))
	holder.line(t)
	contender := startHelper(t, nil, "try", m.path(lock))
	contender.line(t)
	m.waitContender(t, lock, contender.cmd.Process.Pid)
	contended := mustHappen(t, m.happened(t), "contended", lock)
	mustBeBy(t, "contended", contended.By, contender)
	mustBeBy(t, "held", contended.Owner, holder)
	remover := startHelper(t, nobody, "remove", m.path(lock)) // dead before anybody looks at it
	remover.line(t)
	remover.kill()
	writeFile(t, m.path("main/a.jsonl"), "somebody else's") // which is only reported
	holder.stdin.Close()
	contender.line(t)
	contender.kill()
	m.waitOrphan(t, lock)

	all := m.happened(t)
	mustCount(t, all)
	if all[0].Event != events.Started || all[0].Server != m.serverPID(t) || all[0].Seq != 1 {
		t.Errorf("the first event is %+v", all[0])
	}
	mustBeBy(t, "granted", mustHappen(t, all, "granted", lock).Owner, contender)
	refused := mustHappen(t, all, "refused", lock)
	mustBeBy(t, "refused", refused.By, remover)
	if refused.By == nil || refused.By.UID != nobody.Uid || refused.Act != "remove" || refused.Refused != 1 {
		t.Errorf("refused: %+v", refused)
	}
	released := mustHappen(t, all, "released", lock)
	mustBeBy(t, "released", released.Owner, holder)
	if released.Token != contended.Token || released.Held <= 0 || released.Held > released.Time.Sub(all[0].Time).Seconds() {
		t.Errorf("released: %+v", released)
	}
	guarded := mustHappen(t, all, "guarded", lock)
	if guarded.By == nil || int(guarded.By.PID) != os.Getpid() || guarded.Write == "" || guarded.Denied {
		t.Errorf("guarded: %+v", guarded)
	}
	mustBeBy(t, "orphaned", mustHappen(t, all, "orphaned", lock).Owner, contender)
	m.happenedAfterDeath(t, lock, contender)
	m.happenedByForce(t)
	m.shownTo(t, lock)
}

// happenedAfterDeath is what becomes of orphans.
func (m *mount) happenedAfterDeath(t *testing.T, lock string, dead *helper) {
	t.Helper()
	heir := startHelper(t, nil, "hold", m.path(lock))
	heir.line(t)
	reclaimed := mustHappen(t, m.happened(t), "reclaimed", lock)
	mustBeBy(t, "reclaimed", reclaimed.Owner, dead)
	mustBeBy(t, "reclaimed", reclaimed.By, heir)
	if !strings.Contains(reclaimed.Payload, fmt.Sprintf(`"pid": %d`, dead.cmd.Process.Pid)) {
		t.Errorf("reclaimed with %q, want the dead one's payload", reclaimed.Payload)
	}
	heir.kill()
	m.waitOrphan(t, lock)
	if errno := removeAs(t, nil, m.path(lock)); errno != 0 {
		t.Fatal(errno)
	}
	cleared := mustHappen(t, m.happened(t), "cleared", lock)
	if cleared.By == nil || cleared.By.Comm != "helper" || !strings.Contains(cleared.Payload, "createdAt") {
		t.Errorf("cleared: %+v", cleared)
	}
}

// happenedByForce also tells what became of the directory: its path is told when it is gone.
func (m *mount) happenedByForce(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(m.path("gone"), 0o777); err != nil {
		t.Fatal(err)
	}
	holder := startHelper(t, nil, "hold", m.path("gone/b.lock"))
	holder.line(t)
	if code, said := program(t, "release", "--force", m.path("gone/b.lock")); code != 0 {
		t.Fatalf("release: %d, %s", code, said)
	}
	mustBeBy(t, "forced", mustHappen(t, m.happened(t), "forced", "gone/b.lock").Owner, holder)
	for _, name := range []string{"gone/c.lock", "gone/d.lock"} {
		file, err := createExclusively(m.path(name))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		m.happened(t) // so that this one is told
		if err := os.Remove(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(m.path("gone")); err != nil {
		t.Fatal(err)
	}
	mustHappen(t, m.happened(t), "released", "gone/d.lock")
}

// shownTo is about what is asked for.
func (m *mount) shownTo(t *testing.T, lock string) {
	t.Helper()
	all := m.happened(t)
	last := all[len(all)-1]
	if since := m.happened(t, "--since", last.Time.Format(time.RFC3339Nano)); len(since) != 1 || since[0].Seq != last.Seq {
		t.Errorf("since the last event there are %+v", since)
	}
	if since := m.happened(t, "--since", "1ns"); len(since) != 0 {
		t.Errorf("since now there are %+v", since)
	}
	for pattern, count := range map[string]int{"*.jsonl.lock": -1, "main/*": -1, lock: -1, "gone/d.lock": 2, "c.lock": 2, "x*": 0, "main": 0} {
		of := m.happened(t, "--lock", pattern)
		if count >= 0 && len(of) != count {
			t.Errorf("of %s there are %d events, want %d", pattern, len(of), count)
		}
		if count < 0 && (len(of) < 8 || slices.ContainsFunc(of, func(ev events.Event) bool { return ev.Lock != lock })) {
			t.Errorf("of %s there are %+v", pattern, of)
		}
	}
	for _, wrong := range [][]string{{"--since", "yesterday"}, {"--lock", "["}} {
		mustSay(t, 2, wrong, append([]string{"events", m.dir}, wrong...)...)
	}
	code, said := program(t, "events", m.dir)
	if code != 0 || strings.Count(said, "\n") != len(all) {
		t.Errorf("for people: exit code %d, %d lines, want %d\n%s", code, strings.Count(said, "\n"), len(all), said)
	}
	for _, words := range []string{"refused    main/a.jsonl.lock  helper ", "; remove by helper ", "orphaned   main/a.jsonl.lock", ", held for ", "server "} {
		if !strings.Contains(said, words) {
			t.Errorf("for people: does not say %q\n%s", words, said)
		}
	}
	if text, err := m.readControl("events"); err != nil || parseEvent(t, lastLine(text)).Seq != last.Seq || bytes.Count(text, []byte{'\n'}) != len(all) {
		t.Errorf("the control file: %v\n%s", err, text)
	}
}

func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// What happened is known when the mount is started again, or served by another process.
func TestEventsOutliveServers(t *testing.T) {
	m := newMount(t)
	make := func(name string) {
		file, err := createExclusively(m.path(name))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	make("one.lock")
	before := m.happened(t)
	m.killServer(t)
	make("two.lock")
	if code, said := program(t, "upgrade", m.dir); code != 0 {
		t.Fatalf("upgrade: %d, %s", code, said)
	}
	make("three.lock")
	m.stop(t)
	m.start(t)
	make("four.lock")
	m.happened(t) // or it may be lost
	m.killBoth(t)
	m.start(t)
	make("five.lock")
	all := m.happened(t)
	mustCount(t, all)
	if !slices.EqualFunc(before, all[:len(before)], func(a, b events.Event) bool { return a.Seq == b.Seq && a.Time.Equal(b.Time) && a.Event == b.Event }) {
		t.Errorf("before: %+v\nnow: %+v", before, all)
	}
	var of []string
	for _, ev := range all {
		switch ev.Event {
		case events.Started, events.TookOver:
			of = append(of, ev.Event)
		case "granted":
			of = append(of, ev.Lock)
		}
	}
	want := []string{"started", "one.lock", "took_over", "two.lock", "took_over", "three.lock", "started", "four.lock", "started", "five.lock"}
	if !slices.Equal(of, want) {
		t.Errorf("there are %q, want %q", of, want)
	}
	if pid := mustHappen(t, all, events.Started, "").Server; pid != m.serverPID(t) {
		t.Errorf("started by server %d, want %d", pid, m.serverPID(t))
	}
}

// No name does anything to a terminal.
func TestEventsOfHostileNames(t *testing.T) {
	m := newMount(t)
	names := []string{"\x1b[2J\x1b]0;title\a.lock", "\u009b2J.lock", "\x7f\b\r\n.lock", "\u202e.lock", "\xff\xfe.lock", "a b \"'.lock"}
	for _, name := range names {
		file, err := createExclusively(m.path(name))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	for _, flag := range []string{"--json=false", "--json"} {
		code, said := program(t, "events", flag, m.dir)
		if code != 0 || strings.Count(said, "\n") != len(names)+1 {
			t.Errorf("%s: exit code %d, %d lines\n%q", flag, code, strings.Count(said, "\n"), said)
		}
		for _, r := range said {
			if r != '\n' && r < ' ' || r >= 0x7f && r <= 0x9f {
				t.Errorf("%s says %q: %q", flag, r, said)
				break
			}
		}
	}
	all := m.happened(t)
	for i, name := range names {
		if want := strings.ToValidUTF8(name, "\ufffd\ufffd"); all[i+1].Lock != want {
			t.Errorf("%q is told as %q", want, all[i+1].Lock)
		}
	}
}

// Nothing that the tests mount leaves anything in the machine's own directory.
func TestEventsAreKeptWhereAsked(t *testing.T) {
	m := newMount(t)
	m.happened(t)
	kept, err := filepath.Glob(filepath.Join(os.Getenv(logsEnv), "*"+strings.ReplaceAll(filepath.Base(m.parent), "-", `\\x2d`)+"-sessions.events"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	if info, err := os.Stat(kept[0]); err != nil || info.Mode() != 0o600 {
		t.Errorf("%s: %v, %v, want mode 0600", kept[0], info.Mode(), err)
	}
}
