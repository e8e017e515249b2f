package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"sessionlockfs/fsnode/mount"
)

// Processes tells who uses a mounted file system, by its device number.
type Processes interface {
	Users(dev uint64) []string
	MountHolders(dev uint64) []string
}

// Unmount ends a mount, says who is in the way if it is in use, and who still has it
// if another mount namespace does.
func Unmount(dir string, p Processes, out io.Writer) error {
	path, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	top, _ := mount.Top(path)
	if err := mount.Unmount(dir); err != nil {
		return WithUsers(err, p, top.Device)
	}
	if top.Device == 0 {
		return nil
	}
	if holders := p.MountHolders(top.Device); len(holders) > 0 {
		fmt.Fprintf(out, "unmounted here; it goes on being served for %s, and can be mounted again when they let go\n",
			strings.Join(holders, ", "))
	}
	return nil
}

// WithUsers adds to a refusal to unmount who is in the way.
func WithUsers(err error, p Processes, dev uint64) error {
	var r *mount.Refusal
	if !errors.As(err, &r) || r.Cause != mount.InUse {
		return err
	}
	users := p.Users(dev)
	if len(users) == 0 {
		return err
	}
	const most = 8
	text := strings.Join(users[:min(most, len(users))], ", ")
	if more := len(users) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return &mount.Refusal{Cause: r.Cause, What: r.What + " by " + text, Advice: r.Advice}
}
