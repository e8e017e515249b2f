package reclaim

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long we wait for what /proc says of a process that does not wait for
	// us. Mostly that takes microseconds. But stat, exe, cwd, ns/* and what the links in fd lead
	// to wait while that process is inside execve(2), and so, where it closes a file there, for
	// a file system that may never answer (Linux 6.18: exec_update_lock is taken in
	// do_close_on_exec). status, comm, cgroup and mountinfo never do.
	patience = 100 * time.Millisecond
	// muchPatience is the same where nobody waits for us, and there may be much to read.
	muchPatience = 2 * time.Second
	// maxStuck bounds the threads that still wait for what we no longer do.
	maxStuck = 16
)

// waits keeps account of what is waited for no more.
type waits struct {
	mu    sync.Mutex
	stuck map[int32]int // readings by process
	all   int
}

// patiently reads of a process what may wait for it, and gives up after a while; from then
// on, until that reading comes back, it gives up at once. ok is false then, and if read fails.
// A reading that is only slow, since others have the processors, is waited for.
func patiently[T any](w *waits, pid int32, limit time.Duration, read func() (T, error)) (value T, ok bool) {
	if w.hopeless(pid) {
		return value, false
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	var reader atomic.Int32
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		reader.Store(int32(unix.Gettid()))
		v, err := read()
		answers <- answer{v, err}
	}()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for end := time.Now().Add(limit + starved); ; timeout.Reset(glances) {
		select {
		case a := <-answers:
			return a.value, a.err == nil
		case <-timeout.C:
		}
		if len(answers) == 0 && (asleep(reader.Load()) || time.Now().After(end)) {
			break
		}
	}
	w.giveUp(pid)
	go func() {
		<-answers
		w.cameBack(pid)
	}()
	return value, false
}

const (
	// starved is how much longer we wait for a reading that waits for nothing but a processor.
	starved = 2 * time.Second
	// glances are between two looks at such a reading.
	glances = 10 * time.Millisecond
)

// asleep reports whether a thread of ours waits in a system call, for something else than a processor (proc_pid_syscall(5)): not while it is
// "running", has not begun, or stands in futex(2), where the Go runtime keeps it until it is its turn.
func asleep(tid int32) bool {
	if tid == 0 {
		return false
	}
	text, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(int(tid)) + "/syscall")
	call, _, _ := strings.Cut(string(text), " ")
	n, notNumber := strconv.Atoi(call)
	return err != nil || notNumber == nil && n >= 0 && n != unix.SYS_FUTEX
}

func (w *waits) hopeless(pid int32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stuck[pid] > 0 || w.all >= maxStuck
}

func (w *waits) giveUp(pid int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck[pid]++
	w.all++
}

func (w *waits) cameBack(pid int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.stuck[pid]--; w.stuck[pid] == 0 {
		delete(w.stuck, pid)
	}
}
