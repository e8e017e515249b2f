package integration

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is a shell script that takes a lock in the ways scripts do, told what to do next on stdin.
type script struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
}

// takes has a script take x.lock, by the ways that exclude each other on a plain directory. Each is the condition of an if.
var takes = map[string]string{
	"noclobber":        `(set -C; echo $$ > x.lock) 2>/dev/null`,
	"noclobber itself": `set -C && { true > x.lock; } 2>/dev/null && echo $$ >| x.lock && set +C`,
	"mkdir":            `mkdir x.lock 2>/dev/null`,
	"symlink":          `ln -s $$ x.lock 2>/dev/null`,
	"link":             `echo $$ > mine.$$ && ln mine.$$ x.lock 2>/dev/null`,
	"mv -n":            `echo $$ > mine.$$ && mv -nT mine.$$ x.lock && [ ! -e mine.$$ ]`,
}

// How a script of each way lets go, as a child process as a rule.
func letsGo(way string) string {
	if way == "mkdir" {
		return "rmdir x.lock"
	}
	return "rm -f x.lock"
}

// scriptText tries at each line from stdin until it holds, and lets go at the one after that.
func scriptText(way string) string {
	return fmt.Sprintf(`
while read -r word; do
	if %s; then
		trap '%s' EXIT
		echo held
		read -r word
		exit 0
	fi
	echo refused
done`, takes[way], letsGo(way))
}

func startScript(t testing.TB, m *mount, shell, way string) *script {
	t.Helper()
	argv := []string{need(t, shell), "-c", scriptText(way)}
	if shell == "busybox" {
		argv = []string{need(t, shell), "sh", "-c", scriptText(way)}
	}
	return startShell(t, m, argv...)
}

func startShell(t testing.TB, m *mount, argv ...string) *script {
	t.Helper()
	s := &script{cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan string, 4)}
	s.cmd.Dir = m.dir
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	t.Cleanup(s.end)
	return s
}

func (s *script) end() {
	s.stdin.Close()
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// try returns what comes of the script's next try.
func (s *script) try(t testing.TB) string {
	t.Helper()
	if _, err := io.WriteString(s.stdin, "try\n"); err != nil {
		t.Fatal(err)
	}
	return s.line(t)
}

// line is the next line that the script prints.
func (s *script) line(t testing.TB) string {
	t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(readyDeadline):
		t.Fatal("no word of the script")
	}
	return ""
}

func (s *script) mustBe(t testing.TB, want string) {
	t.Helper()
	if got := s.try(t); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func (s *script) wins(t testing.TB) {
	t.Helper()
	waitFor(t, "the script takes the lock", waitDeadline, func() bool { return s.try(t) == "held" })
}

func TestScenario17_ShellScripts(t *testing.T) {
	for _, shell := range []string{"dash", "bash", "busybox"} {
		for way := range takes {
			t.Run(shell+" "+way, func(t *testing.T) {
				t.Parallel()
				scenario{17, "shell scripts: " + shell + ", " + way}.quietly(t, func(r *run) { scriptsExclude(r, shell, way) })
			})
		}
	}
}

func scriptsExclude(r *run, shell, way string) {
	m := newMount(r)
	run := func() *script { return startScript(r, m, shell, way) }
	first, second := run(), run()
	first.mustBe(r, "held")
	second.mustBe(r, "refused")
	if got := removeAs(r, nil, m.path("x.lock")); got != syscall.EBUSY && got != syscall.EISDIR {
		r.Errorf("a stranger removes it: %v", got)
	}
	second.mustBe(r, "refused")
	io.WriteString(first.stdin, "go\n") // its trap lets go
	first.cmd.Wait()
	if m.exists("x.lock") {
		r.Errorf("x.lock is there after its script ended")
	}
	second.mustBe(r, "held")
	third := run()
	third.mustBe(r, "refused")
	second.cmd.Process.Kill()
	second.cmd.Wait()
	third.wins(r)
	third.end()
}

// A subshell and a program in the background act for their script, and that ends: what says nothing of who made it stays.
func TestLockOfAScriptThatEnded(t *testing.T) {
	m := newMount(t)
	for _, script := range []string{"mkdir x.lock; true", "(mkdir y.lock; sleep 0.1) & wait"} {
		shell(t, m.dir, "sh -c '"+script+"'")
	}
	for _, name := range []string{"x.lock", "y.lock"} {
		if !m.exists(name) {
			t.Errorf("%s went with the script that made it", name)
		}
		if out, err := exec.Command("mkdir", m.path(name)).CombinedOutput(); err == nil {
			t.Errorf("%s has a second winner: %s", name, out)
		}
		shell(t, m.dir, "rmdir "+name)
	}
}

// A lock that names the script belongs to the script, whoever wrote it: programs that make it for the script end at once.
func TestLockNamesTheScript(t *testing.T) {
	for name, take := range map[string]string{
		"cp":          `echo $$ > mine && cp --update=none mine x.lock 2>/dev/null || cp -n mine x.lock`,
		"dd":          `echo $$ | dd conv=excl of=x.lock status=none`,
		"child shell": `sh -c 'set -C; echo $PPID > x.lock; true'`,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			s := startShell(t, m, "bash", "-c", take+"; echo held; read -r word; rm -f x.lock; echo gone; read -r word")
			if line := s.line(t); line != "held" {
				t.Fatalf("%q", line)
			}
			m.mustBeHeldBy(t, "x.lock", s.cmd.Process.Pid)
			if got := removeAs(t, nil, m.path("x.lock")); got != syscall.EBUSY {
				t.Errorf("a stranger removes it: %v", got)
			}
			if line := s.try(t); line != "gone" || m.exists("x.lock") {
				t.Errorf("%q; it is there: %t", line, m.exists("x.lock"))
			}
		})
	}
}

// A script that asks whether the PID in the lock lives must not take a living script for dead, nor a dead one's for alive.
func TestScriptsThatAskWhetherThePIDLives(t *testing.T) {
	m := newMount(t)
	holder := startScript(t, m, "bash", "noclobber")
	holder.mustBe(t, "held")
	asks := `if kill -0 "$(cat x.lock)" 2>/dev/null; then echo alive; else echo dead; fi`
	if got := shell(t, m.dir, asks); got != "alive" {
		t.Errorf("a living script's lock looks %s", got)
	}
	holder.cmd.Process.Kill()
	holder.cmd.Wait()
	waitFor(t, "the killed script's lock goes", waitDeadline, func() bool { return !m.exists("x.lock") })
	if got := shell(t, m.dir, "ls"); strings.Contains(got, "x.lock") {
		t.Errorf("listed: %q", got)
	}
}
