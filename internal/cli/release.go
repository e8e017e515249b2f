package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
)

// Release takes a lock away on a person's word: an orphan just so, anything else only
// with force.
func Release(lock string, force bool, out io.Writer) error {
	root, rel, err := locate(lock)
	if err != nil {
		return err
	}
	before, err := ReadDump(root)
	if err != nil {
		return err
	}
	command := "release -- " + rel
	if force {
		command = "release --force -- " + rel
	}
	_, err = within(answerWithin, func() ([]byte, error) {
		return nil, writeCommand(root, command)
	})
	if err != nil {
		return refuseRelease(lock, findLock(before, rel), err)
	}
	fmt.Fprintf(out, "released %s\n", Printable(lock))
	return nil
}

// locate splits a lock's path into its mount and the path in it.
func locate(lock string) (root, rel string, err error) {
	path, err := filepath.Abs(lock)
	if err != nil {
		return "", "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", "", refuseRead(filepath.Dir(path), err)
	}
	if at, ok := inMount(dir); ok {
		rel, err := filepath.Rel(at.mountpoint, filepath.Join(dir, filepath.Base(path)))
		return at.mountpoint, rel, err
	}
	return "", "", &mount.Refusal{Cause: mount.NotMounted, What: Printable(lock) + " is in no sessionlockfs mount",
		Advice: "name the lock by its path in the mount"}
}

// writeCommand hands a command to the mount: one write is one command.
func writeCommand(root, command string) error {
	f, err := os.OpenFile(filepath.Join(root, fsnode.ControlDir, "control"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(command + "\n")
	return err
}

func findLock(d fsnode.Dump, path string) *fsnode.LockDump {
	for i := range d.Locks {
		if d.Locks[i].Path == path {
			return &d.Locks[i]
		}
	}
	return nil
}

func refuseRelease(lock string, known *fsnode.LockDump, err error) error {
	name := Printable(lock)
	switch {
	case errors.Is(err, unix.EBUSY):
		what := name + " is held"
		if known != nil {
			what = fmt.Sprintf("%s is %s: %s", name, strings.ReplaceAll(known.State, "_", " "), holder(*known))
		}
		return &mount.Refusal{Cause: mount.InUse, What: what,
			Advice: "if you are sure, take it away with `sessionlockfs release --force " + name + "`"}
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: there is no such lock", name)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: %s can't be named in a command", ErrUsage, name)
	}
	return fmt.Errorf("%s can't be released: %w", name, err)
}
