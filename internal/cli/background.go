package cli

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/unit"

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

// heard reads a report: warnings, a line each, and then "0", or an exit code and a message.
func heard(report io.Reader, logFile string) error {
	for lines := bufio.NewScanner(report); lines.Scan(); {
		code, message, _ := strings.Cut(lines.Text(), " ")
		if code == warning {
			fmt.Fprintln(os.Stderr, "sessionlockfs:", message)
			continue
		}
		switch n, err := strconv.Atoi(code); {
		case err != nil:
		case n == OK:
			return nil
		case n == Failure:
			return errors.New(message)
		default:
			return &mount.Refusal{Cause: mount.Cause(n), What: message}
		}
	}
	return fmt.Errorf("the mount ended before it was ready: see %s", logFile)
}

// warning is the first word of a line of the report that is no end of it.
const warning = "warning"

// Reporter tells whoever waits in Background how the start goes. In the foreground
// nobody waits, and it does nothing.
type Reporter struct{ pipe *os.File }

// NewReporter finds out whether somebody waits.
func NewReporter() *Reporter {
	fd, err := strconv.Atoi(os.Getenv(readyVariable))
	if err != nil {
		return &Reporter{}
	}
	os.Unsetenv(readyVariable)
	syscall.CloseOnExec(fd)
	return &Reporter{os.NewFile(uintptr(fd), "report")}
}

// Warn passes on what a person should see and the start can go on with.
func (r *Reporter) Warn(message string) {
	if r.pipe != nil {
		fmt.Fprintln(r.pipe, warning, oneLine(message))
	}
}

// End reports how the start went.
func (r *Reporter) End(err error) {
	if r.pipe == nil {
		return
	}
	if err == nil {
		fmt.Fprintln(r.pipe, OK)
	} else {
		fmt.Fprintln(r.pipe, Exit(err, io.Discard), oneLine(err.Error()))
	}
	r.pipe.Close()
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// LogFile is where a mount in the background logs, unless told otherwise.
func LogFile(dir string) (string, error) {
	logs, err := logDir()
	return filepath.Join(logs, strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")+".log"), err
}

// EventFile is where the events of a mount are kept.
func EventFile(dir string) (string, error) {
	logs, err := logDir()
	return filepath.Join(logs, fileName(unit.UnitNamePathEscape(dir))+".events"), err
}

// longestName leaves room for what is put behind a name: one of a file may have 255 bytes.
const longestName = 200

// fileName cuts a name that is too long, and tells it apart from others that begin in the same way.
func fileName(name string) string {
	if len(name) <= longestName {
		return name
	}
	return fmt.Sprintf("%s-%x", name[:longestName], sha256.Sum256([]byte(name)))[:longestName+1+16]
}

// logDir is where we log: where systemd says, or as is the custom.
func logDir() (string, error) {
	if logs := os.Getenv("LOGS_DIRECTORY"); logs != "" {
		logs, _, _ = strings.Cut(logs, ":")
		return logs, nil
	}
	if os.Geteuid() == 0 {
		return "/var/log/sessionlockfs", nil
	}
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "sessionlockfs"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "sessionlockfs"), err
}
