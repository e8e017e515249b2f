package serve

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/control"
	"sessionlockfs/internal/events"
)

// openEvents opens what happened to this mount before. Without a file the mount is served all the same.
func (s *server) openEvents() {
	path, err := cli.EventFile(s.end.Point)
	if err == nil {
		s.events, err = events.Open(path)
	} else {
		s.events, _ = events.Open("")
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("events are not kept across restarts")
	}
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

// listen answers on the mount's socket, once it is known under which device number the mount is seen.
func (s *server) listen(device uint64) {
	path := control.Path(device)
	if path == "" || s.socket != "" {
		return
	}
	l, err := control.Listen(path, s.config.ControlGroup)
	if err != nil {
		s.log.Warn().Err(err).Msg("no control socket: if the mount hangs, it can't be asked why")
		return
	}
	s.socket = path
	go func() { _ = newServer(control.Handler(s.fs, s.events)).Serve(l) }()
}

// quiet is how long somebody may be connected and say nothing.
const quiet = 10 * time.Second

func newServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: quiet, IdleTimeout: quiet}
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
	_ = newServer(mux).Serve(l)
}

// networkOf is what to listen on for an address: with "tcp", Go takes 0.0.0.0 for the addresses of IPv6 as well.
func networkOf(address string) string {
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// endControl is for a mount that is over.
func (s *server) endControl() {
	if s.socket != "" {
		_ = os.Remove(s.socket)
	}
	s.events.Close()
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
