package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/control"
	"sessionlockfs/internal/events"
)

// follow tells of events as they come, whatever becomes of the server meanwhile.
func (s *source) follow(ctx context.Context, since time.Time, tell chan<- newsMsg) {
	send := func(msg newsMsg) error {
		select {
		case tell <- msg:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for ctx.Err() == nil {
		in, err := s.client().Events(ctx, since, true)
		if err != nil {
			_ = send(newsMsg{err: fmt.Errorf("the control socket can't be reached: %w", innermost(err))})
		} else {
			_ = send(newsMsg{})
			_ = eachEvent(in, func(_ []byte, ev events.Event) error {
				since = ev.Time.Add(time.Nanosecond)
				return send(newsMsg{events: []events.Event{ev}})
			})
			in.Close()
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
	}
}

// history are the last events of a lock that are kept.
func (s *source) history(ctx context.Context, lock string) (all []events.Event, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errStuck)
	defer cancel()
	top, _ := mount.Top(s.root)
	text, err := keptEvents(ctx, s.root, top.Device, time.Time{})
	if err != nil {
		return nil, err
	}
	err = eachEvent(bytes.NewReader(text), func(_ []byte, ev events.Event) error {
		if ev.Lock == lock {
			all = append(all[max(0, len(all)-keptHistory):], ev)
		}
		return nil
	})
	return all, err
}

// release has the mount take a lock away: on its socket, or where nobody hears that, by its control file.
func (s *source) release(ctx context.Context, lock string, force bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errStuck)
	defer cancel()
	command := "release -- " + lock
	if force {
		command = "release --force -- " + lock
	}
	err := s.client().Command(ctx, command)
	if unheard(err) {
		_, err = within(answerWithin, func() ([]byte, error) { return nil, writeCommand(s.root, command) })
	}
	var no *control.Failure
	switch {
	case ctx.Err() != nil, errors.Is(err, errStuck):
		return errors.New("no answer; it may be, when the mount goes on")
	case errors.As(err, &no):
		return no
	case errors.Is(err, unix.EBUSY):
		return errors.New("somebody holds it now")
	case errors.Is(err, os.ErrNotExist):
		return errors.New("there is no such lock")
	}
	return innermost(err)
}

// unheard tells that a question did not get to the mount: there is no socket, nobody behind it, or it is not for us.
func unheard(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial"
}

// innermost is what the system said, without who passed it on.
func innermost(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}
