package mount

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// served is a server process.
type served struct {
	pid      int
	link     *link
	prepared chan struct{}
	ready    chan struct{}
	deaf     chan struct{} // closed when all that it said is heard
	exited   chan struct{} // closed when it is dead
	state    *os.ProcessState
	failed   *failure  // set before deaf is closed
	began    time.Time // when it began to serve; zero if it did not
	ended    time.Time // set before exited is closed
	replaced bool      // it was told to end
}

// await waits until a server has come so far. The error says why it has not.
func (s *served) await(far <-chan struct{}, limit time.Duration) error {
	select {
	case <-far:
		return nil
	case <-s.deaf:
		<-s.exited
		return s.why()
	case <-time.After(limit):
		return fmt.Errorf("the server did not come up within %s", limit)
	}
}

// why is the reason of a server's end.
func (s *served) why() error {
	if f := s.failed; f != nil {
		if f.Code > 2 {
			return &Refusal{Cause: Cause(f.Code), What: f.What}
		}
		return errors.New(f.What)
	}
	return fmt.Errorf("the server ended: %s", s.state)
}

func (s *served) kill() {
	_ = unix.Kill(s.pid, unix.SIGKILL)
	<-s.exited
	<-s.deaf
}

// lived is how long a server served that is dead.
func (s *served) lived() time.Duration {
	if s.began.IsZero() {
		return 0
	}
	return s.ended.Sub(s.began)
}

// exitedWell reports whether a server has ended because there is nothing to serve.
func (s *served) exitedWell() bool {
	if !s.dead() {
		return false
	}
	<-s.deaf
	return s.state.Success()
}

// dead reports whether it has ended.
func (s *served) dead() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}
