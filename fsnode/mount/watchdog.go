package mount

import (
	"errors"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// DefaultHangLimit is how long a server may owe an answer that costs nothing.
const DefaultHangLimit = 30 * time.Second

const (
	probesPerLimit = 3
	dumpWithin     = 3 * time.Second // a server may take to say what it does
)

// watch asks the mount now and then, as any client would, for something that has to pass through the server. One that owes the
// answer for too long hangs: it says what it does (SIGQUIT has Go print all stacks), and is replaced. While nobody asks for anything it does not
// ask either: an idle mount should do nothing.
func (h *Holder) watch() {
	asked := h.taken.Load()
	for range time.Tick(h.HangLimit / probesPerLimit) {
		if h.taken.Load() == asked && !readable(int(h.connection.Fd()), 0, unix.POLLIN) {
			continue
		}
		if top, mounted := Top(h.Point); !mounted || top.Device != h.dev {
			continue // unmounted here, and served for others
		}
		answered := make(chan struct{})
		go func() {
			h.probe()
			close(answered)
		}()
		select {
		case <-answered:
			asked = h.taken.Load()
			continue
		case <-time.After(h.HangLimit):
		}
		h.orders <- func() { h.hangs(answered) }
		<-answered
	}
}

// probe looks for an entry that is not there.
func (h *Holder) probe() {
	var st unix.Stat_t
	_ = unix.Lstat(filepath.Join(h.Point, fsnode.ControlDir, fsnode.ProbeName), &st)
}

// hangs ends the server, if it is still the one that owes the answer. Run sees to the rest.
func (h *Holder) hangs(answered <-chan struct{}) {
	s := h.current
	select {
	case <-answered:
		return
	case <-s.exited:
		return
	default:
	}
	if time.Since(s.began) < h.HangLimit {
		return
	}
	h.Log.Error().Int("server", s.pid).Err(errHangs).Msg("it is made to say what it does, and replaced")
	_ = unix.Kill(s.pid, unix.SIGQUIT)
	select {
	case <-s.exited:
	case <-time.After(dumpWithin):
		_ = unix.Kill(s.pid, unix.SIGKILL)
	}
}

var errHangs = errors.New("the server gives no answer")
