package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"syscall"
	"testing"
	"time"
)

const (
	fighters  = 6
	fightTime = 8 * time.Second
	killEvery = 15 * time.Millisecond

	fewestKills = 150 // one in ten meets somebody inside: a busy machine takes its time
)

// Processes fight over one lock and are killed at random. Each winner writes when it begins and when it ends into the
// session file; whoever was killed in between never ends.
func TestMutualExclusion(t *testing.T) {
	scenario{0, "processes fight over a lock, with SIGKILL"}.once(t, func(r *run) {
		fight(r, func(*mount) {})
	})
}

// The same with the server killed now and then: clients notice nothing, and a grant is a grant.
func TestScenario22_Fight(t *testing.T) {
	scenario{22, "processes fight over a lock, with SIGKILL of them and of the server"}.once(t, func(r *run) {
		next, kills := time.Now().Add(serverKillEvery), 0
		fight(r, func(m *mount) {
			if time.Now().After(next) {
				m.killServer(r)
				kills++
				next = time.Now().Add(serverKillEvery)
			}
		})
		r.note("%d servers killed", kills)
	})
}

const serverKillEvery = 300 * time.Millisecond

// fight has processes fight while they, and whatever disturb does, disturb each other.
func fight(r *run, disturb func(*mount)) {
	r.Helper()
	m := newMount(r)
	arena := &arena{lock: m.path(sessionLock), file: m.path(session), killed: map[string]time.Time{}}
	for range fighters {
		arena.enter(r)
	}
	for end, kills := time.Now().Add(fightTime), 0; kills < fewestKills || time.Now().Before(end); kills++ {
		arena.killOne(r)
		disturb(m)
		time.Sleep(killEvery)
	}
	arena.end()
	arena.check(r)
}

// arena has the fighters by a name that is never used twice, as a PID may be.
type arena struct {
	lock, file string
	serial     int
	names      []string
	running    []*helper
	killed     map[string]time.Time // just before the signal
}

func (a *arena) enter(t testing.TB) {
	a.serial++
	name := fmt.Sprintf("f%d", a.serial)
	a.names = append(a.names, name)
	a.running = append(a.running, startHelper(t, nil, "fight", a.lock, a.file, name))
}

func (a *arena) killOne(t testing.TB) {
	i := rand.IntN(len(a.running))
	if text := a.running[i].log.String(); text != "" {
		t.Errorf("%s failed: %s", a.names[i], text)
	}
	a.killed[a.names[i]] = time.Now()
	a.running[i].kill()
	a.names = append(a.names[:i], a.names[i+1:]...)
	a.running = append(a.running[:i], a.running[i+1:]...)
	a.enter(t)
}

func (a *arena) end() {
	for i, fighter := range a.running {
		a.killed[a.names[i]] = time.Now()
		fighter.kill()
	}
}

// check reads the history: whoever begins ends before anybody else begins, unless it was killed, and then it never
// writes again.
func (a *arena) check(r *run) {
	r.Helper()
	text, err := os.ReadFile(a.file)
	if err != nil {
		r.Fatal(err)
	}
	inside, begun, diedInside := "", 0, 0
	for number, line := range wholeLines(string(text), fightLine) {
		var what, who string
		var ns int64
		if n, err := fmt.Sscan(line, &what, &who, &ns); n != 3 {
			r.Fatalf("line %d: %q: %v", number+1, line, err)
		}
		switch {
		case what == "begin" && inside != "" && !a.diedBefore(inside, time.Unix(0, ns)):
			r.Fatalf("line %d: %s began while %s, alive, was inside", number+1, who, inside)
		case what == "begin":
			if inside != "" {
				diedInside++
			}
			inside, begun = who, begun+1
		case what == "end" && who == inside:
			inside = ""
		default:
			r.Fatalf("line %d: %q while %q was inside", number+1, line, inside)
		}
	}
	r.note("%d turns, %d ended by SIGKILL", begun, diedInside)
	if begun < 100 || diedInside < 3 {
		r.Errorf("too little happened: %d turns, %d ended by SIGKILL", begun, diedInside)
	}
}

var fightLine = regexp.MustCompile(`^(begin|end) f\d+ \d+\n$`)

func (a *arena) diedBefore(name string, moment time.Time) bool {
	killed, ok := a.killed[name]
	return ok && killed.Before(moment)
}

// helpFight takes the lock, writes, works a little, writes and gives the lock back, for ever.
func helpFight(arguments []string) error {
	lock, session, name := arguments[0], arguments[1], arguments[2]
	go func() {
		untilStdinEnds()
		os.Exit(0)
	}()
	for {
		file, err := makeLock(lock)
		if errors.Is(err, syscall.EEXIST) {
			time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
			continue
		}
		if err != nil {
			return err
		}
		if err := workInside(session, name); err != nil {
			return err
		}
		if err := errors.Join(file.Close(), os.Remove(lock)); err != nil {
			return err
		}
	}
}

func workInside(session, name string) error {
	file, err := os.OpenFile(session, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, "begin", name, time.Now().UnixNano()); err != nil {
		return err
	}
	time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
	_, err = fmt.Fprintln(file, "end", name, time.Now().UnixNano())
	return err
}
