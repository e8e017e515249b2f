package reclaim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Watcher tells of the death of processes as the kernel does: one pidfd per process,
// one goroutine that sleeps in epoll_wait until something happens, no timers. A pidfd
// becomes readable when all threads of its process are gone, reaped or not.
//
// All methods are safe for concurrent use, with whatever locks held: callbacks run in
// the goroutine only, one at a time, with no lock of the Watcher held.
type Watcher struct {
	features Features
	proc     procfs
	epoll    int
	wake     int // an eventfd: there are notices, or it is time to stop
	done     chan struct{}

	mu      sync.Mutex
	closed  bool
	last    uint64 // sequence number of the latest watch; wakeSeq is the eventfd's
	watches map[lockmgr.Identity]*watch
	bySeq   map[uint64]*watch
	late    []*watch                    // processes that were dead when they came
	ending  map[lockmgr.Identity]*watch // those whose callback is under way, with their descriptor
}

// wakeSeq marks the eventfd in what epoll returns.
const wakeSeq = 0

// watch is one process under watch. Epoll returns its number, not its descriptor's, as
// that may be another process's by the time we look.
type watch struct {
	id   lockmgr.Identity
	seq  uint64
	fd   int // -1: dead already, in late
	died func(lockmgr.Identity)
}

// NewWatcher starts a Watcher of the processes that New with these options knows; Close ends it. It fails when descriptors run out.
func NewWatcher(o Options) (*Watcher, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch processes: epoll_create1: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("watch processes: eventfd: %w", err)
	}
	w := &Watcher{
		features: o.Features, proc: o.procfs(), epoll: epoll, wake: wake, done: make(chan struct{}),
		watches: make(map[lockmgr.Identity]*watch), bySeq: make(map[uint64]*watch),
		ending: make(map[lockmgr.Identity]*watch),
	}
	if err := w.arm(wake, wakeSeq, unix.EPOLLIN); err != nil {
		unix.Close(epoll)
		unix.Close(wake)
		return nil, err
	}
	go w.run()
	return w, nil
}

// Watch has died called once, when the process is dead or if it is already; never from
// within Watch. A process under watch already stays so, with its first callback.
//
// An error means that it is not watched: it wraps EMFILE, ENFILE, ENOSYS, EPERM or whatever
// else the kernel said, or os.ErrClosed; the caller may ask Processes.Alive on demand instead.
func (w *Watcher) Watch(id lockmgr.Identity, died func(lockmgr.Identity)) error {
	if !id.Known() {
		return fmt.Errorf("watch a process that has no name: %w", unix.EINVAL)
	}
	if !w.features.PidfdOpen {
		return fmt.Errorf("watch PID %d: pidfd_open: %w", id.PID, unix.ENOSYS)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("watch PID %d: %w", id.PID, os.ErrClosed)
	}
	if w.watches[id] != nil {
		return nil
	}
	fd, err := w.open(id)
	if err != nil {
		return fmt.Errorf("watch PID %d: %w", id.PID, err)
	}
	return w.add(&watch{id: id, fd: fd, died: died})
}

// open returns a pidfd of the very process, or -1 if that is dead.
func (w *Watcher) open(id lockmgr.Identity) (int, error) {
	fd, err := openPidfd(id.PID, 0)
	if err == unix.ESRCH || err != nil && isThreadNotProcess(err) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("pidfd_open: %w", err)
	}
	same, err := holdsIdentity(fd, id, w.features, w.proc)
	if err == nil && same {
		return fd, nil
	}
	unix.Close(fd)
	if err != nil && !vanished(err) {
		return -1, fmt.Errorf("verify identity: %w", err)
	}
	return -1, nil
}

// add enters a watch in the tables. Caller holds mu.
func (w *Watcher) add(x *watch) error {
	w.last++
	x.seq = w.last
	if x.fd < 0 {
		w.late = append(w.late, x)
		w.poke()
	} else if err := w.arm(x.fd, x.seq, unix.EPOLLIN|unix.EPOLLONESHOT); err != nil {
		unix.Close(x.fd)
		return err
	}
	w.watches[x.id] = x
	w.bySeq[x.seq] = x
	return nil
}

// Dead asks the kernel about a process under watch, and does not wait for the loop to get
// its turn. watched is false if the process is not under watch: then nothing is said.
func (w *Watcher) Dead(id lockmgr.Identity) (dead, watched bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.watches[id]
	if x == nil {
		return false, false
	}
	if x.fd < 0 {
		return true, true
	}
	dead, err := exited(x.fd)
	return dead && err == nil, true
}

// Killed reports whether a signal ended a process that is dead and was under watch: until
// its callback has returned, and false if there is no telling.
func (w *Watcher) Killed(id lockmgr.Identity) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.watches[id]
	if x == nil {
		x = w.ending[id]
	}
	return x != nil && x.fd >= 0 && killedBySignal(x.fd, id, w.proc)
}

// end is when a callback has returned.
func (w *Watcher) end(x *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending[x.id] == x {
		delete(w.ending, x.id)
	}
	w.closeWatch(x)
}

// Unwatch ends the watch of a process, if there is one. A callback that is under way
// in the other goroutine may still come; no other does.
func (w *Watcher) Unwatch(id lockmgr.Identity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.watches[id]; x != nil {
		w.drop(x)
	}
}

// drop ends a watch. Caller holds mu.
func (w *Watcher) drop(x *watch) {
	w.forget(x)
	w.closeWatch(x)
}

// forget takes a watch out of the tables. Caller holds mu.
func (w *Watcher) forget(x *watch) {
	delete(w.watches, x.id)
	delete(w.bySeq, x.seq)
}

// closeWatch gives back the descriptor. Caller holds mu.
func (w *Watcher) closeWatch(x *watch) {
	if x.fd >= 0 {
		// Before closing: a child forked in between may hold the open file.
		_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, x.fd, nil)
		unix.Close(x.fd)
		x.fd = -1
	}
}

// Len is the number of processes under watch, each with one descriptor; those
// found dead whose callback has yet to come count too.
func (w *Watcher) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.watches)
}

// Close ends all watches and returns when the goroutine has ended and no callback runs any
// more; so it must not be called from one, nor with a lock that one takes. It may be called twice.
func (w *Watcher) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		w.poke()
	}
	w.mu.Unlock()
	<-w.done
}

// run is the goroutine.
func (w *Watcher) run() {
	defer close(w.done)
	defer w.release()
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("watch processes: epoll_wait: %v", err)) // our own descriptor, our own buffer
		}
		dead, closed := w.collect(events[:max(n, 0)])
		if closed {
			return
		}
		for _, x := range dead {
			x.died(x.id)
			w.end(x)
		}
	}
}

// collect takes the dead out of the tables.
func (w *Watcher) collect(events []unix.EpollEvent) (dead []*watch, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range events {
		seq := sequence(&events[i])
		if seq == wakeSeq {
			dead = append(dead, w.takeLate()...)
		} else if x := w.bySeq[seq]; x != nil { // nil: unwatched since
			w.forget(x)
			w.ending[x.id] = x
			dead = append(dead, x)
		}
	}
	return dead, w.closed
}

// takeLate answers the eventfd. Caller holds mu.
func (w *Watcher) takeLate() []*watch {
	var count [8]byte
	_, _ = unix.Read(w.wake, count[:])
	var dead []*watch
	for _, x := range w.late {
		if w.watches[x.id] == x {
			w.drop(x)
			dead = append(dead, x)
		}
	}
	w.late = nil
	return dead
}

// poke wakes the goroutine. Caller holds mu, so that the eventfd is open. Writing
// fails only when a wake-up is due anyway.
func (w *Watcher) poke() {
	one := binary.NativeEndian.AppendUint64(nil, 1)
	_, _ = unix.Write(w.wake, one)
}

func (w *Watcher) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.watches {
		w.drop(x)
	}
	for _, x := range w.ending { // of whom nobody is told any more
		w.closeWatch(x)
	}
	unix.Close(w.epoll)
	unix.Close(w.wake)
}

// arm puts a descriptor into the epoll set, to come back as a sequence number.
func (w *Watcher) arm(fd int, seq uint64, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(uint32(seq)), Pad: int32(uint32(seq >> 32))}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("watch processes: epoll_ctl: %w", err)
	}
	return nil
}

func sequence(e *unix.EpollEvent) uint64 {
	return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
}
