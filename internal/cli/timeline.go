package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
	"sessionlockfs/internal/timeline"
	"sessionlockfs/lockmgr"
)

// TimelineQuery says what to draw, and where to.
type TimelineQuery struct {
	Since  string // how long ago, or when; from the first event that is kept if empty
	Until  string // likewise; now if empty
	Lock   string // only locks whose path in the mount matches it
	Output string // a file whose name says what it is, .svg or .html; "" and - for an SVG on standard output
}

// Timeline draws who held which lock of the mount at, or around, a directory when.
func Timeline(ctx context.Context, dir string, q TimelineQuery, out io.Writer) error {
	render, err := q.renderer(out)
	if err != nil {
		return err
	}
	b, err := q.builder(time.Now())
	if err != nil {
		return err
	}
	root, device, err := mountAt(dir)
	if err != nil {
		return err
	}
	if err := addEvents(ctx, root, device, b); err != nil {
		return err
	}
	addHeld(ctx, root, b)
	picture := render(b.History(timeline.MostLanes), "Locks of "+root)
	if q.toStdout() {
		_, err = out.Write(picture)
		return err
	}
	return os.WriteFile(q.Output, picture, 0o666)
}

func (q TimelineQuery) toStdout() bool { return q.Output == "" || q.Output == "-" }

// renderer goes by the name of the file.
func (q TimelineQuery) renderer(out io.Writer) (func(*timeline.History, string) []byte, error) {
	switch ext := filepath.Ext(q.Output); {
	case q.toStdout() && isTerminal(out):
		return nil, fmt.Errorf("%w: a picture is no use in a terminal: want -o FILE.svg or -o FILE.html", ErrUsage)
	case q.toStdout() || ext == ".svg":
		return timeline.SVG, nil
	case ext == ".html" || ext == ".htm":
		return timeline.HTML, nil
	}
	return nil, fmt.Errorf("%w: -o %s: want a name that ends in .svg or .html", ErrUsage, Printable(q.Output))
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (q TimelineQuery) builder(now time.Time) (*timeline.Builder, error) {
	from, err := moment("--since", q.Since, now)
	if err != nil {
		return nil, err
	}
	to, err := moment("--until", q.Until, now)
	if err != nil {
		return nil, err
	}
	if q.Until == "" || to.After(now) { // nobody knows how it goes on
		to = now
	}
	if !from.Before(to) {
		return nil, fmt.Errorf("%w: --since %q is not before --until %q", ErrUsage, q.Since, q.Until)
	}
	if _, err := path.Match(q.Lock, ""); err != nil {
		return nil, fmt.Errorf("%w: --lock %q: %w", ErrUsage, q.Lock, err)
	}
	shown := func(lock string) bool { return q.Lock == "" || matches(q.Lock, lock) }
	return timeline.NewBuilder(from.In(now.Location()), to.In(now.Location()), shown), nil
}

// addEvents asks for all that are kept: what is held when a picture begins was granted before.
func addEvents(ctx context.Context, root string, device uint64, b *timeline.Builder) error {
	text, err := keptEvents(ctx, root, device, time.Time{})
	if err != nil {
		return err
	}
	return eachEvent(bytes.NewReader(text), func(_ []byte, ev events.Event) error {
		b.Add(ev)
		return nil
	})
}

// addHeld adds what was granted before the first event that is kept. If nobody can be asked the picture is of events alone.
func addHeld(ctx context.Context, root string, b *timeline.Builder) {
	dump, err := (&source{root: root}).dump(ctx)
	if err != nil {
		return
	}
	for _, l := range dump.Locks {
		if l.State == lockmgr.Held.String() || l.State == lockmgr.UnknownOwner.String() {
			b.Holds(l.Path, uint64(l.Token), processOf(l.Owner), l.CreatedAt)
		}
	}
}

func processOf(o *fsnode.OwnerDump) *events.Process {
	if o == nil {
		return nil
	}
	return &events.Process{PID: o.PID, NSPIDs: o.NSPIDs, UID: o.UID, Comm: o.Comm, Container: o.Container}
}
