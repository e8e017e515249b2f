package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/control"
	"sessionlockfs/internal/events"
)

const (
	firstPause = 20 * time.Millisecond  // before another server is looked for; a takeover takes some 10 ms
	mostPause  = 500 * time.Millisecond // the same later
	maybeDead  = 2 * time.Second        // after that long it is looked whether there will be another server, or a first one's socket
)

// follower goes on with what happens, from one server of a mount to the next.
type follower struct {
	root   string
	device uint64
	client *control.Client
	from   events.From // where to go on
	show   func(line []byte, ev events.Event) error

	before bool // a server has answered
}

// follow shows events until the mount is no more.
func (f *follower) follow(ctx context.Context, notes io.Writer) error {
	pause, alone := firstPause, time.Now()
	for {
		err := f.stream(ctx, func() { pause, alone = firstPause, time.Time{} })
		if alone.IsZero() {
			alone = time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case f.isFinal(err, alone):
			return f.refuse(err)
		case !mount.Mounted(f.device):
			fmt.Fprintf(notes, "sessionlockfs: %s is not mounted any more\n", Printable(f.root))
			return nil
		case time.Since(alone) > maybeDead:
			if err := f.probe(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, mostPause)
	}
}

// notShown is that what comes can't be shown.
type notShown struct{ error }

// stream shows what one server tells, until that ends. answered is called when it begins to.
func (f *follower) stream(ctx context.Context, answered func()) error {
	in, err := f.client.EventsFrom(ctx, f.from, true)
	if err != nil {
		return err
	}
	defer in.Close()
	f.before = true
	answered()
	return eachEvent(in, func(line []byte, ev events.Event) error {
		if err := f.show(line, ev); err != nil {
			return notShown{err}
		}
		f.from.Saw(ev)
		return nil
	})
}

// isFinal reports whether another try would come to the same. A mount that was made a moment ago has no socket yet.
func (f *follower) isFinal(err error, alone time.Time) bool {
	var failure *control.Failure
	return errors.As(err, new(notShown)) || errors.As(err, &failure) || errors.Is(err, fs.ErrPermission) ||
		!f.before && errors.Is(err, fs.ErrNotExist) && time.Since(alone) > maybeDead
}

func (f *follower) refuse(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return refuseRead(f.root, err)
	case errors.Is(err, fs.ErrNotExist) && mount.Mounted(f.device):
		return &mount.Refusal{Cause: mount.NoFUSE, What: Printable(f.root) + " has no control socket here",
			Advice: "follow it as who mounted or root, and outside of containers; without --follow the last events are there all the same"}
	case errors.Is(err, fs.ErrNotExist):
		return refuseRead(f.root, err)
	}
	return err
}

// probe finds out whether the mount is dead: then nobody will come who tells more. One that hangs is waited for.
func (f *follower) probe() error {
	_, err := within(answerWithin, func() ([]byte, error) {
		var st unix.Statfs_t
		return nil, unix.Statfs(f.root, &st)
	})
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
		return refuseRead(f.root, err)
	}
	return nil
}
