package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
)

// where is a place in a mount.
type where struct {
	mountpoint string
	device     uint64
	path       string // relative to the mount's root, not to the mountpoint: that may be a bound directory of it
	absolute   string
	unlinked   bool // links on the way were followed
}

// whereIs finds the mount that a path leads into, and looks nothing up in it: to look up a lock makes a contender, and a mount that
// hangs does not answer.
func whereIs(path string) (where, error) {
	abs, err := absolute(path)
	if err != nil {
		return where{}, err
	}
	if at, ok := inMount(abs); ok {
		return at, nil
	}
	if at, ok := followed(abs); ok {
		return at, nil
	}
	return where{}, &mount.Refusal{Cause: mount.NotMounted, What: Printable(path) + " is in no sessionlockfs mount",
		Advice: "name the lock by its path in the mount; `findmnt -t " + mount.FSType + "` lists the mounts"}
}

// absolute is filepath.Abs without a look at $PWD, which may be in a mount that hangs.
func absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	dir, err := unix.Getwd()
	if err != nil {
		return "", fmt.Errorf("the working directory has no path: %w", err)
	}
	return filepath.Join(dir, path), nil
}

// inMount goes by the mount table alone.
func inMount(abs string) (at where, ok bool) {
	for dir := abs; ; dir = filepath.Dir(dir) {
		if top, ok := mount.Top(dir); ok {
			rel, err := filepath.Rel(dir, abs)
			rel = strings.TrimPrefix(filepath.Join(top.Root, rel), "/")
			return where{mountpoint: dir, device: top.Device, path: rel, absolute: abs}, err == nil && top.Type == mount.FSType
		}
		if dir == "/" {
			return where{}, false
		}
	}
}

// followed is inMount with the links followed, but for the last name's: that may be a lock's.
func followed(abs string) (at where, ok bool) {
	dir, err := within(answerWithin, func() ([]byte, error) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
		return []byte(dir), err
	})
	if err != nil || string(dir) == filepath.Dir(abs) {
		return where{}, false
	}
	at, ok = inMount(filepath.Join(string(dir), filepath.Base(abs)))
	at.unlinked = true
	return at, ok
}
