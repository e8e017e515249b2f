package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

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

// Handler answers for a mount.
func Handler(m Mount, log *events.Log) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /locks", says("application/json", m.Dump))
	mux.Handle("GET /metrics", Metrics(m))
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { tell(w, r, log) })
	mux.HandleFunc("GET /payload", func(w http.ResponseWriter, r *http.Request) {
		says("application/json", func() ([]byte, error) { return m.Payload(r.FormValue("path")) })(w, r)
	})
	mux.HandleFunc("POST /command", func(w http.ResponseWriter, r *http.Request) { carryOut(w, r, m) })
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

// tell sends events, until whoever asked has gone if it follows them.
func tell(w http.ResponseWriter, r *http.Request, log *events.Log) {
	var since time.Time
	if text := r.FormValue("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			http.Error(w, "since: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines, last := log.Since(since)
	out := http.NewResponseController(w)
	for {
		for _, line := range lines {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
		if r.FormValue("follow") == "" {
			return
		}
		_ = out.Flush()
		var more <-chan struct{}
		if lines, last, more = log.After(last); len(lines) > 0 {
			continue
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func carryOut(w http.ResponseWriter, r *http.Request, m Mount) {
	line, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCommand))
	if err == nil {
		err = m.Command(string(line))
	}
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
	case errors.Is(err, fsnode.ErrLink):
		return http.StatusUnprocessableEntity
	case errors.Is(err, fsnode.ErrCommand), errors.Is(err, fsnode.ErrNoLock):
		return http.StatusBadRequest
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, lockmgr.ErrGone), errors.Is(err, unix.ENOTDIR):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// Listen makes the socket of a mount, for the group as well if that is not negative. An earlier server's goes.
func Listen(path string, group int) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	// It is made where nobody else can come, since it has its mode only when it is there.
	private, err := os.MkdirTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	mode := os.FileMode(0o600)
	if group >= 0 {
		mode = 0o660
		err = os.Chown(made, -1, group)
	}
	if err := errors.Join(err, os.Chmod(made, mode)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := os.Rename(made, path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Path is where we put the socket of the mount with this device number; "" if there is no place for one.
func Path(device uint64) string {
	switch dir := os.Getenv("XDG_RUNTIME_DIR"); {
	case os.Geteuid() == 0:
		return filepath.Join(rootsDir, name(device))
	case dir != "":
		return filepath.Join(dir, "sessionlockfs", name(device))
	}
	return ""
}

const rootsDir = "/run/sessionlockfs"

func name(device uint64) string {
	return fmt.Sprintf("%d-%d.sock", unix.Major(device), unix.Minor(device))
}

// deviceOf reads a name.
func deviceOf(name string) (device uint64, ok bool) {
	var major, minor uint32
	if _, err := fmt.Sscanf(name, "%d-%d.sock", &major, &minor); err != nil {
		return 0, false
	}
	return unix.Mkdev(major, minor), true
}

// paths are where the socket of a mount may be.
func paths(device uint64) (all []string) {
	for _, dir := range dirs() {
		all = append(all, filepath.Join(dir, name(device)))
	}
	return all
}

// dirs are where there may be sockets: of root's mounts, of ours, or, if we are root, of anybody's.
func dirs() []string {
	all := []string{rootsDir}
	if os.Geteuid() == 0 {
		users, _ := filepath.Glob("/run/user/*/sessionlockfs")
		return append(all, users...)
	}
	if own := Path(0); own != "" {
		all = append(all, filepath.Dir(own))
	}
	return all
}
