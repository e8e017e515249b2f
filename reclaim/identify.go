package reclaim

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Options says how processes are looked at.
type Options struct {
	// Features is what the kernel offers, usually Probe().
	Features Features
	// Procfs is where proc is mounted, of our own PID namespace; "" means /proc.
	Procfs string
	// Proxies are the command names of servers that act for processes elsewhere, so that
	// their requests name nobody, like those of kernel threads. Nil means nfsd, smbd, virtiofsd and sftp-server.
	Proxies []string
	// Helpers are the programs that act for their shell (rule 7). Nil means those of the rule.
	Helpers []string
	// Family are processes that belong to this one: what they have open says nothing of anybody.
	Family []int
}

// Processes looks at processes. Safe for concurrent use; takes no lock of its callers.
type Processes struct {
	features Features
	proc     procfs
	proxies  map[string]bool // read only
	cache    *callerCache
	helpers  atomic.Pointer[map[string]bool]
	known    *describedCache
	glanced  *describedCache
	watching *watchCache
	waits    waits
	family   []int
}

func (o *Options) procfs() procfs {
	if o.Procfs == "" {
		return "/proc"
	}
	return procfs(o.Procfs)
}

// New makes a Processes. It opens nothing and needs no closing.
func New(o Options) *Processes {
	if o.Proxies == nil {
		o.Proxies = []string{"nfsd", "smbd", "virtiofsd", "sftp-server"}
	}
	p := &Processes{
		features: o.Features, proc: o.procfs(), cache: newCallerCache(), known: newDescribedCache(), glanced: newDescribedCache(),
		watching: &watchCache{answers: map[watchQuestion]watchAnswer{}}, waits: waits{stuck: map[int32]int{}},
		family: o.Family,
	}
	p.proxies = make(map[string]bool, len(o.Proxies))
	for _, name := range o.Proxies {
		p.proxies[name[:min(len(name), 15)]] = true // the kernel cuts commands to 15 bytes
	}
	if o.Helpers == nil {
		o.Helpers = DefaultHelpers()
	}
	p.SetHelpers(o.Helpers)
	return p
}

// ours reports whether a process is this one or of its family.
func (p *Processes) ours(pid int32) bool {
	return int(pid) == os.Getpid() || slices.Contains(p.family, int(pid))
}

// Identify names the process of the thread that made a request. The thread must be
// blocked in that request until Identify returns: then none of its ids can be reused
// meanwhile. The zero Identity means that there is no telling: thread id 0 (a caller
// outside our PID namespace), a known proxy, or a thread that is gone.
//
// Where the kernel has pidfs this takes three system calls for a thread seen within
// the last second, and otherwise one reading of /proc/PID/stat on top; without pidfs two
// files of /proc are read each time.
func (p *Processes) Identify(tid uint32) lockmgr.Identity {
	c, ok := p.identify(tid)
	if !ok || c.proxy {
		return lockmgr.Identity{}
	}
	return c.identity
}

// identify finds out about a thread that waits for us; ok is false if there is no telling.
func (p *Processes) identify(tid uint32) (c caller, ok bool) {
	if tid == 0 || tid > 1<<30 {
		return caller{}, false
	}
	if p.features.Pidfs && p.features.PidfdThread {
		return p.identifyByPidfd(int32(tid))
	}
	return p.identifyByProc(int32(tid))
}

// Untold says why Identify did not name a caller that has a name: we are short of
// descriptors or memory. It is nil for one that has none (thread id 0, a proxy) or is gone.
func (p *Processes) Untold(tid uint32) error {
	if tid == 0 || tid > 1<<30 {
		return nil
	}
	fd, err := unix.Open(p.proc.of(int32(tid), "status"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
		return unix.Close(fd)
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM:
		return err
	}
	return nil
}

// Is reports whether a thread that waits for us belongs to the process. It may be inside
// execve(2), closing descriptors: then everything of it in /proc that needs the right to
// trace (stat, fd, exe, ...) waits for that call to be done, and with it for us. So where
// there is pidfs this takes pidfds alone, and otherwise /proc/TID/status, which does not wait.
func (p *Processes) Is(tid uint32, id lockmgr.Identity) bool {
	if tid == 0 || tid > 1<<30 || !id.Known() {
		return false
	}
	if id.Pidfs == 0 {
		tgid, err := p.proc.tgid(int32(tid))
		return err == nil && tgid == id.PID
	}
	if int32(tid) != id.PID {
		fd, err := openPidfd(int32(tid), unix.PIDFD_THREAD)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		if tgid, err := p.groupOf(fd, int32(tid)); err != nil || tgid != id.PID {
			return false
		}
	}
	ino, err := processInode(id.PID)
	return err == nil && ino == id.Pidfs
}

func (p *Processes) identifyByPidfd(tid int32) (caller, bool) {
	fd, err := openPidfd(tid, unix.PIDFD_THREAD)
	if err != nil {
		return caller{}, false
	}
	defer unix.Close(fd)
	thread, err := pidfdInode(fd)
	if err != nil {
		return caller{}, false
	}
	now := time.Now()
	known, ok := p.cache.get(tid, thread, now)
	if ok {
		return known, true
	}
	if known, err = p.lookAt(fd, tid, thread); err != nil {
		return caller{}, false
	}
	known.seen = now
	if !known.shell && !slices.Contains(shells, known.comm) { // its fork may be another program in a moment, and act for nobody
		p.cache.put(tid, known)
	}
	return known, true
}

// lookAt finds out everything about a thread, given a pidfd of it and its inode.
func (p *Processes) lookAt(fd int, tid int32, thread uint64) (caller, error) {
	tgid, err := p.groupOf(fd, tid)
	if err != nil {
		return caller{}, err
	}
	process := thread // a leader's thread and its process share one struct pid
	if tgid != tid {
		if process, err = processInode(tgid); err != nil {
			return caller{}, err
		}
	}
	return p.callerOf(tgid, process, thread)
}

func (p *Processes) groupOf(fd int, tid int32) (int32, error) {
	if p.features.PidfdInfo {
		return threadGroup(fd)
	}
	return p.proc.tgid(tid)
}

func (p *Processes) identifyByProc(tid int32) (caller, bool) {
	tgid, err := p.proc.tgid(tid)
	if err != nil {
		return caller{}, false
	}
	c, err := p.callerOf(tgid, 0, 0)
	return c, err == nil
}

// callerOf reads of a process what only /proc tells; a zombie leader still has its
// start time there.
func (p *Processes) callerOf(tgid int32, process, thread uint64) (caller, error) {
	st, err := p.proc.stat(tgid)
	if err != nil {
		return caller{}, err
	}
	c := caller{
		thread:   thread,
		identity: lockmgr.Identity{PID: tgid, StartTime: st.start, Pidfs: process},
		proxy:    st.flags&kernelThread != 0 || p.isProxy(st.comm),
		comm:     st.comm, parent: st.parent, flags: st.flags,
	}
	c.shell = st.flags&forkNoExec != 0 && p.isShell(tgid, st.comm) // agents call exec: nothing more is read of them
	return c, nil
}

// isProxy goes by the first word of the name: smbd says in brackets whom it serves.
func (p *Processes) isProxy(comm string) bool {
	name, _, _ := strings.Cut(comm, "[")
	return p.proxies[name]
}

// identityOf names a process that nothing keeps from vanishing. It is the identity of
// whoever bears the PID while this runs: start time and pidfs inode are of one process
// because the pidfd is still good after the start time was read.
func (p *Processes) identityOf(pid int32) (lockmgr.Identity, error) {
	if !p.features.Pidfs || !p.features.PidfdThread {
		st, err := p.proc.stat(pid)
		return lockmgr.Identity{PID: pid, StartTime: st.start}, err
	}
	ino, err := processInode(pid)
	if err != nil {
		return lockmgr.Identity{}, err
	}
	st, err := p.proc.stat(pid)
	if err != nil {
		return lockmgr.Identity{}, err
	}
	if again, err := processInode(pid); err != nil || again != ino {
		return lockmgr.Identity{}, unix.ESRCH
	}
	return lockmgr.Identity{PID: pid, StartTime: st.start, Pidfs: ino}, nil
}

// processInode returns the pidfs inode of a process, not of one of its threads.
func processInode(pid int32) (uint64, error) {
	fd, err := openPidfd(pid, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return pidfdInode(fd)
}
