package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reload has the server read its configuration again, and returns what it logs of that.
func (m *mount) reload(t testing.TB) string {
	t.Helper()
	before := len(m.log.String())
	if err := syscall.Kill(m.cmd.Process.Pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	var line string
	waitFor(t, "a word of the configuration", waitDeadline, func() bool {
		for line = range strings.Lines(m.log.String()[before:]) {
			if strings.Contains(line, "configuration") {
				return true
			}
		}
		return false
	})
	return line
}

func configFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.toml")
	writeFile(t, name, text)
	return name
}

// SIGHUP brings a new configuration into force while the mount is used; what is wrong leaves the old one.
func TestConfigurationIsReadAgain(t *testing.T) {
	file := configFile(t, "[[lock]]\nname = \"*.lock\"\n")
	m := newMount(t, withFlags("--config="+file))
	hold := func(name string) int {
		h := startHelper(t, nil, "hold", m.path(name))
		h.line(t)
		return h.cmd.Process.Pid
	}
	m.mustBeHeldBy(t, "a.lock", hold("a.lock"))
	hold("a.pid")
	if state := m.lock(t, "a.pid").State; state != "" {
		t.Errorf("a.pid is %s, and no lock by the configuration", state)
	}
	writeFile(t, file, "[[lock]]\nname = \"*.pid\"\n")
	if line := m.reload(t); !strings.Contains(line, "read again") {
		t.Errorf("log: %s", line)
	}
	m.mustBeHeldBy(t, "b.pid", hold("b.pid"))
	if got := removeAs(t, nil, m.path("a.lock")); got != syscall.EBUSY {
		t.Errorf("removing a lock that was granted before: %v", got)
	}
	for text, want := range map[string]string{"guard = \"deny\"": "needs a new mount", "gard = 1": "unknown setting"} {
		writeFile(t, file, text)
		if line := m.reload(t); !strings.Contains(line, want) || !strings.Contains(line, "stays") {
			t.Errorf("%s: log: %s", text, line)
		}
	}
	m.mustBeHeldBy(t, "c.pid", hold("c.pid"))
}

func TestConfigCheck(t *testing.T) {
	good := configFile(t, "guard = \"deny\"\n")
	out, err := (&mount{}).command(suite.binary, "config", "check", good).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `guard = "deny"`) {
		t.Errorf("%v\n%s", err, out)
	}
	bad := configFile(t, "grace = 5\n")
	cmd := (&mount{}).command(suite.binary, "config", "check", bad)
	out, err = cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), bad+": line 1") {
		t.Errorf("%v\n%s", err, out)
	}
}

// With raw views a held lock reads, and is listed, as on a plain directory.
func TestRawView(t *testing.T) {
	m := newMount(t, withFlags("--view=raw"))
	h := startHelper(t, nil, "hold", m.path("a.jsonl.lock"))
	h.line(t)
	text, err := os.ReadFile(m.path("a.jsonl.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if below := m.stateBelow(t, "a.jsonl.lock"); string(text) != below.bytes {
		t.Errorf("others read %q, the owner wrote %q", text, below.bytes)
	}
	if names := shell(t, m.dir, "ls"); names != "a.jsonl.lock" {
		t.Errorf("listed: %q", names)
	}
	if got := removeAs(t, nil, m.path("a.jsonl.lock")); got != syscall.EBUSY {
		t.Errorf("removing it: %v", got)
	}
}

// Past the hold limit others may remove a living owner's lock, and its late writes are refused.
func TestHoldLimit(t *testing.T) {
	m := newMount(t, withFlags("--hold-limit=500ms", "--guard=deny"))
	owner, other := newGuardedSession(t, m)
	owner.must(t, free, "open", session)
	held := time.Now()
	if got := other.call(t, "remove", sessionLock); got != syscall.EBUSY && time.Since(held) < 400*time.Millisecond {
		t.Errorf("removing it at once: %v", got)
	}
	waitFor(t, "others may remove it", waitDeadline, func() bool { return other.call(t, "remove", sessionLock) == free })
	other.must(t, free, "lock", sessionLock)
	owner.must(t, syscall.EBUSY, "write", "late")
	owner.must(t, syscall.ENOENT, "remove", sessionLock) // its own removal, come late
	other.must(t, free, "open", session)
	other.must(t, free, "write", "turn-2")
}
