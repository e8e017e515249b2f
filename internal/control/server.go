package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	stdlog "log"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
)

// Mount is what is asked. Its methods may be called at any time, by many at once.
type Mount interface {
	Dump() ([]byte, error)
	Measure() ([]byte, error)
	Payload(path string) ([]byte, error)
	Command(line string) error
}

// maxCommand is more than the longest path, in bytes.
const maxCommand = 8 << 10

const (
	stalled  = 10 * time.Second // how long whoever is connected may say nothing, and one who follows events may take nothing
	finished = time.Minute      // how long any other answer may take in all
)

// NewServer makes a server that nobody keeps busy by being slow. What goes wrong with a connection is told to the log.
func NewServer(h http.Handler, log zerolog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ConnContext: knowAsker, ErrorLog: stdlog.New(log, "", 0),
		ReadTimeout: stalled, IdleTimeout: stalled, WriteTimeout: finished,
	}
}

// Handler answers for a mount.
func Handler(m Mount, happened *events.Log, log zerolog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /locks", says("application/json", m.Dump))
	mux.Handle("GET /metrics", Metrics(m))
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { tell(w, r, happened) })
	mux.HandleFunc("GET /payload", func(w http.ResponseWriter, r *http.Request) {
		says("application/json", func() ([]byte, error) { return m.Payload(r.FormValue("path")) })(w, r)
	})
	mux.HandleFunc("POST /command", func(w http.ResponseWriter, r *http.Request) { carryOut(w, r, m, log) })
	return mux
}

// Metrics answers with the metrics alone, which others may see as well.
func Metrics(m Mount) http.Handler {
	return says("text/plain; version=0.0.4; charset=utf-8", m.Measure)
}

func says(kind string, what func() ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := what()
		if err != nil {
			http.Error(w, err.Error(), statusOf(err))
			return
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(text)
	}
}

// tell sends events, until whoever asked has gone if it follows them. One that does not read is sent away: it can go on where it stopped.
func tell(w http.ResponseWriter, r *http.Request, log *events.Log) {
	from, err := begin(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	follow, out := r.FormValue("follow") != "", http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // nothing more is to be read
	w.Header().Set("Content-Type", "application/x-ndjson")
	reader := log.Read(from)
	defer reader.Close()
	for {
		text, more := reader.Next()
		_ = out.SetWriteDeadline(time.Now().Add(stalled))
		if len(text) > 0 {
			if _, err := w.Write(text); err != nil {
				return
			}
			continue
		}
		if !follow || more == nil || out.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// begin reads from where on events are wanted.
func begin(r *http.Request) (from events.From, err error) {
	if text := r.FormValue("since"); text != "" {
		if from.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return from, fmt.Errorf("since: %w", err)
		}
	}
	if text := r.FormValue("after"); text != "" {
		if from.After, err = strconv.ParseUint(text, 10, 64); err != nil {
			return from, fmt.Errorf("after: %w", err)
		}
	}
	return from, nil
}

// carryOut also tells the log of it, as the control file does: who takes a lock away by force must not be unknown.
func carryOut(w http.ResponseWriter, r *http.Request, m Mount, log zerolog.Logger) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCommand))
	line := strings.TrimSuffix(string(text), "\n")
	if err == nil {
		err = m.Command(line)
	}
	told := log.Info()
	if err != nil {
		told = log.Warn().Err(err)
	}
	if who, ok := r.Context().Value(asker{}).(*unix.Ucred); ok {
		told.Int32("pid", who.Pid).Uint32("uid", who.Uid)
	}
	told.Str("command", line).Msg("control")
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
	}
}

// statusOf is what HTTP calls the ways in which a request fails.
func statusOf(err error) int {
	var held *lockmgr.HeldError
	switch {
	case errors.As(err, &held):
		return http.StatusConflict
	case errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, fsnode.ErrLink):
		return http.StatusUnprocessableEntity
	case errors.Is(err, fsnode.ErrCommand), errors.Is(err, fsnode.ErrNoLock):
		return http.StatusBadRequest
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, lockmgr.ErrGone), errors.Is(err, unix.ENOTDIR):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}
