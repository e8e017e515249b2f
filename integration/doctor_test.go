package integration

import (
	"encoding/json"
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

// diagnosis is what the doctor says as JSON.
type diagnosis struct {
	Well   bool     `json:"well"`
	Fixed  []string `json:"fixed"`
	Checks []struct {
		Check string `json:"check"`
		Level string `json:"level"`
		Found string `json:"found"`
		Fix   string `json:"fix"`
	} `json:"checks"`
}

// examine runs the doctor, whose exit code must agree with what it says.
func examine(t testing.TB, arguments ...string) (d diagnosis) {
	t.Helper()
	cmd := command(t, append([]string{suite.binary, "doctor", "--json"}, arguments...)...)
	out, err := cmd.Output()
	if e := json.Unmarshal(out, &d); e != nil {
		t.Fatalf("doctor: %v, %v\n%s", e, err, out)
	}
	want := exitUnwell
	if d.Well {
		want = 0
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("well: %v, exit code %d", d.Well, code)
	}
	return d
}

// mustFind checks that a check has come to a level and says all that, and what to do.
func (d diagnosis) mustFind(t testing.TB, check, level string, parts ...string) {
	t.Helper()
	for _, c := range d.Checks {
		if c.Check == check && c.Level == level && containsAll(c.Found, parts) {
			if (c.Fix == "") != (level == "ok") {
				t.Errorf("%s: %s: the fix is %q", level, c.Found, c.Fix)
			}
			return
		}
	}
	t.Errorf("no %q with %s and %q in %+v", check, level, parts, d.Checks)
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// elsewhere tells of a mount namespace in which the directory is bare. Other tests, and whoever else works on this machine, may have one.
const elsewhere = " the real directory at "

func TestDoctorFindsAllWell(t *testing.T) {
	m := newMount(t)
	m.below.Close() // or this process itself goes past the mount
	d := examine(t, m.dir)
	others := 0
	for _, c := range d.Checks {
		switch {
		case strings.Contains(c.Found, elsewhere):
			others++
		case c.Level != "ok" && !aboutMachine[c.Check]:
			t.Errorf("%s: %s: %s", c.Level, c.Check, c.Found)
		}
	}
	d.mustFind(t, "mount", "ok", m.dir+" answers")
	d.mustFind(t, "control socket", "ok", "answers")
	d.mustFind(t, "program", "ok", "by this version")
	d.mustFind(t, "propagation", "ok", m.parent)
	if others == 0 {
		d.mustFind(t, "bystanders", "ok", "nobody")
	}
}

// aboutMachine are the checks that depend on where the tests run.
var aboutMachine = map[string]bool{"kernel": true, "processes": true, "passthrough": true, "takeover": true, "evidence": true,
	"descriptors": true, "PID namespace": true, "file system": true, "records": true}

func TestDoctorNamesWhoGoesPastTheMount(t *testing.T) {
	var stands, reads, sandboxed *exec.Cmd
	m := newMount(t, before(func(m *mount) {
		writeFile(t, filepath.Join(m.dir, "old.jsonl"), "")
		stands = past(t, exec.Command("sleep", "60"), m.dir, nil)
		old, err := os.Open(filepath.Join(m.dir, "old.jsonl"))
		mustDo(t, err)
		defer old.Close()
		reads = past(t, exec.Command("sleep", "60"), "/", old)
		sandboxed = past(t, exec.Command(need(t, "unshare"), "--mount", "--propagation", "private", "sleep", "60"), "/", nil)
		waitFor(t, "a mount namespace", waitDeadline, func() bool { return commOf(sandboxed.Process.Pid) == "sleep" })
	}))
	d := examine(t, m.dir)
	d.mustFind(t, "bystanders", "fail", pidText(stands), "its working directory "+m.dir)
	d.mustFind(t, "bystanders", "fail", pidText(reads), "its open file "+m.path("old.jsonl"))
	d.mustFind(t, "bystanders", "fail", pidText(sandboxed), elsewhere+m.dir)
	for _, cmd := range []*exec.Cmd{stands, reads, sandboxed} {
		cmd.Process.Kill()
		cmd.Wait()
	}
	for _, c := range examine(t, m.dir).Checks {
		for _, cmd := range []*exec.Cmd{stands, reads, sandboxed} {
			if strings.Contains(c.Found, pidText(cmd)) {
				t.Errorf("of a process that is gone: %s", c.Found)
			}
		}
	}
}

// past starts a process that is in a directory, or has something open, before that is mounted over.
func past(t testing.TB, cmd *exec.Cmd, dir string, open *os.File) *exec.Cmd {
	t.Helper()
	cmd.Dir = dir
	if open != nil {
		cmd.ExtraFiles = []*os.File{open}
	}
	mustDo(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func pidText(cmd *exec.Cmd) string { return fmt.Sprintf("sleep (PID %d)", cmd.Process.Pid) }

func commOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

func TestDoctorClearsADeadMount(t *testing.T) {
	m := newMount(t)
	socket := socketOf(t, m)
	m.killBoth(t)
	m.cmd = nil
	examine(t, m.dir).mustFind(t, "mount", "fail", "dead mount")
	if !served(m.dir) {
		t.Error("it was cleared unasked")
	}
	d := examine(t, "--fix", m.dir)
	if len(d.Fixed) != 1 || !strings.Contains(d.Fixed[0], m.dir) {
		t.Errorf("fixed: %q", d.Fixed)
	}
	d.mustFind(t, "mount", "warn", "nothing is mounted")
	if served(m.dir) {
		t.Error("still mounted")
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("its socket: %v", err)
	}
	m.start(t)
}

// socketOf is the control socket of a mount.
func socketOf(t testing.TB, m *mount) string {
	t.Helper()
	var st unix.Stat_t
	mustDo(t, unix.Stat(m.dir, &st))
	path := fmt.Sprintf("/run/sessionlockfs/%d-%d.sock", unix.Major(st.Dev), unix.Minor(st.Dev))
	waitFor(t, "the control socket", waitDeadline, func() bool { _, err := os.Lstat(path); return err == nil })
	return path
}

// A mount that hangs must not have the doctor hang, nor whoever waits for it.
func TestDoctorOnAMountThatHangs(t *testing.T) {
	m := newMount(t)
	server, _ := m.processesOf(t)
	mustDo(t, syscall.Kill(server, syscall.SIGSTOP))
	defer syscall.Kill(server, syscall.SIGCONT)
	started := time.Now()
	d := examine(t, m.path("some/where"))
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	d.mustFind(t, "mount", "fail", "no answer", fmt.Sprintf("stopped: %d", server))
	d.mustFind(t, "control socket", "fail", "no answer")
}

func TestDoctorWithoutAMount(t *testing.T) {
	m := newMount(t)
	m.stop(t)
	d := examine(t, m.dir)
	d.mustFind(t, "directory", "ok", m.dir)
	d.mustFind(t, "mount", "warn", "nothing is mounted")
	examine(t, filepath.Join(m.dir, "none")).mustFind(t, "directory", "fail", "does not exist")
	writeFile(t, filepath.Join(m.dir, "a.txt"), "")
	examine(t, filepath.Join(m.dir, "a.txt")).mustFind(t, "directory", "fail", "not a directory")
}

func TestDoctorTellsOfLocksThatStay(t *testing.T) {
	m := newMount(t)
	shell(t, m.dir, `set -C; echo 'it could be data' > odd.lock`)
	waitFor(t, "its owner is dead", waitDeadline, func() bool { return m.lock(t, "odd.lock").State == "abandoned" })
	d := examine(t, m.dir)
	d.mustFind(t, "locks", "ok", "1: 1 abandoned")
	d.mustFind(t, "locks", "warn", m.path("odd.lock"), "could be data")
	if !m.exists("odd.lock") {
		t.Error("it is gone")
	}
}
