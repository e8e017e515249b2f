package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
)

// fake is a mount that says what it is asked.
type fake struct{ refuse map[string]error }

func (f *fake) Dump() ([]byte, error)    { return []byte(`{"version":1}`), nil }
func (f *fake) Measure() ([]byte, error) { return nil, errors.New("no metrics here") }

func (f *fake) Payload(path string) ([]byte, error) { return []byte(path), f.refuse[path] }
func (f *fake) Command(line string) error           { return f.refuse[line] }

// serving is a server on a socket of its own, and a client of it.
type serving struct {
	path     string
	log      *bytes.Buffer // of what the server says, to be read when it has ended
	happened *events.Log
	http     *http.Server
	client   *Client
	open     atomic.Int32 // connections
}

func serve(t *testing.T, m *fake) *serving {
	t.Helper()
	s := &serving{path: filepath.Join(t.TempDir(), "s"), log: &bytes.Buffer{}, happened: events.Open("", nil)}
	l, err := Listen(s.path, -1)
	if err != nil {
		t.Fatal(err)
	}
	s.http = NewServer(Handler(m, s.happened, zerolog.New(s.log)), zerolog.Nop())
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.open.Add(1)
		case http.StateClosed:
			s.open.Add(-1)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.http.Serve(l)
	}()
	s.client = &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, []string{s.path}) },
	}}}
	t.Cleanup(func() {
		s.happened.Close()
		s.http.Close()
		<-ended
	})
	return s
}

// tell tells of an event that happened so many seconds after the first.
func (s *serving) tell(second int) {
	s.happened.Add(func() events.Event { return events.Event{Time: at(second), Event: "granted", Token: uint64(second)} })
}

func at(second int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
}

func TestAnswers(t *testing.T) {
	s, ctx := serve(t, &fake{}), context.Background()
	if text, err := s.client.Get(ctx, "locks"); err != nil || string(text) != `{"version":1}` {
		t.Errorf("locks: %q, %v", text, err)
	}
	for _, what := range []string{"metrics", "nothing"} {
		if _, err := s.client.Get(ctx, what); !errors.As(err, new(*Failure)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestCommandStatus(t *testing.T) {
	held := &lockmgr.HeldError{}
	refuse := map[string]error{
		"held": held, "malformed": fsnode.ErrCommand, "link": fsnode.ErrLink, "missing": unix.ENOENT, "gone": lockmgr.ErrGone,
		"full": unix.ENOSPC, "wrapped": fmt.Errorf("it: %w", fs.ErrNotExist),
	}
	want := map[string]int{
		"held": 409, "malformed": 400, "link": 422, "missing": 404, "gone": 404, "full": 500, "wrapped": 404,
		strings.Repeat("x", maxCommand+1): 413, "done": 200,
	}
	s, ctx := serve(t, &fake{refuse}), context.Background()
	for line, status := range want {
		got := 200
		if err := s.client.Command(ctx, line); err != nil {
			var failure *Failure
			if !errors.As(err, &failure) {
				t.Fatalf("%.20s: %v", line, err)
			}
			got = failure.Status
		}
		if got != status {
			t.Errorf("%.20s: %d, want %d", line, got, status)
		}
	}
	if err := s.client.Command(ctx, "held\n"); err == nil {
		t.Error("a command with a newline is another one")
	}
	s.http.Shutdown(ctx)
	if said := s.log.String(); !strings.Contains(said, fmt.Sprintf(`"pid":%d,"uid":%d,"command":"done"`, os.Getpid(), os.Getuid())) {
		t.Errorf("the log does not tell who gave a command:\n%s", said)
	}
}

// body is what an answer says, an event by its token.
func body(t *testing.T, in io.Reader, count int) (tokens string) {
	t.Helper()
	lines := bufio.NewScanner(in)
	for range count {
		if !lines.Scan() {
			t.Fatalf("the answer ends after %q: %v", tokens, lines.Err())
		}
		_, rest, _ := strings.Cut(lines.Text(), `"token":`)
		tokens += strings.TrimRight(rest, "}")
	}
	return tokens
}

func TestEvents(t *testing.T) {
	s, ctx := serve(t, &fake{}), context.Background()
	for n := 1; n <= 5; n++ {
		s.tell(n)
	}
	for want, from := range map[string]events.From{
		"12345": {}, "345": {Since: at(3)}, "45": {Since: at(3), After: 3}, "": {Since: at(6)},
	} {
		in, err := s.client.EventsFrom(ctx, from, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, in, len(want)); got != want {
			t.Errorf("from %+v: %s, want %s", from, got, want)
		}
		if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
			t.Errorf("from %+v: then %q, %v", from, rest, err)
		}
		in.Close()
	}
}

func TestEventsMustBeAskedForProperly(t *testing.T) {
	s := serve(t, &fake{})
	for _, query := range []url.Values{
		{"since": {"yesterday"}}, {"since": {"2026-03-01"}}, {"since": {"2026-03-01T12:00:00"}}, {"after": {"-1"}}, {"after": {"x"}},
	} {
		_, err := s.client.Get(context.Background(), "events?"+query.Encode())
		var failure *Failure
		if !errors.As(err, &failure) || failure.Status != http.StatusBadRequest {
			t.Errorf("%v: %v, want that it is a bad request", query, err)
		}
	}
}

func TestFollow(t *testing.T) {
	s := serve(t, &fake{})
	s.tell(1)
	in, err := s.client.Events(context.Background(), time.Time{}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	said := bufio.NewReader(in)
	body(t, said, 1)
	for n := 2; n <= 4; n++ {
		s.tell(n)
	}
	if line, err := said.ReadString('\n'); err != nil || !strings.Contains(line, `"token":2`) {
		t.Errorf("then %q, %v", line, err)
	}
	s.tell(5)
	s.happened.Close()
	if rest, err := io.ReadAll(said); err != nil || strings.Count(string(rest), "\n") != 3 {
		t.Errorf("at the end %q, %v, want three events and a proper end", rest, err)
	}
}

// mustBeAlone waits until nobody is connected.
func (s *serving) mustBeAlone(t *testing.T, limit time.Duration) {
	t.Helper()
	for end := time.Now().Add(limit); s.open.Load() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d are connected after %v", s.open.Load(), limit)
		}
	}
}

// Nothing is kept for a follower that has gone.
func TestFollowEndsWithTheClient(t *testing.T) {
	s := serve(t, &fake{})
	ctx, leave := context.WithCancel(context.Background())
	in, err := s.client.Events(ctx, time.Time{}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	leave()
	s.mustBeAlone(t, stalled/2)
}

// Nor for one that never reads, nor for one that never says what it wants: it is sent away.
func TestClientsThatStall(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes as long as they are waited for")
	}
	s := serve(t, &fake{})
	for n := range 4000 {
		s.happened.Add(func() events.Event { return events.Event{Time: at(n), Payload: strings.Repeat("x", 1000)} })
	}
	requests := []string{
		"GET /events?follow=1 HTTP/1.1\r\nHost: mount\r\n\r\n",
		"GET /locks HTTP/1.1\r\n",
		"POST /command HTTP/1.1\r\nHost: mount\r\nContent-Length: 100\r\n\r\nrel",
		"",
	}
	for _, request := range requests {
		c, err := net.Dial("unix", s.path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
	}
	for s.open.Load() < int32(len(requests)) {
		time.Sleep(time.Millisecond)
	}
	s.mustBeAlone(t, 3*stalled)
}
