package mount

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
	// What we or somebody else did a moment ago may still hold it for an instant.
	for wait := time.Millisecond; ; wait *= 2 {
		err := unmount(path, 0)
		if err == nil {
			return nil
		}
		if wait > 500*time.Millisecond {
			return refuseUnmount(path, err)
		}
		time.Sleep(wait)
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
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
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
