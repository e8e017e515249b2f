package events

import "time"

// Event is one thing that happened. As JSON it is an interface that programs rely on: fields
// are only ever added.
type Event struct {
	Seq   uint64    `json:"seq"` // grows by one with each event of a mount point, also across restarts
	Time  time.Time `json:"time"`
	Event string    `json:"event"`          // what happened: a lockmgr.What, or one of those below
	Lock  string    `json:"lock,omitempty"` // relative to the mount
	Token uint64    `json:"token,omitempty"`
	Owner *Process  `json:"owner,omitempty"` // who holds the lock, or held it
	By    *Process  `json:"by,omitempty"`    // who did it, if that is somebody else

	Act     string  `json:"act,omitempty"`     // of a refusal: what was refused
	Write   string  `json:"write,omitempty"`   // of a guard's report: what was written, or would have been
	Denied  bool    `json:"denied,omitempty"`  // of a guard's report: it was refused
	Refused int     `json:"refused,omitempty"` // refusals of this grant so far
	Reason  string  `json:"reason,omitempty"`  // in words
	Payload string  `json:"payload,omitempty"` // of a lock that was reclaimed: its first 4 KiB
	Held    float64 `json:"held_s,omitempty"`  // of the end of a grant: how long it lasted, in seconds
	Server  int     `json:"server,omitempty"`  // of Started and TookOver: the PID of the server
	Missing uint64  `json:"missing,omitempty"` // of Lost: how many events
}

// What happens to the mount, and not to a lock.
const (
	Started  = "started"   // the mount was started
	TookOver = "took_over" // another server goes on
	Lost     = "lost"      // more happened at once than is kept
)

// Process is somebody in an event.
type Process struct {
	PID       int32   `json:"pid"`
	NSPIDs    []int32 `json:"ns_pids,omitempty"` // in each of its PID namespaces, the mount's first
	UID       uint32  `json:"uid"`
	Comm      string  `json:"comm,omitempty"`
	Container string  `json:"container,omitempty"`
}
