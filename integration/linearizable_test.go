package integration

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"
)

// soak is how long scenario 27 lasts: minutes are asked for.
var soak = flag.Duration("soak", time.Minute, "how long TestScenario27 fights")

const (
	duelNamespaces = 4
	duelLocks      = 4
	duelSignals    = 60 * time.Millisecond // between two of them
	duelServer     = time.Second           // between two kills of the server
)

// duel is one try for a lock, or its release, with monotonic times in nanoseconds; Return is 0 if the process died first.
type duel struct {
	Take         bool
	Lock         int
	Call, Return int64
}

// TestScenario27 has 8 processes in 4 PID namespaces fight over 4 locks, with SIGKILL and SIGSTOP, and the server killed every
// second. What they saw must be that of one mutex for each name.
func TestScenario27_Linearizable(t *testing.T) {
	t.Parallel() // it takes its time
	scenario{27, "8 processes, 4 PID namespaces, 4 locks; SIGKILL, SIGSTOP, server killed"}.once(t, func(r *run) {
		m := newMount(r, lasting(testDeadline+2**soak))
		d := &duels{m: m, dir: r.TempDir(), died: map[string]int64{}}
		for range duelNamespaces {
			d.enter(r)
		}
		nextServer, servers := time.Now().Add(duelServer), 0
		for end := time.Now().Add(*soak); time.Now().Before(end); time.Sleep(duelSignals) {
			d.disturb(r)
			if time.Now().After(nextServer) {
				m.killServer(r)
				servers++
				nextServer = time.Now().Add(duelServer)
			}
		}
		d.end()
		d.check(r, servers)
	})
}

// duels are the processes that fight, two in each namespace.
type duels struct {
	m       *mount
	dir     string // for what they saw
	serial  int
	running []*exec.Cmd
	names   []string
	died    map[string]int64 // when each namespace was killed, just before
	killed  int
}

func (d *duels) enter(t testing.TB) {
	t.Helper()
	d.serial++
	name := fmt.Sprintf("n%d", d.serial)
	cmd := exec.Command(need(t, "unshare"), "--pid", "--fork", "--kill-child", suite.helper, d.m.dir, d.dir, name)
	cmd.Env = append(os.Environ(), helperEnv+"=duel")
	cmd.Stderr = &logBuffer{}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.running, d.names = append(d.running, cmd), append(d.names, name)
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

// disturb kills a namespace, which another one takes the place of, or stops one for a moment.
func (d *duels) disturb(t testing.TB) {
	i := rand.IntN(len(d.running))
	if rand.IntN(3) == 0 {
		first := childOf(d.running[i].Process.Pid)
		for _, pid := range []int{first, childOf(first)} {
			if pid > 0 && rand.IntN(2) == 0 {
				syscall.Kill(pid, syscall.SIGSTOP)
				time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { syscall.Kill(pid, syscall.SIGCONT) })
			}
		}
		return
	}
	d.kill(i)
	if text := d.running[i].Stderr.(*logBuffer).String(); text != "" {
		t.Errorf("%s failed: %s", d.names[i], text)
	}
	d.running, d.names = slices.Delete(d.running, i, i+1), slices.Delete(d.names, i, i+1)
	d.killed++
	d.enter(t)
}

func (d *duels) kill(i int) {
	d.died[d.names[i]] = monotonic()
	d.running[i].Process.Kill() // and with it the first process of the namespace, and so all
	d.running[i].Wait()
}

func (d *duels) end() {
	for i := range d.running {
		d.kill(i)
	}
}

// check reads what all saw.
func (d *duels) check(r *run, servers int) {
	r.Helper()
	logs, _ := filepath.Glob(d.dir + "/*.history")
	var history []porcupine.Operation
	taken, appended := 0, map[string]bool{}
	for client, path := range logs {
		name, _, _ := strings.Cut(filepath.Base(path), "-")
		ops, lines := readDuels(r, path)
		for _, line := range lines {
			appended[line] = true
		}
		for _, op := range settleDuels(ops, d.died[name]) {
			if op.Take {
				taken++
			}
			history = append(history, porcupine.Operation{ClientId: client, Input: op, Call: op.Call, Return: op.Return})
		}
	}
	if result := porcupine.CheckOperationsTimeout(oneMutexPerLock, history, time.Minute); result != porcupine.Ok {
		r.Errorf("%d operations are not those of a mutex for each name: %s", len(history), result)
	}
	r.note("%d turns, %d namespaces killed, %d servers killed, %d appends", taken, d.killed, servers, len(appended))
	d.checkSessions(r, appended)
	if taken < 100 {
		r.Errorf("too little happened: %d turns", taken)
	}
}

// settleDuels is what may have come of the calls that a process died in. A lock that it held was released by its death, at some time after;
// one that it was about to take it may or may not have had, which nobody else can tell.
func settleDuels(ops []duel, died int64) (settled []duel) {
	held := -1
	for _, op := range ops {
		switch {
		case op.Take && op.Return == 0:
			continue
		case op.Take:
			held = op.Lock
		default:
			held = -1
			if op.Return == 0 {
				op.Return = math.MaxInt64
			}
		}
		settled = append(settled, op)
	}
	if held >= 0 {
		settled = append(settled, duel{Lock: held, Call: died, Return: math.MaxInt64})
	}
	return settled
}

var oneMutexPerLock = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, duelLocks)
		for _, op := range history {
			lock := op.Input.(duel).Lock
			parts[lock] = append(parts[lock], op)
		}
		return parts
	},
	Init: func() any { return false },
	Step: func(state, input, _ any) (bool, any) {
		return state.(bool) != input.(duel).Take, input.(duel).Take
	},
}

// checkSessions looks at what the winners appended: everything that was acknowledged is there, and nothing is between
// the two halves of a turn but where its process died.
func (d *duels) checkSessions(r *run, appended map[string]bool) {
	r.Helper()
	for lock := range duelLocks {
		text, err := os.ReadFile(d.m.path(fmt.Sprintf("s%d.jsonl", lock)))
		if err != nil {
			r.Fatal(err)
		}
		inside := ""
		for _, line := range wholeLines(string(text), duelLine) {
			delete(appended, line)
			what, who, _ := strings.Cut(line, " ")
			name, _, _ := strings.Cut(who, "-")
			switch _, died := d.died[name]; {
			case what == "end" && who != inside:
				r.Errorf("s%d: %q while %q was inside", lock, line, inside)
			case what == "begin" && inside != "" && !died:
				r.Errorf("s%d: %q while %q, alive, was inside", lock, line, inside)
			}
			if inside = who; what == "end" {
				inside = ""
			}
		}
	}
	for line := range appended {
		r.Errorf("%q was appended and is not there", line)
	}
}

var duelLine = regexp.MustCompile(`^(begin|end) n\d+-[12]-\d+\n$`)

func readDuels(t testing.TB, path string) (ops []duel, lines []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		var what string
		var lock int
		var at int64
		if n, _ := fmt.Sscan(scan.Text(), &what, &lock, &at); n == 3 && (what == "take" || what == "give") {
			ops = append(ops, duel{Take: what == "take", Lock: lock, Call: at})
		} else if n == 3 && what == "done" {
			ops[len(ops)-1].Return = at
		} else if line, ok := strings.CutPrefix(scan.Text(), "appended "); ok {
			lines = append(lines, line)
		}
	}
	return ops, lines
}

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// helpDuel fights for ever, and has a second process of its namespace do so. Arguments are the directory, where to write what
// it sees, and a name.
func helpDuel(arguments []string) error {
	name := arguments[2]
	if os.Getpid() == 1 {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		second := exec.Command(self, arguments[0], arguments[1], name+"-2")
		second.Env, second.Stderr = os.Environ(), os.Stderr
		if err := second.Start(); err != nil {
			return err
		}
		name += "-1"
	}
	history, err := os.OpenFile(filepath.Join(arguments[1], name+".history"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	w := &dueller{dir: arguments[0], name: name, history: history}
	for {
		if err := w.turn(rand.IntN(duelLocks)); err != nil {
			return err
		}
	}
}

// dueller is one of them.
type dueller struct {
	dir, name string
	turns     int
	history   *os.File
}

func (w *dueller) note(what string, lock int) { fmt.Fprintln(w.history, what, lock, monotonic()) }

func (w *dueller) turn(lock int) error {
	path := filepath.Join(w.dir, fmt.Sprintf("s%d.jsonl", lock))
	w.note("take", lock)
	file, err := makeLock(path + ".lock")
	for errors.Is(err, syscall.EEXIST) {
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		file, err = makeLock(path + ".lock")
	}
	if err != nil {
		return err
	}
	w.note("done", lock)
	w.turns++
	session, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer session.Close()
	for _, what := range []string{"begin", "end"} {
		line := fmt.Sprintf("%s %s-%d", what, w.name, w.turns)
		if _, err := fmt.Fprintln(session, line); err != nil {
			return err
		}
		fmt.Fprintln(w.history, "appended", line)
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	}
	w.note("give", lock)
	if err := errors.Join(file.Close(), os.Remove(path+".lock")); err != nil {
		return err
	}
	w.note("done", lock)
	return nil
}
