package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/control"
)

// ProbeCommand is the hidden command that runs Probe, in a process that we can leave behind: whoever waits for a server that
// has taken the request and hangs can't be killed, and neither could we.
const ProbeCommand = "probe"

// Probe asks a mount for what only its server can answer.
func Probe(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil { // the kernel answers who may not come in, without a word to the server
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	err := unix.Lstat(filepath.Join(dir, fsnode.ControlDir, fsnode.ProbeName), &st)
	if err == unix.ENOENT || err == unix.EACCES {
		return nil
	}
	return err
}

// WriteProbe says what came of Probe, for askMount to read.
func WriteProbe(dir string) string {
	var errno unix.Errno
	errors.As(Probe(dir), &errno)
	return strconv.Itoa(int(errno))
}

// pulse is what a mount does when it is asked.
type pulse uint8

const (
	answers pulse = iota
	private       // it is another user's, and not for us
	dead          // its processes are gone
	silent        // no answer comes
	failing       // the answer is an error
)

// answerWithin is how long a mount may take. Its own watchdog is more patient (mount.DefaultHangLimit).
const answerWithin = 3 * time.Second

// askMount feels a mount's pulse. The error is what a failing one answers.
func askMount(dir string) (pulse, error) {
	cmd := exec.Command("/proc/self/exe", ProbeCommand, "--", dir)
	cmd.Dir = "/"
	said := make(chan string, 1)
	go func() {
		out, _ := cmd.Output()
		said <- string(bytes.TrimSpace(out))
	}()
	select {
	case text := <-said:
		return pulseOf(text)
	case <-time.After(answerWithin):
		return silent, nil
	}
}

func pulseOf(probed string) (pulse, error) {
	n, err := strconv.Atoi(probed)
	if err != nil {
		return failing, fmt.Errorf("it could not be asked: %q", probed)
	}
	switch errno := unix.Errno(n); errno {
	case 0:
		return answers, nil
	case unix.EACCES:
		return private, nil
	case unix.ENOTCONN, unix.ECONNABORTED:
		return dead, nil
	default:
		return failing, errno
	}
}

// askSocket has a mount tell of its locks past the mount. The error says what is wrong with the socket.
func askSocket(device uint64) (*fsnode.Dump, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	text, err := control.Dial(device).Get(ctx, "locks")
	if err != nil {
		return nil, err
	}
	dump := &fsnode.Dump{}
	return dump, json.Unmarshal(text, dump)
}

// serverOf is the PID of the server of a mount that does not answer, 0 if it can't be told.
func serverOf(device uint64) int {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	pid, _ := control.Server(ctx, device)
	return int(pid)
}

// waiting is how many requests to a mount have no answer, -1 if that can't be seen.
func waiting(device uint64) int {
	file := fmt.Sprintf("%d/waiting", unix.Minor(device)) // a connection is called after its device: fuse.rst
	content, err := os.ReadFile("/sys/fs/fuse/connections/" + file)
	if err != nil {
		content = readConnection(file)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return -1
	}
	return n
}

// readConnection reads a file of the FUSE control file system where nobody has mounted it, which systemd does. It is
// mounted for us alone, and nowhere.
func readConnection(file string) []byte {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil
	}
	defer unix.Close(fs)
	if unix.FsconfigCreate(fs) != nil {
		return nil
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	content, _ := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s", dir, file))
	return content
}

// within gives up on what may hang; it goes on in the background. ok is false then.
func within[T any](limit time.Duration, call func() T) (result T, ok bool) {
	done := make(chan T, 1)
	go func() { done <- call() }()
	select {
	case result = <-done:
		return result, true
	case <-time.After(limit):
		return result, false
	}
}
