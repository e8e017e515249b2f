package reclaim

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// deaths counts what a Watcher tells.
type deaths struct {
	mu   sync.Mutex
	seen map[lockmgr.Identity]int
	news chan lockmgr.Identity
}

func newDeaths() *deaths {
	return &deaths{seen: map[lockmgr.Identity]int{}, news: make(chan lockmgr.Identity, 4096)}
}

func (d *deaths) died(id lockmgr.Identity) {
	d.mu.Lock()
	d.seen[id]++
	d.mu.Unlock()
	d.news <- id
}

func (d *deaths) next(t *testing.T) lockmgr.Identity {
	t.Helper()
	select {
	case id := <-d.news:
		return id
	case <-time.After(10 * time.Second):
		t.Fatal("no death is told")
		return lockmgr.Identity{}
	}
}

func newWatcher(t *testing.T, f Features) *Watcher {
	t.Helper()
	w, err := NewWatcher(Options{Features: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func watch1(t *testing.T, w *Watcher, id lockmgr.Identity, died func(lockmgr.Identity)) {
	t.Helper()
	if err := w.Watch(id, died); err != nil {
		t.Fatal(err)
	}
}

// expectDeath has a new Watcher tell that a process is dead already.
func expectDeath(t *testing.T, f Features, id lockmgr.Identity) {
	t.Helper()
	w, d := newWatcher(t, f), newDeaths()
	watch1(t, w, id, d.died)
	if got := d.next(t); got != id {
		t.Errorf("told of %+v, want %+v", got, id)
	}
	if n := w.Len(); n != 0 {
		t.Errorf("still %d under watch", n)
	}
}

func openPidfds(t *testing.T) int {
	t.Helper()
	names, err := listNames("/proc/self/fdinfo")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		text, _ := os.ReadFile("/proc/self/fdinfo/" + name)
		if strings.Contains(string(text), "\nNSpid:") {
			n++
		}
	}
	return n
}

func TestEachDeathIsToldOnce(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			const many = 500
			p, w, d := New(Options{Features: f}), newWatcher(t, f), newDeaths()
			children := make([]child, many)
			ids := make([]lockmgr.Identity, many)
			for i := range children {
				children[i] = startCat(t)
				ids[i] = identify(t, p, children[i].pid())
			}
			before := openPidfds(t)
			for range 3 {
				for _, id := range ids {
					watch1(t, w, id, d.died)
				}
			}
			if n := openPidfds(t) - before; n != many || w.Len() != many {
				t.Errorf("%d pidfds, Len %d, for %d processes", n, w.Len(), many)
			}
			for _, c := range children {
				_ = unix.Kill(int(c.pid()), unix.SIGKILL) // and not reaped: zombies are dead
			}
			for range many {
				d.next(t)
			}
			if n := openPidfds(t) - before; n != 0 || w.Len() != 0 {
				t.Errorf("%d pidfds left, Len %d", n, w.Len())
			}
			w.Close()
			for _, id := range ids {
				if d.seen[id] != 1 {
					t.Errorf("%+v told %d times", id, d.seen[id])
				}
			}
		})
	}
}

func TestStoppedIsNotDead(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p, w, d := New(Options{Features: f}), newWatcher(t, f), newDeaths()
			stopped, killed := startCat(t), startCat(t)
			a, b := identify(t, p, stopped.pid()), identify(t, p, killed.pid())
			watch1(t, w, a, d.died)
			watch1(t, w, b, d.died)
			stop(t, stopped)
			killed.kill(t)
			if got := d.next(t); got != b || w.Len() != 1 { // and a's news would have come first
				t.Fatalf("told of %+v", got)
			}
			stopped.kill(t)
			if got := d.next(t); got != a {
				t.Fatalf("told of %+v", got)
			}
		})
	}
}

func TestZombieLeaderIsNotDead(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p, w, d := New(Options{Features: f}), newWatcher(t, f), newDeaths()
			c := startHelper(t, "zombie-leader")
			id := identify(t, p, c.number(t))
			watch1(t, w, id, d.died)
			until(t, "a zombie leader", func() bool {
				st, err := p.proc.stat(c.pid())
				return err == nil && st.dead()
			})
			if n := len(d.news); n != 0 || w.Len() != 1 {
				t.Errorf("told %d deaths", n)
			}
			in := c.in
			in.Close()
			if got := d.next(t); got != id {
				t.Errorf("told of %+v", got)
			}
		})
	}
}

func TestDeadAlready(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p, c := New(Options{Features: f}), startCat(t)
			id := identify(t, p, c.pid())

			wrong := id
			wrong.StartTime++
			if f.Pidfs {
				wrong.Pidfs++
			}
			expectDeath(t, f, wrong)

			thread := id
			onThread(func(tid int32) {
				thread.PID = tid // a PID that by now is a thread's
				expectDeath(t, f, thread)
			})

			c.kill(t)
			expectDeath(t, f, id)
			_ = c.cmd.Wait()
			expectDeath(t, f, id)
		})
	}
}

// The caller of Watch holds locks that its callback takes.
func TestNeverCalledBackFromWithinWatch(t *testing.T) {
	w, d := newWatcher(t, Probe()), newDeaths()
	var mu sync.Mutex
	id := lockmgr.Identity{PID: 1 << 29, StartTime: 1}
	mu.Lock()
	watch1(t, w, id, func(id lockmgr.Identity) {
		mu.Lock()
		defer mu.Unlock()
		d.died(id)
	})
	watch1(t, w, id, d.died)
	w.Unwatch(lockmgr.Identity{PID: 1})
	mu.Unlock()
	d.next(t)
}

// A callback may watch and unwatch: no lock is held.
func TestCallbackMayWatch(t *testing.T) {
	f := Probe()
	p, w, d := New(Options{Features: f}), newWatcher(t, f), newDeaths()
	first, second := startCat(t), startCat(t)
	next := identify(t, p, second.pid())
	watch1(t, w, identify(t, p, first.pid()), func(lockmgr.Identity) {
		if err := w.Watch(next, d.died); err != nil {
			t.Error(err)
		}
		second.kill(t)
	})
	first.kill(t)
	if got := d.next(t); got != next {
		t.Errorf("told of %+v", got)
	}
}

func TestUnwatched(t *testing.T) {
	f := Probe()
	p, w, d := New(Options{Features: f}), newWatcher(t, f), newDeaths()
	before := openPidfds(t)
	gone, told := startCat(t), startCat(t)
	a, b := identify(t, p, gone.pid()), identify(t, p, told.pid())
	pidfds := openPidfds(t) // os/exec keeps some of its own
	watch1(t, w, a, d.died)
	w.Unwatch(a)
	w.Unwatch(a)
	if n := openPidfds(t); n != pidfds || w.Len() != 0 {
		t.Errorf("%d pidfds more, Len %d (%d at the start)", n-pidfds, w.Len(), before)
	}
	gone.kill(t)
	watch1(t, w, b, d.died) // probably the same descriptor number
	told.kill(t)
	if got := d.next(t); got != b {
		t.Errorf("told of %+v", got)
	}
}

func TestWatchErrors(t *testing.T) {
	self := identify(t, New(Options{Features: Probe()}), int32(os.Getpid()))
	never := func(lockmgr.Identity) { t.Error("called") }

	if err := newWatcher(t, Features{}).Watch(self, never); !errors.Is(err, unix.ENOSYS) {
		t.Errorf("no pidfds: %v", err)
	}
	w := newWatcher(t, Probe())
	if err := w.Watch(lockmgr.Identity{}, never); err == nil {
		t.Error("nobody can be watched")
	}
	exhaustDescriptors(t, func() {
		if err := w.Watch(self, never); !errors.Is(err, unix.EMFILE) {
			t.Errorf("no descriptors left: %v", err)
		}
	})
	if w.Len() != 0 {
		t.Errorf("Len %d", w.Len())
	}
	watch1(t, w, self, never)
	w.Close()
	w.Close()
	if err := w.Watch(self, never); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	w.Unwatch(self)
}

func exhaustDescriptors(t *testing.T, f func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

func TestCloseLeavesNothingOpen(t *testing.T) {
	p := New(Options{Features: Probe()})
	id := identify(t, p, startCat(t).pid())
	count := func() int {
		names, err := listNames("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	w, err := NewWatcher(Options{Features: Probe()})
	if err != nil {
		t.Fatal(err)
	}
	watch1(t, w, id, func(lockmgr.Identity) {})
	w.Close()
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// The thread in epoll_wait gives up the processor once, then never again.
func TestIdleWatcherNeverWakes(t *testing.T) {
	f := Probe()
	w := newWatcher(t, f)
	watch1(t, w, identify(t, New(Options{Features: f}), startCat(t).pid()), func(lockmgr.Identity) {})
	tid := int32(0)
	until(t, "a thread in epoll_wait", func() bool {
		tid = threadInEpollWait(t, w.epoll)
		return tid != 0
	})
	before := switches(t, tid)
	time.Sleep(500 * time.Millisecond)
	if after := switches(t, tid); after != before {
		t.Errorf("woke %d times in half a second", after-before)
	}
}

func threadInEpollWait(t *testing.T, epoll int) int32 {
	t.Helper()
	tids, err := procfs("/proc").threads(int32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, tid := range tids {
		line, _ := os.ReadFile(procfs("/proc").of(tid, "syscall"))
		call, ok := parseCall(string(line))
		if ok && call.args[0] == uint64(epoll) && slices.Contains([]uint64{232, unix.SYS_EPOLL_PWAIT}, call.number) {
			return tid
		}
	}
	return 0
}

func switches(t *testing.T, tid int32) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
	if err != nil {
		t.Fatal(err)
	}
	return statusNumbers(text, "voluntary_ctxt_switches")[0]
}

// All methods at once: no death of a process still watched is lost, none is told twice.
func TestConcurrentUse(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p, w, d := New(Options{Features: f}), newWatcher(t, f), newDeaths()
			var wg sync.WaitGroup
			for range 40 {
				c := startCat(t)
				id := identify(t, p, c.pid())
				wg.Go(func() {
					for range 50 {
						if err := w.Watch(id, func(lockmgr.Identity) { t.Error("died while alive") }); err != nil {
							t.Error(err)
						}
						w.Unwatch(id)
					}
					if err := w.Watch(id, d.died); err != nil {
						t.Error(err)
					}
					w.Len()
					_ = unix.Kill(int(id.PID), unix.SIGKILL)
				})
			}
			wg.Wait()
			for range 40 {
				d.next(t)
			}
			w.Close()
			if len(d.seen) != 40 || len(d.news) != 0 {
				t.Errorf("%d deaths told, %d twice", len(d.seen), len(d.news))
			}
		})
	}
}
