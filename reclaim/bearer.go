package reclaim

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// A lock that says nothing but a PID, of a client that may have closed it, is alive if a
// process that reaches the directory may have written it: it bears the PID in its own
// namespace and started before it was written (rule 8).

// clockSlack is what start times, in ticks of 10 ms, and file times, which are those of the
// last tick of the kernel's clock, may be off. When in doubt the process is the older one.
const clockSlack = time.Second

// InitialPIDNamespace is the inode of the PID namespace that a machine starts with:
// PROC_PID_INIT_INO of the kernel's proc_ns.h.
const InitialPIDNamespace = 0xEFFFFFFC

// bearer makes the finding on a lock that names a PID and that nobody has open.
func (p *Processes) bearer(s Subject) lockmgr.Finding {
	if ns := p.proc.namespace(int32(os.Getpid()), "pid"); ns != InitialPIDNamespace {
		return lockmgr.Finding{Reason: fmt.Sprintf("can't see whether a process outside our PID namespace bears the PID %d", s.PID)}
	}
	if _, err := os.Stat(p.proc.of(1, "status")); err != nil {
		return lockmgr.Finding{Reason: "can't look at other users' processes"}
	}
	pids, err := p.proc.pids()
	if err != nil {
		return lockmgr.Finding{Reason: fmt.Sprintf("can't look at the processes: %v", err)}
	}
	alive, recycled := lockmgr.Finding{}, lockmgr.Finding{}
	everybody := !p.reaches(int32(os.Getpid()), s.Inode.Dev) // mounts don't tell for this file system
	for _, pid := range pids {
		if !p.bears(pid, s.PID) || !everybody && !p.reaches(pid, s.Inode.Dev) {
			continue
		}
		id, ok := patiently(&p.waits, pid, muchPatience, func() (lockmgr.Identity, error) { return p.identityOf(pid) })
		if !ok && unix.Kill(int(pid), 0) != unix.ESRCH {
			return lockmgr.Finding{Reason: fmt.Sprintf("can't look at the process with PID %d", pid)}
		}
		if !ok || p.Alive(id) == lockmgr.Dead {
			continue
		}
		owner := p.Describe(id)
		if bootTime().Add(sinceBoot(id.StartTime)).After(s.Written.Add(clockSlack)) {
			recycled = lockmgr.Finding{
				Verdict: lockmgr.Recycled,
				Reason:  processName(owner.Comm, pid) + " started after the lock was made",
			}
			continue
		}
		if alive.Verdict == lockmgr.Alive { // of two that may hold it the death of one says nothing
			return lockmgr.Finding{Verdict: lockmgr.Alive, Reason: alive.Reason + ", and so does " + processName(owner.Comm, pid)}
		}
		alive = lockmgr.Finding{
			Verdict: lockmgr.Alive, Owner: owner,
			Reason: fmt.Sprintf("%s bears the PID %d that it names", processName(owner.Comm, pid), s.PID),
		}
	}
	switch {
	case alive.Verdict == lockmgr.Alive:
		return alive
	case s.Age < s.Grace:
		return lockmgr.Finding{Reason: fmt.Sprintf("it names no living process, but it is younger than %v", s.Grace)}
	case recycled.Verdict == lockmgr.Recycled:
		return recycled
	}
	return lockmgr.Finding{Verdict: lockmgr.Dead, Reason: fmt.Sprintf("no process that reaches it bears the PID %d", s.PID)}
}

// bears reports whether a process bears a PID in its own PID namespace. A kernel thread has written nothing, and there is one with nearly every
// small PID that a container's process may have.
func (p *Processes) bears(pid, wanted int32) bool {
	text, err := p.proc.status(pid)
	if err != nil {
		return false
	}
	ids := statusNumbers(text, "NStgid")
	return len(ids) > 0 && ids[len(ids)-1] == int64(wanted) && !isKernelThread(text)
}

// isKernelThread goes by /proc/PID/status: Kthread, or before Linux 6.8 that there is no memory to tell of.
func isKernelThread(status []byte) bool {
	if kthread := statusNumbers(status, "Kthread"); len(kthread) > 0 {
		return kthread[0] == 1
	}
	return statusLine(status, "VmSize") == "" && !strings.HasPrefix(strings.TrimSpace(statusLine(status, "State")), "Z")
}

// reaches reports whether a process may reach what lies on a device: it, or a mount like
// ours, is mounted in its namespace, or it has a place on it that it was handed. Yes if that can't be seen.
func (p *Processes) reaches(pid int32, dev uint64) bool {
	ours := ofDevice(dev)
	is, err := p.proc.anyMount(pid, func(mount []string) bool {
		return ours(mount) || slices.Contains(mount, "fuse.sessionlockfs")
	})
	return is || err != nil && !vanished(err) || err == nil && p.hasPlaceOn(pid, dev)
}

// hasPlaceOn reports whether a process has its working or root directory, or an open file, on a device.
func (p *Processes) hasPlaceOn(pid int32, dev uint64) (has bool) {
	p.proc.places(pid, func(d descriptor) bool {
		got, err := d.device()
		has = err == nil && got == dev
		return has
	})
	return has
}

// sinceBoot is a start time of /proc/PID/stat as the time since boot. USER_HZ is 100 on every
// architecture that Go runs on.
func sinceBoot(n uint64) time.Duration { return time.Duration(n) * (time.Second / 100) }

// bootTime is when the machine started, by the clock that files have their times from.
func bootTime() time.Time {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(since.Nano()))
}
