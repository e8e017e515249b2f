package timeline

import (
	"time"

	"sessionlockfs/internal/events"
)

// History is what a picture shows.
type History struct {
	From, To time.Time // what is shown; ticks are in From's location
	Cut      bool      // what happened before From is no longer known
	Lanes    []Lane    // most contended first
	LeftOut  int       // lanes for which there is no room
	Server   []Mark    // what happened to the mount
	Totals   Totals
}

// Totals are of all lanes, with those that are left out.
type Totals struct{ Locks, Holds, Holders, Deaths, Contended, Refused int }

// Lane is one lock.
type Lane struct {
	Lock  string
	Spans []Span // by when they begin
	Marks []Mark // by when they are

	Contended, Refused int           // in the time shown
	Holds              int           // that overlap the time shown
	Held               time.Duration // of the time shown
}

// Span is a time in which a lock was in one state. It may begin before and end after what is shown.
type Span struct {
	Kind     Kind
	Holder   Holder // who holds it, or held it
	Token    uint64
	From, To time.Time
	Before   bool // it began at some time before From
	End      End
	By       Holder // who ended it, if that is not the holder
	Reason   string // why it began or ended as it did, in words

	Contended, Refused int // by others, meanwhile
}

// Kind is the state of a lock in a span.
type Kind uint8

// The kinds.
const (
	Hold      Kind = iota
	Orphan         // its owner is dead, and it is there for the next one
	Abandoned      // its owner is dead, and it could be data
)

// End is how a span ended.
type End uint8

// The ends.
const (
	Open       End = iota // it goes on
	Released              // by its owner
	Died                  // its owner did
	ForcedAway            // by a person
	Overdue               // somebody removed it, which was held for too long
	HandedOver            // to the shell that its payload names
	Taken                 // an orphan made way for the next owner
	Removed               // an orphan was removed
	Unseen                // nobody told; at the latest then
)

// Mark is something that happened at a moment.
type Mark struct {
	At   time.Time
	Kind MarkKind
	By   Holder // who did it
	N    int    // how many times: not each refusal is told by itself
	Text string // what was done, or why
	PID  int    // of a server
}

// MarkKind is what happened.
type MarkKind uint8

// The kinds of marks, in the order in which they are drawn: the last are on top.
const (
	Wanted   MarkKind = iota // somebody looked for the lock that another one held
	Refused                  // an act was refused
	Guarded                  // another process wrote to what the lock is for
	Denied                   // or would have
	Expired                  // somebody removed what was held for too long
	Forced                   // a person released it
	Death                    // its owner died
	Started                  // the mount was started
	TookOver                 // another server goes on
	Lost                     // events are missing
	markKinds
)

// Holder is a process; the zero Holder is one that the kernel could not name.
type Holder struct {
	PID       int32
	Inside    int32 // its PID in its container, or 0 if that is the same
	UID       uint32
	Comm      string
	Container string
}

// identity tells processes apart. A process may change its name.
type identity struct {
	pid       int32
	container string
}

func (h Holder) identity() identity { return identity{h.PID, h.Container} }

func (h Holder) known() bool { return h.PID != 0 }

func holder(p *events.Process) Holder {
	if p == nil {
		return Holder{}
	}
	h := Holder{PID: p.PID, UID: p.UID, Comm: p.Comm, Container: p.Container}
	if n := len(p.NSPIDs); n > 1 {
		h.Inside = p.NSPIDs[n-1]
	}
	return h
}
