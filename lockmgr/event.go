package lockmgr

import (
	"bytes"
	"time"
)

// What says what happened to a lock.
type What uint8

// What can happen.
const (
	GrantedTo   What = iota // an exclusive create won
	Released                // its owner removed it
	Refused                 // somebody's act was refused
	Orphaned                // its owner died; it stays as evidence
	AbandonedBy             // its owner died; it is not recognised and stays
	Reclaimed               // an orphan was removed, by us or to make way
	Cleared                 // somebody removed an orphan, abandoned or untracked entry
	Forced                  // a person released it
	Adopted                 // an untracked lock was found to be held
	Unwatched               // its owner's death can't be learnt from the kernel
	Guarded                 // another process wrote, or would have written, to the file that the lock is for
	Delegated               // its payload names a shell, which is the owner from now on
	Restored                // it was granted by an earlier server of this mount, or before the mount was started again
	Unrecorded              // a change of a grant could not be recorded
	Expired                 // somebody removed it, which was held for longer than the policy lets a living owner
	Contended               // another process looked it up that had not of late, as one does that wants it
)

func (w What) String() string {
	return [...]string{"granted", "released", "refused", "orphaned", "abandoned", "reclaimed",
		"cleared", "forced", "adopted", "unwatched", "guarded", "delegated", "restored",
		"unrecorded", "expired", "contended"}[w]
}

// ends are what a grant can end with. An orphan is told of more than once: the grant has ended with the first.
var ends = [256]bool{
	Released: true, Orphaned: true, AbandonedBy: true, Reclaimed: true, Cleared: true, Forced: true, Expired: true,
}

// Cause is what had an orphan reclaimed, in a word. Event.Reason says it to people.
type Cause uint8

// The causes.
const (
	OwnerDied Cause = iota // its owner died, and it is no evidence
	Wanted                 // an exclusive create wanted the name
	GivenUp                // its owner's process had removed it before it closed it (rule 6)
	Judged                 // it was untracked, and found to be a dead process's (rule 8)
	ByPerson               // a person released it
)

func (c Cause) String() string {
	return [...]string{"owner_died", "wanted", "given_up", "judged", "forced"}[c]
}

// Event is one thing that happened to one lock. It explains itself: Owner is who held
// the lock, By who acted (the zero Identity if nobody did or the kernel could not say).
type Event struct {
	Time    time.Time
	What    What
	Key     Key
	Token   Token
	Owner   Process
	Act     Act // of a refusal
	By      Identity
	Reason  string
	Payload []byte    // of a reclaimed lock: its first 4 KiB
	Refused int       // refusals of this grant so far
	Since   time.Time // when it was granted, adopted or first seen
	Ended   bool      // a grant ended with it
	Cause   Cause     // of Reclaimed

	Write  WriteKind // of Guarded: what was written
	Denied bool      // of Guarded: it was refused
}

// RemovedBySecond is why a lock is Reclaimed whose owner may live: see Manager.closed.
const RemovedBySecond = "its owner's process removed it before it closed it"

// maxEventPayload is how much of a reclaimed lock's payload is kept, in bytes.
const maxEventPayload = 4 << 10

// tell fills in what the entry knows and hands the event on.
func (m *Manager) tell(e *entry, ev Event) {
	ev.Time, ev.Key, ev.Token, ev.Owner, ev.Refused = m.Now(), e.key, e.token, *e.owner, int(e.refused)
	ev.Since = e.since
	if ends[ev.What] && e.token != 0 && !e.ended {
		e.ended, ev.Ended = true, true
	}
	if len(ev.Payload) > maxEventPayload {
		ev.Payload = bytes.Clone(ev.Payload[:maxEventPayload]) // not the 64 KiB it is part of
	}
	m.Events(ev)
}
