package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
)

// Answer is all that `why` knows of a lock; as JSON it is an interface that programs rely on: fields are only ever added.
type Answer struct {
	Version    int       `json:"version"` // of this format: 1
	At         time.Time `json:"at"`      // when it was found out
	Lock       string    `json:"lock"`    // as it was named
	Path       string    `json:"path"`    // relative to the mount
	Mountpoint string    `json:"mountpoint"`

	User      string           `json:"user,omitempty"`      // name of the owner's user on this machine
	Container *Container       `json:"container,omitempty"` // that the owner is in; nil if in none that can be told
	State     string           `json:"state"`               // that of Known; "free" if the mount knows nothing of the name, whatever File says is there
	Verdict   Verdict          `json:"verdict"`             // what that comes to; it is the exit code as well
	Known     *fsnode.LockDump `json:"known,omitempty"`     // what the mount knows, as `locks --json` has it
	Process   *Living          `json:"process,omitempty"`   // what the owner is now; nil if nothing can be seen of it
	Hidden    bool             `json:"hidden"`              // the owner can't be looked at from here: we are in another PID namespace
	Watched   bool             `json:"watched"`             // a pidfd tells of the owner's death; else somebody has to ask /proc

	File      *fsnode.PayloadDump `json:"file,omitempty"`       // what the file says; nil if it can't be told
	FileError string              `json:"file_error,omitempty"` // why it can't be told

	Refused      []Refusals     `json:"refused"`                // others' changes, to the lock and to the file that it is for, since it was granted: the last ones
	Recent       []events.Event `json:"recent"`                 // what else happened to it lately, oldest first
	EventsError  string         `json:"events_error,omitempty"` // why what happened can't be told
	Expectations []Expectation  `json:"clients"`                // what clients would do now
	Advice       []string       `json:"advice"`                 // what a person can do now
}

// Verdict says whether somebody holds a lock.
type Verdict string

// The verdicts.
const (
	IsHeld    Verdict = "held"
	IsFree    Verdict = "free"    // an exclusive create wins at once
	IsUnknown Verdict = "unknown" // it stands in the way, and nobody can tell whether somebody holds it; or it can't be seen whether it does
)

// Refusals are changes of one kind by one process.
type Refusals struct {
	By     *events.Process `json:"by,omitempty"` // nil if it is the owner's own, or the kernel could not name it
	What   string          `json:"what"`         // the act, or the kind of write to the guarded file
	File   bool            `json:"file"`         // it was about the file that the lock is for
	Denied bool            `json:"denied"`       // it was refused; else it was done, and told of
	Count  int             `json:"count"`        // how often, as far as each was kept
	Last   time.Time       `json:"last"`
}

// Why says why a lock is there: who holds it, how that is known, and what to do. The error is an Answered, unless the lock is held.
func Why(lock string, asJSON bool, out io.Writer) error {
	a, err := answer(lock)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(out, a)
	} else {
		_, err = io.WriteString(out, a.text())
	}
	if err != nil {
		return err
	}
	return a.Verdict.exit()
}

func (v Verdict) exit() error {
	switch v {
	case IsHeld:
		return nil
	case IsFree:
		return Answered(Free)
	}
	return Answered(Unknown)
}

// answer asks the mount and the machine.
func answer(lock string) (*Answer, error) {
	at, err := whereIs(lock)
	if err != nil {
		return nil, err
	}
	if at.path == "" {
		return nil, refuseDirectory(lock, at.mountpoint)
	}
	q := newQuestion(at)
	a := &Answer{Version: 1, Lock: lock, Mountpoint: at.mountpoint}
	server, err := a.ask(q)
	if err != nil {
		return nil, err
	}
	a.lookAtOwner(server)
	a.lookBack(q)
	a.Expectations, a.Advice = a.expectations(), a.advice()
	return a, nil
}

// ask asks the mount; once more if the lock came or went between two questions.
func (a *Answer) ask(q *question) (server fsnode.MountDump, err error) {
	for again := range 2 {
		dump, err := q.dump()
		if err != nil {
			return server, err
		}
		if err := a.lookAtFile(q); err != nil {
			return server, err
		}
		a.At, server = time.Now(), dump.Mount
		a.know(dump)
		if a.Known == nil && !q.past && q.follow() {
			a.Path = q.path
			a.know(dump)
		}
		if agreed := a.File == nil || (a.Known != nil) == (a.File.Kind != ""); agreed || again > 0 {
			break
		}
	}
	if a.File == nil && a.Known == nil && !isLock(filepath.Base(a.Path)) {
		return server, refuseName(a.Lock, a.Mountpoint)
	}
	return server, nil
}

// isLock goes by the names that are locks' without configuration, where the mount can't be asked.
func isLock(name string) bool {
	policy := lockmgr.DefaultPolicy()
	return policy.IsLock(name)
}

// know takes over what the mount knows of the lock. By now the path is without links.
func (a *Answer) know(dump fsnode.Dump) {
	a.State, a.Verdict = "free", IsFree
	if a.Known = findLock(dump, a.Path); a.Known != nil {
		a.State = a.Known.State
	}
	switch {
	case a.State == "held":
		a.Verdict = IsHeld
	case a.State != "free" && a.State != "orphan", a.unnoticed(), a.blind():
		a.Verdict = IsUnknown
	}
}

// unnoticed reports whether something stands there of which the mount has taken no notice.
func (a *Answer) unnoticed() bool { return a.Known == nil && a.File != nil && a.File.Kind != "" }

// blind reports whether something could stand there of which the mount has taken no notice.
func (a *Answer) blind() bool { return a.Known == nil && a.File == nil }

// overdue reports whether it is held for longer than it may be.
func (a *Answer) overdue() bool { return a.State == "held" && a.File != nil && a.File.Overdue }

// owner is whom it was granted to; nil if that has no name.
func (a *Answer) owner() *fsnode.OwnerDump {
	if a.Known == nil {
		return nil
	}
	return a.Known.Owner
}

// ownerGone reports whether the owner of a held lock is dead, as far as can be seen: somebody else has its handle open then.
func (a *Answer) ownerGone() bool {
	return a.State == "held" && a.owner() != nil && !a.Hidden && a.Process == nil
}

// named is somebody as people are told of it.
func named(comm string, pid int32) string { return fmt.Sprintf("%s %d", Printable(comm), pid) }
