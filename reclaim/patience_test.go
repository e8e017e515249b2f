package reclaim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// A shell that stands inside execve(2), and stays there, is not waited for: neither by whom
// its helper asks something of, nor by a judgement.
func TestShellInsideExec(t *testing.T) {
	dir := t.TempDir()
	for name, from := range map[string]string{"bash": "/proc/self/exe", "mkdir": "/bin/cat"} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fs, p := mountFlushless(t), New(Options{Features: Probe()})
	cmd := exec.Command(filepath.Join(dir, "bash"))
	cmd.Env = append(os.Environ(), helperEnv+"=exec-holding", argEnv+"="+filepath.Join(dir, "mkdir")+":"+fs.file)
	sh := start(t, cmd)
	t.Cleanup(fs.release) // before it is waited for
	mkdir := sh.number(t)
	until(t, "mkdir", func() bool { st, err := p.proc.stat(mkdir); return err == nil && st.comm == "mkdir" })
	self, shell := identify(t, p, mkdir), identify(t, p, sh.pid())
	if id, helper := p.Acting(uint32(mkdir)); id != shell || !helper {
		t.Errorf("before: %+v, helper %t", id, helper)
	}
	fmt.Fprint(sh.in, "x")
	fs.awaitFlush(t)
	inTime(t, func() {
		for range 3 {
			if id, helper := p.Acting(uint32(mkdir)); id != self || !helper {
				t.Errorf("inside: %+v, helper %t", id, helper)
			}
		}
		if d := p.Describe(self); len(d.Shells) != 0 {
			t.Errorf("shells above %+v", d.Shells)
		}
		s := subject(t, lockFile(t))
		c := newCensus([]Subject{s})
		if err := c.take(p); err != nil || !slices.Contains(c.opaque, sh.pid()) {
			t.Errorf("hidden are %v: %v", c.opaque, err)
		}
		s.KeepsOpen, s.PID, s.Written = false, sh.pid(), time.Now()
		if f := p.Judge(s); f.Verdict != lockmgr.Unknown {
			t.Errorf("judged %v, %q", f.Verdict, f.Reason)
		}
	})
	fs.release()
	until(t, "the end of all readings", func() bool {
		p.waits.mu.Lock()
		defer p.waits.mu.Unlock()
		return p.waits.all == 0 && len(p.waits.stuck) == 0
	})
}

// A reading that has too little of the processors is waited for, one that sleeps is not.
func TestPatience(t *testing.T) {
	const limit = 10 * time.Millisecond
	w := waits{stuck: map[int32]int{}}
	busy := func() (int, error) {
		for end := time.Now().Add(5 * limit); time.Now().Before(end); {
		}
		return 7, nil
	}
	if got, ok := patiently(&w, 1, limit, busy); !ok || got != 7 {
		t.Errorf("busy: %d, %t", got, ok)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	sleeping := func() (int, error) { return unix.Read(pipe[0], make([]byte, 1)) }
	began := time.Now()
	if _, ok := patiently(&w, 1, limit, sleeping); ok || time.Since(began) > starved {
		t.Errorf("asleep: %t after %v", ok, time.Since(began))
	}
	unix.Close(pipe[1]) // it comes back
	until(t, "it can be asked again", func() bool { return !w.hopeless(1) })
	unix.Close(pipe[0])
}

// inTime fails the test if something waits.
func inTime(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
}
