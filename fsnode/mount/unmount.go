package mount

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

const (
	// patience is how long a mount that is in use is tried again: what somebody did a
	// moment ago may hold it for an instant.
	patience = time.Second
	pause    = 5 * time.Millisecond // between two tries
)

// Unmount ends a mount of ours, or clears a dead one. The error is a *Refusal.
func Unmount(dir string) error {
	path, err := pointOf(dir)
	if err != nil {
		return err
	}
	if isDead(path) {
		return detach(path)
	}
	err = unmount(path, 0)
	if err == unix.EBUSY {
		askToWithdraw(path)
	}
	for end := time.Now().Add(patience); err == unix.EBUSY && time.Now().Before(end); err = unmount(path, 0) {
		time.Sleep(pause)
	}
	if err != nil {
		return refuseUnmount(path, err)
	}
	return nil
}

// askToWithdraw tells the mount's process, which may be the one in the way: it removes
// locks through the mount. For others than who mounted it, who may not write there, it has
// to be quick by itself.
func askToWithdraw(path string) {
	_ = inTime(func() error {
		control, err := os.OpenFile(filepath.Join(path, fsnode.ControlDir, "control"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer control.Close()
		_, err = control.WriteString(fsnode.CommandWithdraw)
		return err
	})
}

// inTime asks a mount for something, which may never answer. The error is ETIMEDOUT then.
func inTime(ask func() error) error {
	answer := make(chan error, 1)
	go func() { answer <- ask() }()
	select {
	case err := <-answer:
		return err
	case <-time.After(patience):
		return unix.ETIMEDOUT
	}
}

// pointOf finds the mount of ours at a path, without asking the mount itself.
func pointOf(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(parent, filepath.Base(path))
	}
	if _, mounted := Top(path); !mounted { // so it is safe to look at
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
	}
	if top, ok := Top(path); !ok || top.Type != FSType {
		return "", &Refusal{Cause: NotMounted, What: path + " is not a sessionlockfs mount",
			Advice: fmt.Sprintf("`sessionlockfs mount %s` makes it one", path)}
	}
	return path, nil
}

// isDead reports whether the mount's process is gone.
func isDead(path string) bool {
	err := inTime(func() error {
		var st unix.Statfs_t
		return unix.Statfs(path, &st)
	})
	return err == unix.ENOTCONN || err == unix.ECONNABORTED
}

// detach takes a dead mount away, whoever still stands in it: nothing in it answers.
func detach(path string) error {
	if err := unmount(path, unix.MNT_DETACH); err != nil {
		return &Refusal{Cause: Dead, What: "the dead mount " + path + " can't be cleared", Err: err,
			Advice: "as root: umount -l " + path}
	}
	return nil
}

func unmount(path string, flags int) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(path, flags)
	}
	args := []string{"-u", path}
	if flags&unix.MNT_DETACH != 0 {
		args = []string{"-u", "-z", path}
	}
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if strings.Contains(string(out), "busy") {
		return unix.EBUSY
	}
	return fmt.Errorf("%s", strings.TrimSpace(string(out)))
}

func refuseUnmount(path string, err error) error {
	if err != unix.EBUSY {
		return &Refusal{Cause: NoFUSE, What: "can't unmount " + path, Err: err,
			Advice: "only root and the user who mounted it may"}
	}
	return &Refusal{Cause: InUse, What: path + " is in use", Advice: "end what uses it and try again"}
}
