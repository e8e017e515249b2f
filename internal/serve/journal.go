package serve

import (
	"github.com/rs/zerolog"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// journal keeps everything that happens to a lock among the events, and writes one line of the log for it: for grants and releases, and
// that they are taken over, which are the ordinary course, only when debugging.
type journal struct {
	log     zerolog.Logger
	fs      *fsnode.FS
	events  *events.Log
	metrics *metrics
}

func (j *journal) record(ev lockmgr.Event) {
	j.metrics.count(ev)
	if ev.What == lockmgr.Refused && ev.Refused > quietAfter && ev.Refused%quietAfter != 0 {
		return
	}
	j.events.Add(func() events.Event { return j.event(ev) })
	var line *zerolog.Event
	switch ev.What {
	case lockmgr.GrantedTo, lockmgr.Released, lockmgr.Restored, lockmgr.Contended:
		line = j.log.Debug()
	case lockmgr.Unwatched, lockmgr.Forced, lockmgr.Guarded:
		line = j.log.Warn()
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

// event is what is kept of it.
func (j *journal) event(ev lockmgr.Event) events.Event {
	kept := events.Event{
		Time: ev.Time, Event: ev.What.String(), Lock: j.fs.PathOf(ev.Key), Token: uint64(ev.Token), Refused: ev.Refused,
		Owner: process(ev.Owner), Reason: ev.Reason, Payload: string(ev.Payload),
	}
	if ev.By.Known() && ev.By != ev.Owner.Identity {
		kept.By = process(j.fs.Callers.Describe(ev.By))
	}
	switch ev.What {
	case lockmgr.Refused:
		kept.Act = ev.Act.String()
	case lockmgr.Guarded:
		kept.Write, kept.Denied = ev.Write.String(), ev.Denied
	case lockmgr.Released, lockmgr.Reclaimed, lockmgr.Orphaned, lockmgr.AbandonedBy, lockmgr.Forced, lockmgr.Expired:
		if !ev.Since.IsZero() {
			kept.Held = ev.Time.Sub(ev.Since).Seconds()
		}
	}
	return kept
}

// process is nil if the kernel could not name it.
func process(p lockmgr.Process) *events.Process {
	if !p.Known() {
		return nil
	}
	return &events.Process{PID: p.PID, NSPIDs: p.NSPIDs, UID: p.UID, Comm: p.Comm, Container: p.Container}
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
