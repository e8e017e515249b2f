package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Exit codes of why besides 0, as the README has them.
const (
	whyDirectory  = 3
	whyNotAllowed = 5
	whyNotMounted = 7
	whyNoAnswer   = 8
	whyFree       = 10
	whyUnknown    = 11
)

// whyAnswer is what of why's JSON the tests look at.
type whyAnswer struct {
	State   string `json:"state"`
	Verdict string `json:"verdict"`
	Known   struct {
		lockEntry
		Contenders []struct{} `json:"contenders"`
	} `json:"known"`
	Process *struct {
		State   string   `json:"state"`
		Command []string `json:"command"`
	} `json:"process"`
	File struct {
		Kind string `json:"kind"`
		Data []byte `json:"data"`
		PID  int    `json:"pid"`
	} `json:"file"`
	Refused []struct {
		What  string `json:"what"`
		Count int    `json:"count"`
	} `json:"refused"`
	Recent []struct {
		Event string `json:"event"`
	} `json:"recent"`
}

// why asks about a lock, and fails the test if the exit code is another one.
func (m *mount) why(t testing.TB, code int, arguments ...string) string {
	t.Helper()
	return whyAs(t, nil, m.dir, code, arguments...)
}

func whyAs(t testing.TB, user *syscall.Credential, dir string, code int, arguments ...string) string {
	t.Helper()
	cmd := commandAs(user, append([]string{suite.binary, "why"}, arguments...)...)
	cmd.Dir = dir
	out, err := within(t, waitDeadline, cmd)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	if got != code {
		t.Errorf("why %v: exit code %d, want %d\n%s", arguments, got, code, out)
	}
	return out
}

func (m *mount) whyJSON(t testing.TB, code int, lock string) (a whyAnswer) {
	t.Helper()
	out := m.why(t, code, "--json", lock)
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return a
}

// mustShow fails the test unless a page has all of these, and fits on a screen. A path is not broken.
func mustShow(t testing.TB, page string, wanted ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(page), " ")
	for _, want := range wanted {
		if !strings.Contains(flat, want) {
			t.Errorf("it does not say %q:\n%s", want, page)
		}
	}
	for line := range strings.Lines(page) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 && !strings.Contains(line, suite.dir) {
			t.Errorf("too wide: %s", line)
		}
	}
}

func TestWhyHeld(t *testing.T) {
	m := newMount(t)
	lock := m.path(sessionLock)
	holder := startHelperWith(t, "hold", []string{lock}, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
	holder.line(t)
	pid := holder.cmd.Process.Pid
	a := m.whyJSON(t, 0, lock)
	if a.State != "held" || a.Verdict != "held" || a.Known.Owner.PID != pid || a.Process == nil || a.Process.Command[0] != suite.helper {
		t.Errorf("%+v", a)
	}
	if below := m.stateBelow(t, sessionLock).bytes; string(a.File.Data) != below || a.File.PID != 1 {
		t.Errorf("it says that the file says %q, PID %d; it says %q", a.File.Data, a.File.PID, below)
	}
	mustShow(t, m.why(t, 0, sessionLock), fmt.Sprintf("helper %d (1 in its container)", pid), suite.helper, `"pid"`,
		"The PID in it is the owner's, as its own container numbers them.", fmt.Sprintf("`kill %d`", pid), "OpenClaw 2026.5+")
	mustNotContend(t, m.whyJSON(t, 0, lock))
	if errno := removeAs(t, nil, lock); errno != syscall.EBUSY {
		t.Errorf("removal by somebody else: %v", errno)
	}
	if a := m.whyJSON(t, 0, lock); len(a.Refused) != 1 || a.Refused[0].What != "remove" || a.Refused[0].Count != 1 {
		t.Errorf("what was refused: %+v", a.Refused)
	}
	mustFollow(t, holder, m, lock)
}

// mustNotContend fails the test if whoever asked why has looked the name up.
func mustNotContend(t testing.TB, a whyAnswer) {
	t.Helper()
	if len(a.Known.Contenders) > 0 {
		t.Errorf("to ask why makes a contender")
	}
	for _, ev := range a.Recent {
		if ev.Event == "contended" {
			t.Errorf("to ask why is an event: %+v", a.Recent)
		}
	}
}

// mustFollow fails the test unless it tells that the holder is stopped, and that it is dead.
func mustFollow(t testing.TB, holder *helper, m *mount, lock string) {
	t.Helper()
	pid := holder.cmd.Process.Pid
	mustDo(t, unix.Kill(pid, unix.SIGSTOP))
	waitFor(t, "it is stopped", waitDeadline, func() bool { return processState(pid) == 'T' })
	mustShow(t, m.why(t, 0, lock), "It is stopped", fmt.Sprintf("`kill -CONT %d`", pid))
	holder.kill()
	m.waitOrphan(t, sessionLock)
	mustShow(t, m.why(t, whyFree, lock), fmt.Sprintf("is free to take: helper %d", pid), "sessionlockfs release "+lock)
	if a := m.whyJSON(t, whyFree, lock); a.State != "orphan" || a.Verdict != "free" {
		t.Errorf("%+v", a)
	}
	next := startHelper(t, nil, "hold", lock)
	next.line(t)
	m.whyJSON(t, 0, lock)
}

func TestWhyNobodyHolds(t *testing.T) {
	m := newMount(t, withContent(func(dir string) {
		writeFile(t, filepath.Join(dir, "weird.lock"), "version: 1\n")
		writeFile(t, filepath.Join(dir, "main/evil.lock"), "\x1b[2J")
		mustDo(t, os.Symlink("main", filepath.Join(dir, "link")))
		mustDo(t, os.Symlink(dir, filepath.Join(filepath.Dir(dir), "way")))
	}))
	mustShow(t, m.why(t, whyFree, "a.jsonl.lock"), "a.jsonl.lock is free.", "takes it at once")
	for _, lock := range []string{"weird.lock", "main/evil.lock", "link/evil.lock", m.path("link/evil.lock"), filepath.Join(m.parent, "way/main/evil.lock")} {
		page := m.why(t, whyUnknown, lock)
		mustShow(t, page, "is in the way, and nobody was granted it.")
		if strings.Contains(page, "\x1b") {
			t.Errorf("it hands an escape on to the terminal: %q", page)
		}
	}
	shell(t, m.dir, "cp /etc/passwd data.lock")
	waitFor(t, "data.lock is abandoned", waitDeadline, func() bool { return m.lock(t, "data.lock").State == "abandoned" })
	mustShow(t, m.why(t, whyUnknown, "data.lock"), "which made it, is dead, and it could be data.")
}

// As in a container: no socket is there, and PIDs are others.
func TestWhyWithoutSocket(t *testing.T) {
	m := newMount(t, withFlags("--hold-limit=1ms", "--guard=deny"))
	lock := m.path(sessionLock)
	holder := startHelper(t, nil, "hold", lock)
	holder.line(t)
	mustShow(t, m.why(t, 0, lock), "It is held for longer than its hold limit", "fail until it gets the lock anew")
	inside := func(code int, lock string) string {
		script := `mount -t tmpfs none /run/sessionlockfs && "$1" why "$2"; test $? = "$3"`
		out, err := within(t, waitDeadline, exec.Command(need(t, "unshare"), "--mount", "--propagation", "slave", "--pid", "--fork",
			"--mount-proc", "sh", "-c", script, "sh", suite.binary, lock, fmt.Sprint(code)))
		if err != nil {
			t.Errorf("exit code is not %d\n%s", code, out)
		}
		return out
	}
	mustShow(t, inside(0, lock), fmt.Sprintf("helper %d", holder.cmd.Process.Pid), "the mount's control socket can't be reached from here",
		"PIDs are as the mount sees them", "lately")
	mustShow(t, inside(whyUnknown, m.path("b.jsonl.lock")), "is free, as far as can be told")
}

// A name that nobody took notice of stays so.
func TestWhyOnlyLooks(t *testing.T) {
	m := newMount(t)
	writeFile(t, m.pathBelow("later.lock"), "1")
	m.why(t, whyUnknown, "later.lock")
	if entry := m.lock(t, "later.lock"); entry.State != "" {
		t.Errorf("the mount took notice of it: %+v", entry)
	}
}

func TestWhyBadInput(t *testing.T) {
	m := newMount(t)
	mustDo(t, os.Mkdir(m.path("main"), 0o755))
	writeFile(t, m.path("Cargo.lock"), "data")
	for lock, code := range map[string]int{
		m.dir: 2, "main": 2, "a.jsonl": 2, "Cargo.lock": 2, "mian/a.lock": whyDirectory, filepath.Join(m.parent, "a.lock"): whyNotMounted,
	} {
		mustBeOneLine(t, m.why(t, code, lock))
	}
	m.why(t, 2)
	holder := startHelper(t, nil, "hold", m.path(sessionLock))
	holder.line(t)
	mustBeOneLine(t, whyAs(t, nobody, "/", whyNotAllowed, m.path(sessionLock)))
}

func mustBeOneLine(t testing.TB, out string) {
	t.Helper()
	if strings.Count(out, "\n") != 1 {
		t.Errorf("want one line: %q", out)
	}
}

// A server that gives no answer is told of, and whoever asks does not hang there.
func TestWhyOfAMountThatHangs(t *testing.T) {
	m := newMount(t)
	server := m.serverPID(t)
	mustDo(t, unix.Kill(server, unix.SIGSTOP))
	defer unix.Kill(server, unix.SIGCONT)
	began := time.Now()
	mustBeOneLine(t, whyAs(t, nil, "/", whyNoAnswer, m.path(sessionLock)))
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
}
