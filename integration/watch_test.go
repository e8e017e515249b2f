package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// seenWithin is far more than any watcher needs; a removal is not even told until its owner's death is known.
const seenWithin = 20 * time.Second

// A lock that is held is left out of everybody's listing but its owner's, and a watcher that hears of an event lists
// the directory to find out what it was: it sees them nevertheless.
func TestScenario25_Watchers(t *testing.T) {
	scenario{25, "fs.watch and chokidar see locks come and go"}.once(t, func(r *run) {
		m := newMount(r)
		w := startWatching(r, m.dir)
		released(r, m, w, "released.lock")
		released(r, m, w, "released.jsonl.lock")
		reclaimed(r, m, w, "reclaimed.lock")
		takenOver(r, m, w, "taken.jsonl.lock")
		w.mustHaveNoErrors(r)
	})
}

func released(r *run, m *mount, w *watching, name string) {
	r.Helper()
	holder := startHelper(r, nil, "hold-remove", m.path(name))
	holder.line(r)
	w.mustSee(r, name, "made", seen{"fs.watch", "rename", 1}, seen{"chokidar", "add", 1})
	holder.stdin.Close()
	w.mustSee(r, name, "released", seen{"fs.watch", "rename", 2}, seen{"chokidar", "unlink", 1})
}

func reclaimed(r *run, m *mount, w *watching, name string) {
	r.Helper()
	holder := startHelper(r, nil, "hold", m.path(name))
	holder.line(r)
	w.mustSee(r, name, "made", seen{"fs.watch", "rename", 1}, seen{"chokidar", "add", 1})
	holder.kill()
	w.mustSee(r, name, "reclaimed", seen{"fs.watch", "rename", 2}, seen{"chokidar", "unlink", 1})
}

// takenOver is of a lock that stays as evidence until an exclusive create removes and makes it in one call.
func takenOver(r *run, m *mount, w *watching, name string) {
	r.Helper()
	dead := startHelper(r, nil, "hold", m.path(name))
	dead.line(r)
	w.mustSee(r, name, "made", seen{"fs.watch", "rename", 1}, seen{"chokidar", "add", 1})
	dead.kill()
	m.waitOrphan(r, name)
	taker := startHelper(r, nil, "hold-remove", m.path(name))
	taker.line(r)
	// For chokidar a name it knows that is made again has changed, as where it sees both removal and creation.
	w.mustSee(r, name, "taken over", seen{"fs.watch", "rename", 2}, seen{"chokidar", "change", 1})
	taker.stdin.Close()
	w.mustSee(r, name, "released", seen{"fs.watch", "rename", 3}, seen{"chokidar", "unlink", 1})
}

// Whoever does not watch meets no held lock of somebody else; whoever does, does.
func TestHeldLocksAreListedForWatchersOnly(t *testing.T) {
	m := newMount(t)
	holder := startHelper(t, nil, "hold", m.path("held.lock"))
	holder.line(t)
	lists := func() bool { return names(t, m.dir)["held.lock"] }
	if lists() {
		t.Error("it is listed for a process that does not watch")
	}
	w := newInotify(t)
	w.add(t, m.dir)
	// What was found out about a process is remembered for about a millisecond.
	waitFor(t, "it is listed for one that does", seenWithin, lists)
	newInotify(t).add(t, m.pathBelow("."))
	w.close()
	waitFor(t, "it is not listed for one that watches the directory underneath", seenWithin, func() bool { return !lists() })
}

// A process that watches the directory meets in its sweep the locks that others hold, and can't do them harm. The two
// older releases take a lock without a PID for stale whatever its age, and end the sweep when it can't be removed; their
// gateways watch other directories only.
func TestSweepOfAProcessThatWatches(t *testing.T) {
	scenario{16, "start sweep of a process that watches the directory"}.eachVersion(t, func(r *run) {
		m := newMount(r)
		all := r.clients(m, onHost, onHost, onHost)
		live, dead, sweeper := all[0], all[1], all[2]
		live.must(r, "acquire", ask(m, longWait, inSession(m, "live.jsonl")))
		dead.must(r, "acquire", ask(m, longWait, inSession(m, "dead.jsonl")))
		before := m.stateBelow(r, "live.jsonl.lock")
		dead.kill(r)
		m.waitOrphan(r, "dead.jsonl.lock")
		sweeper.must(r, "watch", args{"path": m.dir})
		waitFor(r, "the live lock is listed", seenWithin, func() bool {
			return slices.Contains(sweeper.must(r, "readdir", args{"path": m.dir}).Names, "live.jsonl.lock")
		})

		swept := sweeper.do(r, "sweep", args{"dir": m.dir, "staleMs": int(staleAge.Milliseconds())})
		switch {
		case !swept.OK && r.version != "2026.7.1" && swept.Code == "EBUSY":
			r.note("ends with EBUSY")
		case !swept.OK || !slices.Equal(swept.Cleaned, []string{"dead.jsonl.lock"}):
			r.Errorf("%v, swept %v, warnings %v, want dead.jsonl.lock", swept, swept.Cleaned, swept.Warnings)
		}
		m.mustBeUnchanged(r, "live.jsonl.lock", before, "the sweep")
		m.mustBeHeldBy(r, "live.jsonl.lock", live.pid)
	})
}

// staleAge is the clients' own for a lock whose PID says nothing.
const staleAge = 30 * time.Minute

// seen is how often an event is to have been seen of a name.
type seen struct {
	by, event string
	times     int
}

// watching is a process that watches a directory.
type watching struct {
	mu     sync.Mutex
	counts map[string]int // of by, event and name
	errors []string
}

type watchEvent struct{ By, Event, Name string }

func startWatching(t testing.TB, dir string) *watching {
	t.Helper()
	if suite.node == "" || suite.packages == "" {
		skip(t, "no Node or no chokidar: run scripts/deps.sh")
	}
	cmd := exec.Command(suite.node, filepath.Join(filepath.Dir(suite.driver), "watch.mjs"), dir,
		filepath.Join(suite.packages, "chokidar/index.js"))
	log := &logBuffer{}
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &watching{counts: map[string]int{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.listen(stdout)
	}()
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
		if t.Failed() {
			t.Logf("the watchers saw %v\n%s", w.counts, log)
		}
	})
	w.mustSee(t, "", "watched", seen{"chokidar", "ready", 1})
	return w
}

func (w *watching) listen(events io.Reader) {
	for lines := bufio.NewScanner(events); lines.Scan(); {
		var e watchEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		w.mu.Lock()
		w.counts[fmt.Sprint(e.By, " ", e.Event, " ", e.Name)]++
		if e.Event == "error" {
			w.errors = append(w.errors, e.By+": "+e.Name)
		}
		w.mu.Unlock()
	}
}

func (w *watching) mustSee(t testing.TB, name, happened string, events ...seen) {
	t.Helper()
	for _, e := range events {
		waitFor(t, fmt.Sprintf("%s sees that %q is %s", e.by, name, happened), seenWithin, func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.counts[fmt.Sprint(e.by, " ", e.event, " ", name)] >= e.times
		})
	}
}

func (w *watching) mustHaveNoErrors(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.errors {
		t.Error(e)
	}
}
