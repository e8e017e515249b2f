package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"sessionlockfs/fsnode/mount"
)

// readyVariable tells a mount in the background which descriptor to report on.
const readyVariable = "SESSIONLOCKFS_READY_FD"

// Background runs this program again, apart from the terminal, and returns when it has
// reported: with nil if its mount can be used, else with its error. What it logs goes to
// logFile.
func Background(args []string, logFile string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(logFile), 0o700); err != nil {
		return fmt.Errorf("no place for the log: %w", err)
	}
	sink, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("no place for the log: %w", err)
	}
	defer sink.Close()
	report, child, err := os.Pipe()
	if err != nil {
		return err
	}
	defer report.Close()
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.Stdout, cmd.Stderr = sink, sink
	cmd.ExtraFiles = []*os.File{child}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		child.Close()
		return err
	}
	child.Close()
	return heard(report, logFile)
}

// heard reads the one line of a report: "0", or an exit code and a message.
func heard(report io.Reader, logFile string) error {
	line, err := bufio.NewReader(report).ReadString('\n')
	code, message, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	n, convErr := strconv.Atoi(code)
	switch {
	case err != nil || convErr != nil:
		return fmt.Errorf("the mount ended before it was ready: see %s", logFile)
	case n == OK:
		return nil
	case n == Failure:
		return errors.New(message)
	}
	return &mount.Refusal{Cause: mount.Cause(n), What: message}
}

// Report tells whoever waits in Background how the start went; it does nothing in the
// foreground.
func Report(err error) {
	fd, convErr := strconv.Atoi(os.Getenv(readyVariable))
	if convErr != nil {
		return
	}
	os.Unsetenv(readyVariable)
	pipe := os.NewFile(uintptr(fd), "report")
	defer pipe.Close()
	if err == nil {
		fmt.Fprintln(pipe, OK)
		return
	}
	fmt.Fprintln(pipe, Exit(err, io.Discard), strings.ReplaceAll(err.Error(), "\n", " "))
}

// LogFile is where a mount in the background logs, unless told otherwise.
func LogFile(dir string) (string, error) {
	name := strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-") + ".log"
	if os.Geteuid() == 0 {
		return filepath.Join("/var/log/sessionlockfs", name), nil
	}
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "sessionlockfs", name), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "sessionlockfs", name), err
}
