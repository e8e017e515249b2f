package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/control"
	"sessionlockfs/internal/events"
)

// EventsQuery says which events to show, and how.
type EventsQuery struct {
	Since  string // how long ago, or when; all that are kept if empty
	Follow bool   // and those to come
	JSON   bool   // as they are
	Lock   string // only of locks whose path in the mount matches it
}

// Events shows what happened to the locks of the mount at, or around, a directory. If it follows them it returns when the mount is no more,
// of which it tells on notes, or whoever waits has had enough.
func Events(ctx context.Context, dir string, q EventsQuery, out, notes io.Writer) error {
	since, err := moment("--since", q.Since, time.Now())
	if err != nil {
		return err
	}
	if _, err := path.Match(q.Lock, ""); err != nil {
		return fmt.Errorf("%w: --lock %q: %w", ErrUsage, q.Lock, err)
	}
	root, device, err := mountAt(dir)
	if err != nil {
		return err
	}
	show := func(line []byte, ev events.Event) error { return q.show(line, ev, since, out) }
	if q.Follow {
		f := follower{root: root, device: device, client: control.Dial(device), from: events.From{Since: since}, show: show}
		return f.follow(ctx, notes)
	}
	text, err := keptEvents(ctx, root, device, since)
	if err != nil {
		return err
	}
	return eachEvent(bytes.NewReader(text), show)
}

// show shows an event, if it is asked for.
func (q EventsQuery) show(line []byte, ev events.Event, since time.Time, out io.Writer) (err error) {
	if ev.Time.Before(since) || q.Lock != "" && !matches(q.Lock, ev.Lock) {
		return nil
	}
	if q.JSON {
		_, err = fmt.Fprintf(out, "%s\n", events.Escape(line))
	} else {
		_, err = fmt.Fprintln(out, describeEvent(ev))
	}
	return err
}

// keptEvents asks the mount's socket, and where that can't be reached, as in a container, what the mount has in memory. All of it is read
// before any is shown: who pages through it may take an hour.
func keptEvents(ctx context.Context, root string, device uint64, since time.Time) (text []byte, err error) {
	text, err = askEvents(ctx, device, since)
	var failure *control.Failure
	switch {
	case err == nil || ctx.Err() != nil || errors.As(err, &failure):
		return text, err
	case errors.Is(err, errStuck):
		return nil, refuseRead(root, err)
	}
	text, err = within(answerWithin, func() ([]byte, error) { return os.ReadFile(filepath.Join(root, fsnode.ControlDir, "events")) })
	if err != nil {
		return nil, refuseRead(root, err)
	}
	return text, nil
}

// askEvents gives up, with errStuck, when nothing comes for too long.
func askEvents(ctx context.Context, device uint64, since time.Time) (text []byte, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(answerWithin, func() { cancel(errStuck) })
	defer timer.Stop()
	body, err := control.Dial(device).Events(ctx, since, false)
	if err == nil {
		defer body.Close()
		text, err = io.ReadAll(watched{body, timer})
	}
	if err != nil && context.Cause(ctx) == errStuck {
		err = errStuck
	}
	return text, err
}

// watched puts a timer off with all that is read.
type watched struct {
	io.Reader
	timer *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	w.timer.Reset(answerWithin)
	return w.Reader.Read(p)
}

// mountAt finds the mount at, or around, a directory, without asking it anything.
func mountAt(dir string) (root string, device uint64, err error) {
	abs, err := absolute(dir)
	if err != nil {
		return "", 0, err
	}
	if at, ok := inMount(abs); ok {
		return at.mountpoint, at.device, nil
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
		return mountAt(real)
	}
	return "", 0, refuseRead(dir, os.ErrNotExist)
}

// moment is what a person means by "since" or "until": how long ago, or when.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %s %q: want how long ago, as 90m, or when, as 2006-01-02 15:04:05", ErrUsage, flag, text)
}

// matches goes by the whole path, or by the name alone where the pattern has no slash.
func matches(pattern, lock string) bool {
	if !strings.Contains(pattern, "/") {
		lock = path.Base(lock)
	}
	ok, _ := path.Match(pattern, lock)
	return ok
}

// eachEvent does something for each event, until there are no more.
func eachEvent(in io.Reader, do func(line []byte, ev events.Event) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var ev events.Event
		if json.Unmarshal(lines.Bytes(), &ev) != nil {
			continue
		}
		if err := do(lines.Bytes(), ev); err != nil {
			return err
		}
	}
	return lines.Err()
}

// describeEvent is a line for a person.
func describeEvent(ev events.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-9s", ev.Time.Local().Format("2006-01-02 15:04:05.000"), PrintableText(strings.ReplaceAll(ev.Event, "_", " ")))
	if ev.Lock != "" {
		fmt.Fprintf(&b, "  %s", Printable(ev.Lock))
	}
	if ev.Owner != nil {
		fmt.Fprintf(&b, "  %s", someone(ev.Owner))
	}
	if ev.Held > 0 {
		fmt.Fprintf(&b, ", held for %s", Span(time.Duration(ev.Held*float64(time.Second))))
	}
	switch {
	case ev.Act != "":
		fmt.Fprintf(&b, "; %s", PrintableText(ev.Act))
	case ev.Write != "":
		fmt.Fprintf(&b, "; %s", PrintableText(ev.Write))
	}
	if ev.By != nil {
		fmt.Fprintf(&b, " by %s", someone(ev.By))
	}
	if ev.Denied {
		b.WriteString(", denied")
	}
	if ev.Reason != "" {
		fmt.Fprintf(&b, ": %s", PrintableText(ev.Reason))
	}
	if ev.Server != 0 {
		fmt.Fprintf(&b, "  server %d", ev.Server)
	}
	if ev.Missing != 0 {
		fmt.Fprintf(&b, "  %d events", ev.Missing)
	}
	return b.String()
}

func someone(p *events.Process) string {
	name := "process" // of which nothing else is known
	if p.Comm != "" {
		name = Printable(p.Comm)
	}
	text := fmt.Sprintf("%s %d", name, p.PID)
	if n := len(p.NSPIDs); n > 1 {
		text += fmt.Sprintf(" (%d in its container)", p.NSPIDs[n-1])
	}
	return text
}
