package cli

import (
	"context"
	"errors"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Top shows the locks of the mount at, or around, a directory, on the whole screen, until somebody has seen enough. Where it can't
// draw it writes a table for each change instead.
func Top(ctx context.Context, dir string, out io.Writer) error {
	from, err := openSource(dir)
	if err != nil {
		return err
	}
	if _, ok := terminal(out); !ok {
		return watchLocks(ctx, from, LocksQuery{Watch: true}, out)
	}
	dump, err := from.dump(ctx)
	if err != nil {
		return refuseRead(from.root, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newTop(from.root, dumpMsg{at: time.Now(), dump: dump}, asksOf(ctx, from))
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(out)).Run()
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// lookBack is how far back the first events may lie: a screen that says what just happened is of use at once.
const lookBack = 5 * time.Minute

// asksOf has a mount answer.
func asksOf(ctx context.Context, from *source) asks {
	heard := make(chan newsMsg, 1024)
	go from.follow(ctx, time.Now().Add(-lookBack), heard)
	return asks{
		dump: func() tea.Msg {
			dump, err := from.dump(ctx)
			return dumpMsg{time.Now(), dump, err}
		},
		news: func() tea.Msg { return gather(ctx, heard) },
		history: func(lock string) tea.Cmd {
			return func() tea.Msg {
				all, err := from.history(ctx, lock)
				return historyMsg{lock, all, err}
			}
		},
		release: func(lock string, force bool) tea.Cmd {
			return func() tea.Msg { return releasedMsg{lock, from.release(ctx, lock, force)} }
		},
	}
}

// gatherFor is how long more news are waited for when there are some: nobody reads faster, and a screen drawn for each of
// thousands is drawn for nobody.
const gatherFor = 100 * time.Millisecond

// gather waits for news and gives what comes with them.
func gather(ctx context.Context, heard <-chan newsMsg) tea.Msg {
	var all newsMsg
	var enough <-chan time.Time
	for {
		select {
		case msg := <-heard:
			all.events, all.err = append(all.events, msg.events...), msg.err
			if enough == nil {
				enough = time.After(gatherFor)
			}
		case <-enough:
			return all
		case <-ctx.Done():
			return nil
		}
	}
}
