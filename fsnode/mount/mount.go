package mount

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// linkVariable tells a process that it is a mount's server, and which descriptor the link to the holder is. Those of
// the connection, of the memory and of the real directory come after it.
const linkVariable = "SESSIONLOCKFS_LINK_FD"

// Serving is a mount that this process serves, for a holder.
type Serving struct {
	*serverEnd
	Point  string
	Source *os.File // the real directory; it holds the arbiter's flock
	Holder int      // PID
	Once   bool     // have no request sent again, as on an older kernel

	connection *os.File
	Remains    *fsnode.Remains
	kept       []fsnode.Kept
	vacant     time.Time // since when nobody serves; zero if nobody did before
	device     *device
	done       chan error
	Mounted    func(dev uint64)
	News       func(text []byte)
	Leaving    func() // told before this process ends because another one goes on
}

// Served finds out whether this process is a mount's server; nil if it is not.
func Served(source, point string) (*Serving, error) {
	first, err := strconv.Atoi(os.Getenv(linkVariable))
	if err != nil {
		return nil, nil
	}
	os.Unsetenv(linkVariable)
	for fd := first; fd < first+4; fd++ {
		unix.CloseOnExec(fd)
	}
	remains := os.NewFile(uintptr(first+2), "remains")
	s := &Serving{
		serverEnd:  &serverEnd{link: newLink(first), point: point, swept: make(chan string, 1), gone: make(chan struct{})},
		Point:      point,
		Source:     os.NewFile(uintptr(first+3), source),
		Holder:     os.Getppid(),
		connection: os.NewFile(uintptr(first+1), "/dev/fuse"),
		done:       make(chan error, 1),
	}
	if s.Remains, err = fsnode.MapRemains(remains); err != nil {
		return nil, err
	}
	return s, nil
}

// Failed tells the holder why we can't serve.
func (s *Serving) Failed(code int, err error) {
	body, _ := json.Marshal(failure{code, err.Error()})
	_ = s.say(sayFailed, 0, body)
}

// Prepared tells the holder that we could take over, and waits for its word: until then another server may be at work.
func (s *Serving) Prepared() error {
	if err := s.say(sayPrepared, 0, nil); err != nil {
		return err
	}
	for {
		m, err := s.receive()
		if err != nil {
			return fmt.Errorf("the holder of the mount is gone: %w", err)
		}
		switch m.kind {
		case sayKept:
			s.kept = append(s.kept, fsnode.Kept{Fh: m.number, About: m.body, Fd: m.fd})
		case sayAllKept:
			if m.number != 0 {
				s.vacant = time.Unix(0, int64(m.number))
			}
			return nil
		}
	}
}

// Serve takes over and serves. Restore is called when the inodes and handles of the server before are there, and before any
// request is answered. When it returns, the mount can be used.
func (s *Serving) Serve(fs *fsnode.FS, o Options, restore func() error) error {
	s.device = newDevice(s.connection, fs, fuseOptions(o, s.Source), fs.Log)
	s.device.once = s.Once
	if err := s.device.begin(s.Remains); err != nil {
		return s.unlessUnmounted(err)
	}
	if err := s.device.ownQueue(); err != nil {
		return s.unlessUnmounted(err)
	}
	again, err := s.device.again()
	if err != nil {
		return s.unlessUnmounted(err)
	}
	answers := fs.Inherit(s.kept, again, s.device.resends())
	if err := restore(); err != nil {
		return err
	}
	if !s.vacant.IsZero() {
		s.Remains.TookOver(time.Since(s.vacant))
	}
	var rest []fsnode.Request
	for _, r := range again {
		if settled, is := answers[r.Unique()]; is {
			s.device.answer(settled.Answer)
			fs.Settled(settled)
		} else {
			rest = append(rest, r)
		}
	}
	go fs.Run()
	go s.listen()
	go func() {
		err := s.device.serve(rest)
		if err != nil || !s.device.draining.Load() {
			s.done <- err
		}
	}()
	return s.say(sayReady, 0, nil)
}

// unlessUnmounted makes it a proper end that the mount is gone before we serve.
func (s *Serving) unlessUnmounted(err error) error {
	if errors.Is(err, errUnmounted) || isUnmounted(err) {
		s.done <- nil
		return nil
	}
	return err
}

// drainWithin is how long what is under way may take when another server is about to take over. It gets what is not
// answered by then.
const drainWithin = 2 * time.Second

// listen hears the holder, until it is gone.
func (s *Serving) listen() {
	defer close(s.gone)
	for {
		m, err := s.receive()
		if err != nil {
			return
		}
		switch m.kind {
		case saySwept:
			s.swept <- string(m.body)
		case sayMounted:
			s.Mounted(m.number)
		case sayNews:
			s.News(m.body)
		case sayQuit:
			s.device.drain(drainWithin)
			s.Leaving()
			os.Exit(0)
		}
	}
}

// Done tells that nobody anywhere has the mount any more, or why it can't be served.
func (s *Serving) Done() <-chan error { return s.done }

// Alone is closed when the holder is gone: the mount ends with us then.
func (s *Serving) Alone() <-chan struct{} { return s.gone }
