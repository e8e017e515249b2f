package reclaim

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

func TestProbe(t *testing.T) {
	f := Probe()
	t.Logf("%+v", f)
	if !f.PidfdOpen && (f.PidfdInfo || f.PidfdThread || f.Pidfs) {
		t.Fatalf("impossible: %+v", f)
	}
}

// onThread runs f on a thread that is not the first.
func onThread(f func(tid int32)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() { // the first thread: stay on it while another runs f
			onThread(f)
		} else {
			f(int32(unix.Gettid()))
		}
		runtime.UnlockOSThread()
	}()
	<-done
}

func TestIdentityIsTheSameFromEveryThread(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Features: f})
			want := identify(t, p, int32(os.Getpid()))
			if want.PID != int32(os.Getpid()) || (want.Pidfs != 0) != f.Pidfs {
				t.Fatalf("got %+v", want)
			}
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					onThread(func(tid int32) {
						for range 3 {
							if got := p.Identify(uint32(tid)); got != want {
								t.Errorf("thread %d: %+v, want %+v", tid, got, want)
							}
						}
					})
				})
			}
			wg.Wait()
		})
	}
}

func TestNobody(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Features: f})
			gone := startCat(t)
			gone.kill(t)
			_ = gone.cmd.Wait()
			for _, tid := range []uint32{0, uint32(gone.pid()), 1 << 31, ^uint32(0)} {
				if id := p.Identify(tid); id.Known() {
					t.Errorf("thread %d is %+v", tid, id)
				}
			}
		})
	}
}

func TestProxiesAreNobody(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			c := startCat(t)
			for _, proxies := range [][]string{nil, {"cat"}, {"a-very-long-program-name"}} {
				p := New(Options{Features: f, Proxies: proxies})
				if got, want := p.Identify(uint32(c.pid())).Known(), len(proxies) == 0 || proxies[0] != "cat"; got != want {
					t.Errorf("proxies %q: known is %v", proxies, got)
				}
			}
		})
	}
}

func TestIdentitySurvivesExecFromAnotherThread(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Features: f})
			c := startHelper(t, "exec-from-thread")
			tid := c.number(t)
			before := identify(t, p, c.pid())
			if tid == c.pid() || identify(t, p, tid) != before {
				t.Fatalf("thread %d of process %d", tid, c.pid())
			}
			fmt.Fprint(c.in, "xready\n")
			if got := c.line(t); got != "ready" { // now it is cat
				t.Fatalf("cat says %q", got)
			}
			if after := identify(t, p, c.pid()); after != before {
				t.Fatalf("after exec %+v, before %+v", after, before)
			}
			if v := p.Alive(before); v != lockmgr.Alive {
				t.Fatalf("after exec: %v", v)
			}
			if id := p.Identify(uint32(tid)); id.Known() {
				t.Fatalf("the old thread id still is %+v", id)
			}
		})
	}
}

func TestZombieLeader(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Features: f})
			c := startHelper(t, "zombie-leader")
			tid := c.number(t)
			until(t, "a zombie leader", func() bool {
				st, err := p.proc.stat(c.pid())
				return err == nil && st.dead()
			})
			id := identify(t, p, tid)
			if id.PID != c.pid() {
				t.Fatalf("thread %d of process %d is %+v", tid, c.pid(), id)
			}
			for _, judge := range []*Processes{p, New(Options{})} {
				if v := judge.Alive(id); v != lockmgr.Alive {
					t.Errorf("with other threads living: %v", v)
				}
			}
			c.kill(t)
			for _, judge := range []*Processes{p, New(Options{})} {
				if v := judge.Alive(id); v != lockmgr.Dead {
					t.Errorf("with all threads dead: %v", v)
				}
			}
		})
	}
}

func TestStoppedLivesZombieIsDead(t *testing.T) {
	kernels := ways()
	kernels["no pidfds"] = Features{}
	for name, f := range kernels {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Features: f})
			c := startCat(t)
			id := identify(t, p, c.pid())
			stop(t, c)
			if v := p.Alive(id); v != lockmgr.Alive {
				t.Errorf("stopped: %v", v)
			}
			c.kill(t)
			if v := p.Alive(id); v != lockmgr.Dead {
				t.Errorf("zombie: %v", v)
			}
			_ = c.cmd.Wait()
			if v := p.Alive(id); v != lockmgr.Dead {
				t.Errorf("gone: %v", v)
			}
			if v := p.Alive(lockmgr.Identity{}); v != lockmgr.Unknown {
				t.Errorf("nobody: %v", v)
			}
		})
	}
}

func stop(t *testing.T, c child) {
	t.Helper()
	_ = unix.Kill(int(c.pid()), unix.SIGSTOP)
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, int(c.pid()), &info, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

// recycle makes a process with the PID of one that is gone.
func recycle(t *testing.T, pid int32) child {
	t.Helper()
	for range 1000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/cat")
		in, _ := cmd.StdinPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Pid == int(pid) {
			t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
			return child{cmd: cmd, in: in}
		}
		in.Close()
		_ = cmd.Wait()
	}
	t.Fatalf("PID %d does not come again", pid)
	return child{}
}

func TestRecycledPID(t *testing.T) {
	needRoot(t)
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p := New(Options{Features: f})
			c := startCat(t)
			old := identify(t, p, c.pid())
			born := ticks()
			c.kill(t)
			_ = c.cmd.Wait()
			until(t, "the next clock tick", func() bool { return ticks() > born })
			again := recycle(t, c.pid())
			if id := identify(t, p, again.pid()); id == old || id.PID != old.PID {
				t.Errorf("the new process is %+v, the old was %+v", id, old)
			}
			if v := p.Alive(old); v != lockmgr.Recycled {
				t.Errorf("got %v", v)
			}
			if d := p.Describe(old); d.Comm != "" || len(d.NSPIDs) != 1 {
				t.Errorf("another process described: %+v", d)
			}
			expectDeath(t, f, old)
		})
	}
}

func ticks() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano() / 10e6 // USER_HZ is 100
}

func TestDescribe(t *testing.T) {
	p := New(Options{Features: Probe()})
	d := p.Describe(identify(t, p, int32(os.Getpid())))
	if d.PIDNS == 0 || len(d.NSPIDs) == 0 || d.NSPIDs[0] != d.PID || d.UID != uint32(os.Getuid()) || d.Comm == "" {
		t.Errorf("got %+v", d)
	}
	if d := p.Describe(lockmgr.Identity{PID: 1 << 29}); len(d.NSPIDs) != 1 || d.NSPIDs[0] != 1<<29 {
		t.Errorf("nobody: %+v", d)
	}
}

func TestDescribeInAnotherNamespace(t *testing.T) {
	needRoot(t)
	p := New(Options{Features: Probe()})
	c := start(t, exec.Command("unshare", "--pid", "--fork", "--kill-child", "cat"))
	fmt.Fprintln(c.in, "ready")
	c.line(t)
	for pid := range descendants(t, p, c.pid()) {
		if pid == c.pid() {
			continue // unshare itself
		}
		d := p.Describe(identify(t, p, pid))
		if len(d.NSPIDs) != 2 || d.NSPIDs[0] != pid || d.NSPIDs[1] != 1 {
			t.Errorf("NSPIDs %v, want [%d 1]", d.NSPIDs, pid)
		}
		if d.Comm != "cat" || d.PIDNS == p.proc.namespace(int32(os.Getpid()), "pid") {
			t.Errorf("got %+v", d)
		}
		return
	}
	t.Error("nobody found in the namespace")
}

func descendants(t *testing.T, p *Processes, root int32) map[int32]bool {
	t.Helper()
	family := map[int32]bool{root: true}
	for grown := true; grown; {
		grown = false
		pids, err := p.proc.pids()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			text, err := p.proc.status(pid)
			parent := statusNumbers(text, "PPid")
			if err == nil && len(parent) == 1 && family[int32(parent[0])] && !family[pid] {
				family[pid], grown = true, true
			}
		}
	}
	return family
}

func TestContainerID(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	pod := strings.Repeat("f", 64)
	for line, want := range map[string]string{
		"0::/system.slice/docker-" + id + ".scope":                       id,
		"12:pids:/docker/" + id:                                          id,
		"0::/machine.slice/libpod-" + id + ".scope/container":            id,
		"0::/machine.slice/libpod-conmon-" + id + ".scope":               "",
		"0::/kubepods.slice/kubepods-pod1_2.slice/crio-" + id + ".scope": id,
		"0::/kubepods/burstable/pod12-34/" + id:                          id,
		"0::/k.slice:cri-containerd:" + id:                               id,
		"0::/k.slice/cri-containerd-" + id + ".scope":                    id,
		"0::/docker/" + pod + "/docker/" + id:                            id,
		"0::/user.slice/user-1000.slice/session-3.scope":                 "",
		"0::/docker/" + id[1:]:                                           "",
		"0::/docker/" + id + "0":                                         "",
		"0::/":                                                           "",
	} {
		if got := containerID(line); got != want {
			t.Errorf("%s: %q", line, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	rest := strings.Repeat(" 7", 18) + " 4711" + strings.Repeat(" 8", 29) + " 9"
	want := func(comm string, state byte) procStat {
		return procStat{comm: comm, state: state, start: 4711, parent: 7, flags: 7, exit: 9}
	}
	for text, want := range map[string]procStat{
		"12 (node) S" + rest:             want("node", 'S'),
		"12 (a) Z (b) c) R" + rest:       want("a) Z (b) c", 'R'),
		"12 () Z" + rest:                 want("", 'Z'),
		"12 (new\nline) T" + rest + "\n": want("new\nline", 'T'),
	} {
		if got, err := parseStat([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "12", "12 (x", "12 )x( S", "12 (x) S 1 2 3", "12 (x)"} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCallerCache()
	for tid := range int32(2 * cacheEntries) {
		c.put(tid, caller{thread: uint64(tid)})
	}
	if n := len(c.entries); n != cacheEntries {
		t.Fatalf("%d entries", n)
	}
}

// BenchmarkIdentify measures a thread that was seen before, as nearly all are.
func BenchmarkIdentify(b *testing.B) {
	for name, f := range ways() {
		p := New(Options{Features: f})
		b.Run(name+"/first thread", func(b *testing.B) { benchIdentify(b, p, int32(os.Getpid())) })
		b.Run(name+"/other thread", func(b *testing.B) {
			onThread(func(tid int32) { benchIdentify(b, p, tid) })
		})
		b.Run(name+"/other thread, new", func(b *testing.B) {
			onThread(func(tid int32) {
				for b.Loop() {
					p.cache = newCallerCache()
					identify(b, p, tid)
				}
			})
		})
	}
}

func benchIdentify(b *testing.B, p *Processes, tid int32) {
	for b.Loop() {
		identify(b, p, tid)
	}
}
