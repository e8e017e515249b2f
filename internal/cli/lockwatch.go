package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
)

// lookEvery is how often a screen, or whoever reads a pipe, hears of what has changed.
const lookEvery = time.Second

// watchLocks shows the locks until it is told to end, or the mount is gone. A mount that gives no answer may again.
func watchLocks(ctx context.Context, from *source, q LocksQuery, out io.Writer) error {
	show := (&feed{out: out, q: q}).show
	if screen, ok := terminal(out); ok && !q.JSON {
		show = func(dump fsnode.Dump, err error) error { return redraw(screen, from.root, dump, q, err) }
	}
	var dump fsnode.Dump
	answered := false
	for tick := time.NewTicker(lookEvery); ; {
		now, err := from.dump(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			dump, dump.Locks, answered = now, q.filter(now.Locks), true
		case !answered || !passing(from.root, err):
			return refuseRead(from.root, err)
		default:
			err = refuseRead(from.root, err)
		}
		if err := show(dump, err); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// passing tells whether a mount that can't answer now may do so again: its processes are gone or hang, and it is mounted still.
func passing(root string, err error) bool {
	var r *mount.Refusal
	return errors.As(refuseRead(root, err), &r) && r.Cause == mount.Dead
}

// feed tells a program, or a file, of each change.
type feed struct {
	out  io.Writer
	q    LocksQuery
	told string // what it heard last
}

func (f *feed) show(dump fsnode.Dump, failed error) error {
	now := time.Now()
	news := f.gist(dump, failed)
	if news == f.told {
		return nil
	}
	f.told = news
	var text bytes.Buffer
	switch {
	case f.q.JSON && failed != nil: // it is no state of the mount
		return nil
	case f.q.JSON:
		if err := json.NewEncoder(&text).Encode(dump); err != nil {
			return err
		}
	case failed != nil:
		fmt.Fprintf(&text, "%s  %s\n\n", now.Format(time.DateTime), PrintableText(failed.Error()))
	default:
		fmt.Fprintln(&text, now.Format(time.DateTime))
		if err := writeTable(&text, dump.Locks, f.q, now); err != nil {
			return err
		}
		fmt.Fprintln(&text)
	}
	_, err := f.out.Write(text.Bytes())
	return err
}

// gist is what a reader would see, but for what changes all the time: how long ago something was.
func (f *feed) gist(dump fsnode.Dump, failed error) string {
	if failed != nil {
		return failed.Error()
	}
	var b strings.Builder
	fmt.Fprintln(&b, len(dump.Locks))
	for _, l := range dump.Locks {
		fmt.Fprintf(&b, "%q %s %q %d %d %d\n", l.Path, l.State, holder(l), len(l.Contenders), l.RefusedChanges, l.Token)
	}
	return b.String()
}
