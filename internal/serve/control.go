package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/control"
	"sessionlockfs/internal/events"
)

// openEvents opens what happened to this mount before. Without a file the mount is served all the same.
func (s *server) openEvents() {
	unkept := func(err error) { s.log.Warn().Err(err).Msg("events are not kept in a file") }
	path, err := cli.EventFile(s.end.Point)
	if err != nil {
		unkept(err)
	}
	s.events = events.Open(path, unkept)
	s.end.Leaving = s.events.Close
}

// began tells of this server's start.
func (s *server) began(again bool) {
	what := events.Started
	if again {
		what = events.TookOver
	}
	now, pid := time.Now(), os.Getpid()
	s.events.Add(func() events.Event { return events.Event{Time: now, Event: what, Server: pid} })
}

// socket is where the mount is asked past itself. mu guards all of it.
type socket struct {
	mu       sync.Mutex
	listener *control.Listener // nil if there is none
	http     *http.Server
	over     bool // there will be none
}

// listen answers on the mount's socket, once it is known under which device number the mount is seen.
func (s *server) listen(device uint64) {
	s.socket.mu.Lock()
	defer s.socket.mu.Unlock()
	path := control.Path(device)
	if path == "" || s.socket.listener != nil || s.socket.over {
		return
	}
	l, err := control.Listen(path, s.config.ControlGroup)
	if err != nil {
		s.log.Warn().Err(err).Msg("no control socket: if the mount hangs, it can't be asked why")
		return
	}
	server := control.NewServer(control.Handler(s.fs, s.events, s.log), s.log)
	s.socket.listener, s.socket.http = l, server
	go func() { _ = server.Serve(l) }()
}

// close takes the socket away: another mount may have the device number in a moment.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

// saying is for how long whoever follows the events may take to hear the last of them.
const saying = time.Second

// end waits until what was asked is answered. Nobody is to come any more.
func (s *socket) end() {
	if s.http == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), saying)
	defer cancel()
	_ = s.http.Shutdown(ctx)
}

// listenAgain is for how long a server tries to get an address that the one before may still have.
const listenAgain = 10 * time.Second

// tellMetrics answers with the metrics over the network.
func (s *server) tellMetrics() {
	if s.config.MetricsListen == "" {
		return
	}
	var l net.Listener
	var err error
	for end := time.Now().Add(listenAgain); ; time.Sleep(100 * time.Millisecond) {
		l, err = net.Listen(networkOf(s.config.MetricsListen), s.config.MetricsListen)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		s.log.Error().Err(err).Msg("metrics are not told over the network")
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", control.Metrics(s.fs))
	s.log.Info().Stringer("address", l.Addr()).Msg("metrics")
	_ = control.NewServer(mux, s.log).Serve(l)
}

// networkOf is what to listen on for an address: with "tcp", Go takes 0.0.0.0 for the addresses of IPv6 as well.
func networkOf(address string) string {
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// GroupID finds the group that may ask the control socket; -1 for none.
func GroupID(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if g, err := user.LookupGroup(name); err == nil {
		name = g.Gid
	}
	id, err := strconv.Atoi(name)
	if err != nil || id < 0 {
		return -1, fmt.Errorf("%w: --control-group: there is no group %q", cli.ErrUsage, name)
	}
	return id, nil
}
