package reclaim

import (
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// relists bounds how often a process whose first thread is a zombie is looked at anew
// because its threads come and go.
const relists = 16

// Alive judges a process: Alive, Dead (gone, or all of its threads are: a zombie), Recycled
// (another process bears the PID) or Unknown. A stopped process lives, and so does one
// whose first thread has exited.
func (p *Processes) Alive(id lockmgr.Identity) lockmgr.Verdict {
	if !id.Known() {
		return lockmgr.Unknown
	}
	if p.features.PidfdOpen {
		if v := p.aliveByPidfd(id); v != lockmgr.Unknown {
			return v
		}
	}
	return p.aliveByProc(id)
}

func (p *Processes) aliveByPidfd(id lockmgr.Identity) lockmgr.Verdict {
	fd, err := openPidfd(id.PID, 0)
	switch {
	case err == unix.ESRCH:
		return lockmgr.Dead
	case err != nil && isThreadNotProcess(err):
		return lockmgr.Recycled
	case err != nil:
		return lockmgr.Unknown // no descriptors left, say
	}
	defer unix.Close(fd)
	same, err := holdsIdentity(fd, id, p.features, p.proc)
	if err != nil {
		return lockmgr.Unknown
	}
	if !same {
		return lockmgr.Recycled
	}
	return verdictOnExit(exited(fd))
}

func verdictOnExit(dead bool, err error) lockmgr.Verdict {
	switch {
	case err != nil:
		return lockmgr.Unknown
	case dead:
		return lockmgr.Dead
	}
	return lockmgr.Alive
}

func (p *Processes) aliveByProc(id lockmgr.Identity) lockmgr.Verdict {
	st, err := p.proc.stat(id.PID)
	switch {
	case err != nil:
		return absent(id.PID, err)
	case st.start != id.StartTime:
		return lockmgr.Recycled
	case !st.dead():
		return lockmgr.Alive
	}
	return p.anyThreadAlive(id.PID)
}

// absent tells a process that is gone from one that proc hides (hidepid).
func absent(pid int32, err error) lockmgr.Verdict {
	if vanished(err) && unix.Kill(int(pid), 0) == unix.ESRCH {
		return lockmgr.Dead
	}
	return lockmgr.Unknown
}

// anyThreadAlive looks at a process with a zombie leader. A thread that vanishes between
// listing and looking may have made another, so then the list is read again.
func (p *Processes) anyThreadAlive(pid int32) lockmgr.Verdict {
	for range relists {
		tids, err := p.proc.threads(pid)
		if err != nil {
			return absent(pid, err)
		}
		if v := p.threadsVerdict(tids); v != lockmgr.Unknown {
			return v
		}
	}
	return lockmgr.Unknown
}

func (p *Processes) threadsVerdict(tids []int32) lockmgr.Verdict {
	verdict := lockmgr.Dead
	for _, tid := range tids {
		st, err := p.proc.stat(tid)
		switch {
		case err != nil:
			verdict = lockmgr.Unknown
		case !st.dead():
			return lockmgr.Alive
		}
	}
	return verdict
}
