package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
)

// answerWithin is how long a mount may take to answer before we call it stuck.
const answerWithin = 5 * time.Second

// ReadDump reads the state of the locks of the mount at, or around, a directory.
func ReadDump(dir string) (fsnode.Dump, error) {
	var dump fsnode.Dump
	text, err := within(answerWithin, func() ([]byte, error) {
		return os.ReadFile(filepath.Join(dir, fsnode.ControlDir, "locks"))
	})
	if err != nil {
		return dump, refuseRead(dir, err)
	}
	if err := json.Unmarshal(text, &dump); err != nil {
		return dump, fmt.Errorf("%s answers what this version does not understand: %w", dir, err)
	}
	return dump, nil
}

var errStuck = errors.New("no answer")

// reading is what came of one.
type reading struct {
	text []byte
	err  error
}

// within gives up on a call that takes too long; it goes on in the background.
func within(limit time.Duration, call func() ([]byte, error)) ([]byte, error) {
	done := make(chan reading, 1)
	go func() {
		text, err := call()
		done <- reading{text, err}
	}()
	select {
	case a := <-done:
		return a.text, a.err
	case <-time.After(limit):
		return nil, errStuck
	}
}

func refuseRead(dir string, err error) error {
	switch {
	case errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED):
		return &mount.Refusal{Cause: mount.Dead, What: dir + " is a dead mount: its process is gone",
			Advice: fmt.Sprintf("clear it with `sessionlockfs unmount %s`", dir)}
	case errors.Is(err, fs.ErrPermission):
		return &mount.Refusal{Cause: mount.NoFUSE, What: "the locks of " + dir + " are not for you",
			Advice: "only root and the user who mounted it may look"}
	case errors.Is(err, errStuck):
		return &mount.Refusal{Cause: mount.Dead, What: fmt.Sprintf("%s gives no answer within %s", dir, answerWithin),
			Advice: "its process hangs; see its log"}
	}
	return &mount.Refusal{Cause: mount.NotMounted, What: dir + " is not a sessionlockfs mount",
		Advice: fmt.Sprintf("`sessionlockfs mount %s` makes it one", dir)}
}

// Locks shows the locks of the mount at, or around, a directory, as a table or as the mount's own JSON.
func Locks(ctx context.Context, dir string, q LocksQuery, out io.Writer) error {
	if err := q.check(); err != nil {
		return err
	}
	from, err := openSource(dir)
	if err != nil {
		return err
	}
	if q.Watch {
		return watchLocks(ctx, from, q, out)
	}
	dump, err := from.dump(ctx)
	if err != nil {
		return refuseRead(from.root, err)
	}
	if dump.Locks = q.filter(dump.Locks); q.JSON {
		return writeJSON(out, dump)
	}
	return writeTable(out, dump.Locks, q, time.Now())
}

func writeTable(out io.Writer, locks []fsnode.LockDump, q LocksQuery, now time.Time) error {
	if len(locks) == 0 {
		_, err := fmt.Fprintln(out, q.none())
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LOCK\tSTATE\tHOLDER\tFOR\tWAITING\tREFUSED\tTOKEN")
	for _, l := range locks {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", Printable(l.Path), l.State, holder(l), age(l.CreatedAt, now),
			len(l.Contenders), l.RefusedChanges, token(l))
	}
	return w.Flush()
}

// PrintableText is Printable for a sentence, which has blanks.
func PrintableText(text string) string {
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}

// Printable keeps a hostile name from doing anything to a terminal.
func Printable(name string) string {
	quoted := strconv.Quote(name)
	if quoted == `"`+name+`"` && !strings.Contains(name, " ") {
		return name
	}
	return quoted
}

func holder(l fsnode.LockDump) string {
	switch {
	case l.Owner == nil && l.State == "untracked":
		return Printable(l.Verdict + ": " + l.Reason)
	case l.Owner == nil:
		return "unknown"
	}
	text := fmt.Sprintf("%s %d", Printable(l.Owner.Comm), l.Owner.PID)
	if n := len(l.Owner.NSPIDs); n > 1 {
		text += fmt.Sprintf(" (%d in its container)", l.Owner.NSPIDs[n-1])
	}
	if l.State != "held" {
		text += ", dead"
	}
	return text
}

func token(l fsnode.LockDump) string {
	if l.Token == 0 {
		return "-"
	}
	return strconv.FormatUint(uint64(l.Token), 10)
}

// age is how long ago something was.
func age(since, now time.Time) string { return Span(max(now.Sub(since), 0)) }

// Span is a duration in at most two units, as people say it.
func Span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Truncate(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
