package serve

import (
	"github.com/rs/zerolog"

	"sessionlockfs/fsnode"
	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// journal writes one line for each thing that happens to a lock: grants and releases, and that they are taken over,
// which are the ordinary course, only when debugging.
type journal struct {
	log zerolog.Logger
	fs  *fsnode.FS
}

func (j *journal) record(ev lockmgr.Event) {
	var line *zerolog.Event
	switch ev.What {
	case lockmgr.GrantedTo, lockmgr.Released, lockmgr.Restored:
		line = j.log.Debug()
	case lockmgr.Unwatched, lockmgr.Forced, lockmgr.Guarded:
		line = j.log.Warn()
	case lockmgr.Refused:
		if ev.Refused > quietAfter && ev.Refused%quietAfter != 0 {
			return
		}
		line = j.log.Info()
	default:
		line = j.log.Info()
	}
	if !line.Enabled() {
		return
	}
	line.Str("lock", j.fs.PathOf(ev.Key))
	if ev.Token != 0 {
		line.Uint64("token", uint64(ev.Token))
	}
	if ev.Owner.Known() {
		line.Int32("owner", ev.Owner.PID).Str("owner_comm", ev.Owner.Comm)
	}
	if ev.What == lockmgr.Refused {
		line.Str("act", ev.Act.String()).Int("refused", ev.Refused)
	}
	if ev.What == lockmgr.Guarded {
		line.Str("write", ev.Write.String()).Bool("denied", ev.Denied)
	}
	if ev.By.Known() && ev.By != ev.Owner.Identity {
		line.Int32("by", ev.By.PID)
	}
	if ev.Reason != "" {
		line.Str("reason", ev.Reason)
	}
	if ev.Payload != nil {
		line.Bytes("payload", ev.Payload)
	}
	line.Msg(ev.What.String())
}

// quietAfter is how many refusals of one grant are each worth a line; after that only
// every so many-th is, for a client that tries in a tight loop.
const quietAfter = 20

// deaths is lockmgr's view of the processes.
type deaths struct {
	processes *reclaim.Processes
	watcher   *reclaim.Watcher
	fs        *fsnode.FS
}

func (d *deaths) Watch(id lockmgr.Identity) error {
	return d.watcher.Watch(id, d.fs.Locks.OwnerDied)
}

// Killed reports whether a signal ended a process. Of one that can't be watched nobody knows.
func (d *deaths) Killed(id lockmgr.Identity) bool { return d.watcher.Killed(id) }

// Verdict asks the pidfd of a process under watch, and /proc only for one that can't be
// watched.
func (d *deaths) Verdict(id lockmgr.Identity) lockmgr.Verdict {
	dead, watched := d.watcher.Dead(id)
	switch {
	case !watched:
		return d.processes.Alive(id)
	case dead:
		return lockmgr.Dead
	}
	return lockmgr.Alive
}
