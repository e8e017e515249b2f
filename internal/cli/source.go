package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/control"
)

// source is one mount that is asked again and again: on its socket, and where that can't be reached, as in a container, by
// its control files. The socket comes first because a request to it can be given up. Who reads a file of a mount that hangs can't
// even be killed before it has the answer.
type source struct {
	root string // where it is mounted

	mu     sync.Mutex // guards all below
	device uint64
	asked  *control.Client

	owed chan reading // what the file "locks" has not said yet; only dump, which is not called twice at once, uses it
}

// openSource finds the mount at, or around, a directory, without asking it anything.
func openSource(dir string) (*source, error) {
	root, _, err := mountAt(dir)
	if err != nil {
		return nil, err
	}
	return &source{root: root}, nil
}

// client is for the mount that is there now: another one, made meanwhile, has another socket.
func (s *source) client() *control.Client {
	top, _ := mount.Top(s.root)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil || top.Device != s.device {
		s.device, s.asked = top.Device, control.Dial(top.Device)
	}
	return s.asked
}

// dump asks for the state of all locks. It gives up with errStuck after a while; what any other error means says refuseRead.
func (s *source) dump(ctx context.Context) (dump fsnode.Dump, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errStuck)
	defer cancel()
	text, err := s.client().Get(ctx, "locks")
	if err != nil && ctx.Err() == nil {
		text, err = s.file(ctx)
	}
	if ctx.Err() != nil {
		return dump, context.Cause(ctx)
	}
	if err != nil {
		return dump, err
	}
	if err := json.Unmarshal(text, &dump); err != nil {
		return dump, fmt.Errorf("%s answers what this version does not understand: %w", s.root, err)
	}
	return dump, nil
}

// file reads the control file. If an earlier read owes the answer it waits for that: each one more would be a thread that hangs.
func (s *source) file(ctx context.Context) ([]byte, error) {
	if s.owed == nil {
		owed := make(chan reading, 1)
		go func() {
			text, err := os.ReadFile(filepath.Join(s.root, fsnode.ControlDir, "locks"))
			owed <- reading{text, err}
		}()
		s.owed = owed
	}
	select {
	case a := <-s.owed:
		s.owed = nil
		return a.text, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
