package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/control"
	"sessionlockfs/internal/events"
)

// question asks a mount: its control socket, past the mount, or where that can't be reached, as in a container, the control files.
// In this order, because whoever waits in a mount that hangs can't even be killed: a command must not end there that is
// run to find out what hangs.
type question struct {
	where
	client *control.Client
	past   bool // the socket answers
}

func newQuestion(at where) *question { return &question{where: at, client: control.Dial(at.device)} }

// dump asks what is known of all locks.
func (q *question) dump() (d fsnode.Dump, err error) {
	text, err := q.get("locks")
	var failure *control.Failure
	switch {
	case errors.Is(err, errStuck):
		return d, refuseRead(Printable(q.mountpoint), err)
	case errors.As(err, &failure):
		return d, fmt.Errorf("%s can't say what it knows: %s", q.mountpoint, PrintableText(failure.Text))
	case err != nil:
		return ReadDump(q.mountpoint)
	}
	q.past = true
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("%s answers what this version does not understand: %w", q.mountpoint, err)
	}
	return d, nil
}

// get asks the socket. errStuck if somebody is there and gives no answer.
func (q *question) get(what string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	text, err := q.client.Get(ctx, what)
	return text, orStuck(err)
}

func orStuck(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errStuck
	}
	return err
}

var errNoSocket = errors.New("the mount's control socket can't be reached from here")

// payload asks what the lock really holds, and follows links on the way to it.
func (q *question) payload() (*fsnode.PayloadDump, error) {
	if !q.past {
		return nil, errNoSocket
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	d, err := q.client.Payload(ctx, q.path)
	if statusIs(err, http.StatusUnprocessableEntity) && q.follow() {
		return q.payload()
	}
	if err != nil {
		return nil, orStuck(err)
	}
	return &d, nil
}

// follow goes on with the path that the links on it lead to, once.
func (q *question) follow() bool {
	if q.unlinked {
		return false
	}
	at, ok := followed(q.absolute)
	if ok = ok && at.device == q.device; ok {
		q.where = at
	}
	return ok
}

func statusIs(err error, status int) bool {
	var failure *control.Failure
	return errors.As(err, &failure) && failure.Status == status
}

// history gives what happened to the lock since a moment.
func (q *question) history(since time.Time) (of []events.Event, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	in, err := q.openHistory(ctx, since)
	if err != nil {
		return nil, orStuck(err)
	}
	defer in.Close()
	err = eachEvent(in, func(_ []byte, ev events.Event) error {
		if ev.Lock == q.path && !ev.Time.Before(since) {
			of = append(of, ev)
		}
		return nil
	})
	return of, orStuck(err)
}

func (q *question) openHistory(ctx context.Context, since time.Time) (io.ReadCloser, error) {
	if q.past {
		return q.client.Events(ctx, since, false)
	}
	text, err := within(answerWithin, func() ([]byte, error) {
		return os.ReadFile(filepath.Join(q.mountpoint, fsnode.ControlDir, "events"))
	})
	return io.NopCloser(bytes.NewReader(text)), err
}

// lookAtFile finds out what the file says. What can't be told is no error, unless the lock was named wrongly.
func (a *Answer) lookAtFile(q *question) (err error) {
	a.File, err = q.payload()
	a.Path = q.path
	switch {
	case err == nil:
		return nil
	case statusIs(err, http.StatusBadRequest) && strings.Contains(err.Error(), fsnode.ErrDirectory.Error()):
		return refuseDirectory(a.Lock, a.Mountpoint)
	case statusIs(err, http.StatusBadRequest):
		return refuseName(a.Lock, a.Mountpoint)
	case statusIs(err, http.StatusUnprocessableEntity):
		return &mount.Refusal{Cause: mount.NotMounted, What: Printable(a.Lock) + " leads out of the mount over a link",
			Advice: "name the lock by its path without links"}
	case statusIs(err, http.StatusNotFound):
		return &mount.Refusal{Cause: mount.BadDirectory, What: Printable(filepath.Dir(a.Lock)) + " is no directory in the mount",
			Advice: fmt.Sprintf("`sessionlockfs locks %s` shows what locks there are", Printable(a.Mountpoint))}
	}
	a.FileError = err.Error()
	return nil
}

func refuseDirectory(lock, mountpoint string) error {
	return fmt.Errorf("%w: %s is a directory: name a lock in it; `sessionlockfs locks %s` shows them",
		ErrUsage, Printable(lock), Printable(mountpoint))
}

func refuseName(lock, mountpoint string) error {
	return fmt.Errorf("%w: %s has no lock's name (a.jsonl.lock has one, Cargo.lock is data); `sessionlockfs locks %s` shows what locks there are",
		ErrUsage, Printable(lock), Printable(mountpoint))
}
