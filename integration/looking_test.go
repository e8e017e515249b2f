package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is held, and what is left of a dead process, each by its state, its owner and its name.
func TestLocksAreFiltered(t *testing.T) {
	m := newMount(t)
	a := startHelper(t, nil, "hold", m.path("a.lock"))
	b := startHelper(t, nil, "hold", m.path("b.jsonl.lock"))
	dead := startHelper(t, nil, "hold", m.path("dead.jsonl.lock"))
	for _, h := range []*helper{a, b, dead} {
		h.line(t)
	}
	dead.kill()
	m.waitOrphan(t, "dead.jsonl.lock")
	pid := func(h *helper) string { return fmt.Sprint(h.cmd.Process.Pid) }
	for _, c := range []struct {
		flags []string
		want  []string
	}{
		{nil, []string{"a.lock", "b.jsonl.lock", "dead.jsonl.lock"}},
		{[]string{"--state", "held"}, []string{"a.lock", "b.jsonl.lock"}},
		{[]string{"--state", "orphan,untracked"}, []string{"dead.jsonl.lock"}},
		{[]string{"--owner", pid(b)}, []string{"b.jsonl.lock"}},
		{[]string{"--lock", "*.jsonl.lock"}, []string{"b.jsonl.lock", "dead.jsonl.lock"}},
		{[]string{"--lock", "*.jsonl.lock", "--state", "held", "--owner", pid(b)}, []string{"b.jsonl.lock"}},
		{[]string{"--owner", pid(a), "--state", "orphan"}, nil},
	} {
		listed(t, m, c.flags, c.want)
	}
	mustSay(t, 2, []string{"hold", "held, overdue, unknown_owner, orphan, abandoned, untracked"}, "locks", "--state", "hold", m.dir)
	mustSay(t, 0, []string{"no such locks"}, "locks", "--state", "abandoned", m.dir)
}

// listed checks both what a person is shown and what a program is.
func listed(t *testing.T, m *mount, flags, want []string) {
	t.Helper()
	_, table := program(t, append([]string{"locks", m.dir}, flags...)...)
	var shown []string
	for _, line := range strings.Split(table, "\n")[1:] {
		if fields := strings.Fields(line); len(fields) > 0 {
			shown = append(shown, fields[0])
		}
	}
	var dump mountDump
	_, text := program(t, append([]string{"locks", "--json", m.dir}, flags...)...)
	if err := json.Unmarshal([]byte(text), &dump); err != nil {
		t.Fatalf("%v: %v\n%s", flags, err, text)
	}
	var told []string
	for _, l := range dump.Locks {
		told = append(told, l.Path)
	}
	slices.Sort(shown)
	slices.Sort(told)
	if !slices.Equal(shown, want) || !slices.Equal(told, want) {
		t.Errorf("%v: the table has %v, the JSON %v, want %v", flags, shown, told, want)
	}
}

// watching a pipe: a table when it starts and one for each change, and none for the time that passes.
func TestLocksAreWatchedOnAPipe(t *testing.T) {
	m := newMount(t)
	w := startLooking(t, "locks", "--watch", "--lock", "a.*", m.dir)
	w.mustSay(t, "no such locks")
	holder := startHelper(t, nil, "hold-remove", m.path("a.lock"))
	holder.line(t)
	w.mustSay(t, fmt.Sprintf(" %d ", holder.cmd.Process.Pid))
	other := startHelper(t, nil, "hold", m.path("b.lock")) // is not asked for
	other.line(t)
	w.mustBeQuiet(t, 3*time.Second)
	holder.stdin.Close()
	w.mustSay(t, "no such locks")
	w.interrupt(t)
}

// looking is a command that goes on, and what it writes into a pipe.
type looking struct {
	cmd   *exec.Cmd
	lines chan string
}

func startLooking(t testing.TB, argv ...string) *looking {
	t.Helper()
	w := &looking{command(t, append([]string{suite.binary}, argv...)...), make(chan string, 1024)}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.cmd.Stderr = os.Stderr
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cmd.Process.Kill() })
	go func() {
		defer close(w.lines)
		for said := bufio.NewScanner(out); said.Scan(); {
			w.lines <- said.Text()
		}
	}()
	return w
}

// mustSay waits for a line that has the words.
func (w *looking) mustSay(t testing.TB, words string) {
	t.Helper()
	for deadline := time.After(waitDeadline); ; {
		select {
		case line, ok := <-w.lines:
			if !ok {
				t.Fatalf("it ended without saying %q", words)
			}
			if strings.Contains(line, words) {
				return
			}
		case <-deadline:
			t.Fatalf("it does not say %q", words)
		}
	}
}

// mustBeQuiet is for a stretch of time in which nothing that is asked for changes; the blank line after a table may still come.
func (w *looking) mustBeQuiet(t testing.TB, stretch time.Duration) {
	t.Helper()
	for end := time.After(stretch); ; {
		select {
		case line := <-w.lines:
			if line != "" {
				t.Errorf("it says %q, and nothing has changed", line)
			}
		case <-end:
			return
		}
	}
}

// interrupt is Ctrl-C.
func (w *looking) interrupt(t testing.TB) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for range w.lines {
	}
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
