package serve

import (
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// journal keeps everything that happens to a lock among the events, and writes one line of the log for it: for grants and releases, and
// that they are taken over, which are the ordinary course, only when debugging.
type journal struct {
	log       zerolog.Logger
	fs        *fsnode.FS
	processes *reclaim.Processes
	events    *events.Log
	metrics   *metrics
	places    *places // of who describes events
	restored  atomic.Int64
}

func newJournal(log zerolog.Logger, fs *fsnode.FS, processes *reclaim.Processes, kept *events.Log) *journal {
	return &journal{
		log: log, fs: fs, processes: processes, events: kept, metrics: newMetrics(fs.Metrics()), places: newPlaces(fs.DirOf),
	}
}

// record is called with a turn taken: what is to be found out about an event is, unless it may be too late then, left to who describes it.
func (j *journal) record(ev lockmgr.Event) {
	j.metrics.count(ev)
	if !worthALine(ev) {
		return
	}
	if ev.What != lockmgr.Restored || j.restored.Add(1) <= mostRestored {
		by := j.by(ev)
		j.events.Add(func() events.Event { return j.event(ev, by) })
	}
	if line := j.line(ev.What); line.Enabled() {
		j.write(line, ev)
	}
}

// line begins a line of the log.
func (j *journal) line(what lockmgr.What) *zerolog.Event {
	switch what {
	case lockmgr.GrantedTo, lockmgr.Released, lockmgr.Restored, lockmgr.Contended:
		return j.log.Debug()
	case lockmgr.Unwatched, lockmgr.Forced, lockmgr.Guarded:
		return j.log.Warn()
	}
	return j.log.Info()
}

func (j *journal) write(line *zerolog.Event, ev lockmgr.Event) {
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

// by is who did it, if that is somebody else than the owner. What "rm" is called is known only as long as it waits for our answer, which is now.
func (j *journal) by(ev lockmgr.Event) *events.Process {
	if !ev.By.Known() || ev.By == ev.Owner.Identity {
		return nil
	}
	return process(j.processes.Glance(ev.By))
}

// event is what is kept of it.
func (j *journal) event(ev lockmgr.Event, by *events.Process) events.Event {
	kept := events.Event{
		Time: ev.Time, Event: ev.What.String(), Lock: j.places.path(ev.Key), Token: uint64(ev.Token), Refused: ev.Refused,
		Owner: process(ev.Owner), By: by, Reason: ev.Reason, Payload: string(ev.Payload),
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

// allRestored tells how many grants were taken over that are not told of one by one. There may be a hundred thousand, for which all that
// happened before would have to go.
func (j *journal) allRestored() {
	missing := j.restored.Load() - mostRestored
	if missing <= 0 {
		return
	}
	now := time.Now()
	j.events.Add(func() events.Event {
		return events.Event{Time: now, Event: events.Lost, Missing: uint64(missing), Reason: "more grants were taken over"}
	})
}

// process is nil if the kernel could not name it.
func process(p lockmgr.Process) *events.Process {
	if !p.Known() {
		return nil
	}
	return &events.Process{PID: p.PID, NSPIDs: p.NSPIDs, UID: p.UID, Comm: p.Comm, Container: p.Container}
}

const (
	// quietAfter is how many refusals of one grant are each worth a line; after that only every one that is twice as many, for a client that
	// tries in a tight loop: it must not push everything else out of the history.
	quietAfter = 20
	// mostRestored is how many grants that are taken over are each worth an event.
	mostRestored = 1024
)

func worthALine(ev lockmgr.Event) bool {
	if ev.What != lockmgr.Refused || ev.Refused <= quietAfter {
		return true
	}
	times := ev.Refused / quietAfter
	return ev.Refused%quietAfter == 0 && times&(times-1) == 0
}

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
