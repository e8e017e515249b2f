package integration

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperEnv makes the test binary run as one of the helpers below: processes that start in milliseconds.
const helperEnv = "SESSIONLOCKFS_TEST_HELPER"

// helpers end when their stdin does, so none outlives its test. Each prints a line when it has done its part.
var helpers = map[string]func(arguments []string) error{
	"hold":        helpHold,
	"hold-remove": helpHoldRemove,
	"act":         helpAct,
	"hold-many":   helpHoldMany,
	"try":         helpTry,
	"remove":      helpRemove,
	"bystander":   helpBystander,
	"fight":       helpFight,
	"write":       helpWrite,
	"append":      helpAppend,
	"churn":       helpChurn,
	"locking":     helpLocking,
	"call":        helpCall,
	"mkdir":       helpMkdir,
	"difference":  helpDifference,
	"history":     helpHistory,
	"pay":         helpPay,
	"duel":        helpDuel,
	"load":        helpLoad,
	"make":        helpMake,
	"make-link":   helpMakeLink,
	"connect":     helpConnect,
}

func runHelper(name string, arguments []string) int {
	if err := helpers[name](arguments); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func createExclusively(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// makeLock does what clients do: create exclusively, write the payload, keep the handle.
func makeLock(path string) (*os.File, error) {
	file, err := createExclusively(path)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString(payload(os.Getpid(), time.Now()))
	return file, err
}

func untilStdinEnds() { io.Copy(io.Discard, os.Stdin) }

func helpHold(arguments []string) error {
	file, err := makeLock(arguments[0])
	if err != nil {
		return err
	}
	fmt.Println("held")
	untilStdinEnds()
	return file.Close()
}

// helpHoldRemove releases the lock as clients do: closed first, then removed.
func helpHoldRemove(arguments []string) error {
	if err := helpHold(arguments); err != nil {
		return err
	}
	return syscall.Unlink(arguments[0])
}

func helpHoldMany(arguments []string) error {
	count, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	var files []*os.File
	for i := range count {
		file, err := makeLock(fmt.Sprintf(arguments[0], i))
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	fmt.Println("held", len(files))
	untilStdinEnds()
	return nil
}

// helpTry contends without a pause until it wins, then holds.
func helpTry(arguments []string) error {
	fmt.Println("trying")
	for {
		file, err := makeLock(arguments[0])
		if err == nil {
			fmt.Println("won", time.Now().UnixNano())
			untilStdinEnds()
			return file.Close()
		}
		if !os.IsExist(err) {
			return err
		}
	}
}

func helpRemove(arguments []string) error {
	if err := syscall.Unlink(arguments[0]); err != nil {
		fmt.Println(int(err.(syscall.Errno)))
		return nil
	}
	fmt.Println(0)
	return nil
}

// helper is a running one.
type helper struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
	log   *logBuffer
}

func startHelper(t testing.TB, user *syscall.Credential, name string, arguments ...string) *helper {
	t.Helper()
	return startHelperWith(t, name, arguments, &syscall.SysProcAttr{Credential: user})
}

func startHelperWith(t testing.TB, name string, arguments []string, how *syscall.SysProcAttr) *helper {
	t.Helper()
	cmd := commandAs(how.Credential, append([]string{suite.helper}, arguments...)...)
	cmd.SysProcAttr = how
	return startAsHelper(t, cmd, name)
}

// startAsHelper starts a prepared command of suite.helper.
func startAsHelper(t testing.TB, cmd *exec.Cmd, name string) *helper {
	t.Helper()
	h := &helper{cmd: cmd, lines: make(chan string, 16), log: &logBuffer{}}
	h.cmd.Env = append(h.cmd.Environ(), helperEnv+"="+name)
	h.cmd.Stderr = h.log
	var err error
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.lines)
		for said := bufio.NewReader(stdout); ; {
			line, err := said.ReadString('\n')
			if err != nil {
				return
			}
			h.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	t.Cleanup(h.kill)
	return h
}

// line returns the next line the helper prints.
func (h *helper) line(t testing.TB) string {
	t.Helper()
	select {
	case line, ok := <-h.lines:
		if !ok {
			t.Fatalf("helper ended: %s", h.log)
		}
		return line
	case <-time.After(readyDeadline):
		t.Fatalf("no word of the helper")
	}
	return ""
}

// ask says a line to the helper and returns the next one that it prints.
func (h *helper) ask(t testing.TB, question string) string {
	t.Helper()
	if _, err := fmt.Fprintln(h.stdin, question); err != nil {
		t.Fatal(err)
	}
	return h.line(t)
}

// kill may be called again.
func (h *helper) kill() {
	if h.cmd.ProcessState != nil {
		return
	}
	h.cmd.Process.Kill()
	for range h.lines {
	}
	h.cmd.Wait()
}

// removeAs has another process remove a file and returns what came of it.
func removeAs(t testing.TB, user *syscall.Credential, path string) syscall.Errno {
	t.Helper()
	errno, err := strconv.Atoi(startHelper(t, user, "remove", path).line(t))
	if err != nil {
		t.Fatal(err)
	}
	return syscall.Errno(errno)
}

// nobody is an ordinary user.
var nobody = &syscall.Credential{Uid: 65534, Gid: 65534}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func readText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shell runs a script in bash and fails the test if it fails.
func shell(t testing.TB, dir, script string) string {
	t.Helper()
	cmd := command(t, "bash", "-e", "-c", script)
	cmd.Dir = dir
	// No configuration of the machine's user takes part.
	cmd.Env = append(os.Environ(), "HOME="+suite.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}
