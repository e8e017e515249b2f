package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/control"
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
	control.Clear(top.Device) // of a mount that was dead
	if holders := Ask(func() []string { return p.MountHolders(top.Device) }); len(holders) > 0 {
		fmt.Fprintf(out, "unmounted here; it goes on being served for %s, and can be mounted again when they let go\n",
			Some(holders))
	}
	return nil
}

// askWithin bounds a walk over all processes: to look at one that is inside execve(2)
// waits for that call, and with it for whatever file system it waits for.
const askWithin = 2 * time.Second

// Ask walks over the processes, and gives up if that hangs: then the answer is empty.
func Ask(walk func() []string) []string {
	answer := make(chan []string, 1)
	go func() { answer <- walk() }()
	select {
	case names := <-answer:
		return names
	case <-time.After(askWithin):
		return nil
	}
}

// WithUsers adds to a refusal to unmount who is in the way.
func WithUsers(err error, p Processes, dev uint64) error {
	var r *mount.Refusal
	if !errors.As(err, &r) || r.Cause != mount.InUse {
		return err
	}
	users := Ask(func() []string { return p.Users(dev) })
	if len(users) == 0 {
		return err
	}
	return &mount.Refusal{Cause: r.Cause, What: r.What + " by " + Some(users), Advice: r.Advice}
}

// Some lists the first names, and how many more there are.
func Some(names []string) string {
	const most = 8
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
