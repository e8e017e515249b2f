package mount

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// Holder holds a mount while servers come and go: the connection to the kernel, the memory that they share, a duplicate of
// every open descriptor, and the real directory with the arbiter's flock. It understands no request, so there is
// little in it that could fail. As long as it lives, a server that dies costs its clients a moment and nothing else.
type Holder struct {
	HolderConfig
	connection *os.File
	remains    *os.File
	taken      fsnode.Taken
	image      *os.File // of the program that serves, whatever is at its path by now
	dev        uint64

	current *served // used by Run only, once that is called, as is standby
	standby *served // is prepared to take over
	era     int     // counts what makes a server that stands by out of date
	orders  chan order
	over    chan struct{} // closed when Run has returned
	pace    pace
	vacant  time.Time // since when nobody serves; zero while somebody does, and before the first

	mu   sync.Mutex // guards kept
	kept map[uint64]fsnode.Kept
}

// HolderConfig is what a Holder is made of.
type HolderConfig struct {
	Point   string // absolute
	Source  *os.File
	Options Options
	Program string   // path of the program that serves, for an upgrade
	Command []string // its arguments
	Log     zerolog.Logger

	HangLimit time.Duration // see DefaultHangLimit
}

// Hold mounts, and has it served. When it returns, the mount can be used. The error is a *Refusal, and nothing is mounted
// then.
func Hold(c HolderConfig) (*Holder, error) {
	h := &Holder{HolderConfig: c, kept: map[uint64]fsnode.Kept{}, orders: make(chan order), over: make(chan struct{})}
	var err error
	if h.remains, err = fsnode.NewRemains(); err != nil {
		return nil, err
	}
	if h.taken, err = fsnode.MapTaken(h.remains); err != nil {
		return nil, err
	}
	if err := h.openProgram(); err != nil {
		return nil, err
	}
	if h.connection, err = connect(c.Point, c.Source.Name(), c.Options); err != nil {
		return nil, err
	}
	if err := h.first(); err != nil {
		h.connection.Close() // so that nobody waits in there
		if e := unmount(h.Point, unix.MNT_DETACH); e != nil {
			h.Log.Error().Err(e).Msg("what was mounted can't be unmounted")
		}
		return nil, err
	}
	return h, nil
}

// first starts the first server.
func (h *Holder) first() error {
	s, err := h.launch(h.image)
	if err != nil {
		return err
	}
	if err := h.takeOver(s); err != nil {
		s.kill()
		return err
	}
	return h.await()
}

const (
	preparedWithin = 30 * time.Second
	readyWithin    = 2 * time.Minute // all locks of the tree are looked at
	answersWithin  = 10 * time.Second
)

// openProgram keeps the program that is at its path now.
func (h *Holder) openProgram() error {
	image, err := os.Open(h.Program)
	if err != nil {
		return fmt.Errorf("the program to serve with: %w", err)
	}
	h.image = image
	return nil
}

// launch starts a server and waits until it can take over.
func (h *Holder) launch(image *os.File) (*served, error) {
	ours, theirs, err := linkPair()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", image.Fd()), h.Command...)
	cmd.Args[0] = h.Program
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), linkVariable+"=3")
	cmd.ExtraFiles = []*os.File{theirs.file, h.connection, h.remains, h.Source}
	err = cmd.Start()
	runtime.KeepAlive(image)
	theirs.close() // or the end of a server that dies before it is prepared would never be heard
	if err != nil {
		ours.close()
		return nil, fmt.Errorf("start the server: %w", err)
	}
	s := &served{
		pid: cmd.Process.Pid, link: ours,
		prepared: make(chan struct{}), ready: make(chan struct{}), deaf: make(chan struct{}), exited: make(chan struct{}),
	}
	go func() {
		_ = cmd.Wait()
		s.state, s.ended = cmd.ProcessState, time.Now()
		close(s.exited)
	}()
	go h.hear(s)
	if err := s.await(s.prepared, preparedWithin); err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

// hear does what a server says, until it is dead and all is heard.
func (h *Holder) hear(s *served) {
	defer close(s.deaf)
	defer s.link.close()
	for {
		m, err := s.link.receiveLazily()
		if err != nil {
			return
		}
		switch m.kind {
		case sayPrepared:
			close(s.prepared)
		case sayReady:
			close(s.ready)
		case sayKeep:
			h.keep(m)
		case sayDrop:
			h.drop(m.number)
		case saySweep:
			go h.sweep(s, m.body)
		case sayFailed:
			s.failed = new(failure)
			_ = json.Unmarshal(m.body, s.failed)
		}
	}
}

func (h *Holder) keep(m message) {
	h.drop(m.number)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept[m.number] = fsnode.Kept{Fh: m.number, About: m.body, Fd: m.fd}
}

func (h *Holder) drop(fh uint64) {
	h.mu.Lock()
	k, is := h.kept[fh]
	delete(h.kept, fh)
	h.mu.Unlock()
	if is && k.Fd >= 0 {
		unix.Close(k.Fd)
	}
}

func (h *Holder) sweep(s *served, body []byte) {
	var what sweeping
	err := json.Unmarshal(body, &what)
	if err == nil {
		err = sweep(h.Point, what)
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	_ = s.link.say(saySwept, 0, []byte(text))
}

// takeOver has a server that is prepared go on where the one before ended, which is dead.
func (h *Holder) takeOver(s *served) error {
	h.mu.Lock()
	for _, k := range h.kept {
		_ = s.link.send(message{sayKept, k.Fh, k.About, k.Fd})
	}
	h.mu.Unlock()
	_ = s.link.say(sayAllKept, h.vacancy(), nil)
	h.current = s
	if err := s.await(s.ready, readyWithin); err != nil {
		return err
	}
	s.began, h.vacant = time.Now(), time.Time{}
	if h.dev != 0 {
		_ = s.link.say(sayMounted, h.dev, nil)
	}
	return nil
}

// vacate takes notice of the end of the server.
func (h *Holder) vacate() {
	if h.vacant.IsZero() {
		h.vacant = h.current.ended
	}
}

// vacancy is since when nobody serves, as it is said to the next server.
func (h *Holder) vacancy() uint64 {
	if h.vacant.IsZero() {
		return 0
	}
	return uint64(h.vacant.UnixNano())
}

// await asks the mount for something that only a server can answer.
func (h *Holder) await() error {
	answer := make(chan error, 1)
	go func() {
		var st unix.Stat_t
		err := unix.Stat(h.Point, &st)
		h.dev = st.Dev
		answer <- err
	}()
	select {
	case err := <-answer:
		if err != nil {
			return &Refusal{Cause: NoFUSE, What: h.Point + " was mounted but does not answer", Err: err}
		}
		_ = h.current.link.say(sayMounted, h.dev, nil)
		return nil
	case <-h.current.exited:
		return &Refusal{Cause: NoFUSE, What: h.Point + " was unmounted before it was ready"}
	case <-time.After(answersWithin):
		return &Refusal{Cause: NoFUSE, What: fmt.Sprintf("%s did not answer within %s", h.Point, answersWithin)}
	}
}

// Device is the device number under which the mount is seen (st_dev).
func (h *Holder) Device() uint64 { return h.dev }

// order is something to do for Run.
type order func()

// Run holds the mount until nobody anywhere has it any more.
func (h *Holder) Run() {
	defer close(h.over)
	go h.watch()
	h.standBy()
	for {
		select {
		case <-h.current.exited:
			<-h.current.deaf
			if h.ended() {
				h.dismiss()
				h.connection.Close()
				return
			}
			h.restart()
			h.standBy()
		case do := <-h.orders:
			do()
		}
	}
}

// ended reports whether the server ended because there is nothing to serve.
func (h *Holder) ended() bool { return !h.current.replaced && h.current.state.Success() }

// restart has another server go on, however often that takes. Meanwhile requests wait, and if it takes long, fail: to
// uncover the bare directory would fork the state.
func (h *Holder) restart() {
	h.vacate()
	for {
		if d := h.pace.crashed(h.current.lived()); d > 0 {
			h.refuse(d)
		}
		h.Log.Error().Int("server", h.current.pid).Err(h.current.why()).Msg("the server is dead; another one takes over")
		started := time.Now()
		s, err := h.next()
		if err != nil {
			h.Log.Error().Err(err).Msg("no server can be started")
			h.current.began = time.Time{}
			continue
		}
		if err := h.takeOver(s); err == nil {
			h.Log.Info().Int("server", s.pid).Dur("took", time.Since(started)).Msg("served again")
			return
		}
		if s.exitedWell() {
			return // unmounted meanwhile: Run sees to it
		}
		s.kill()
	}
}

// Reload has the server read its configuration again.
func (h *Holder) Reload() {
	h.orders <- func() {
		_ = unix.Kill(h.current.pid, syscall.SIGHUP)
		h.dismiss() // it has read the one before
		h.standBy()
	}
}
