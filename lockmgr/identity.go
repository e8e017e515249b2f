package lockmgr

import "slices"

// InodeID names an inode of the real file system for as long as it is tracked.
type InodeID struct {
	Dev, Ino   uint64
	Generation uint64 `json:",omitempty"` // tells who has the number of an inode that is gone, and still tracked
}

// Key names a lock: the inode of the real directory and the entry's name in it,
// so that renaming a parent directory moves nothing.
type Key struct {
	Dir  InodeID
	Name string
}

// Token numbers a grant. Tokens of one tree only ever grow, also across restarts.
type Token uint64

// Identity is a process identity within one boot of one machine: equal (==) only
// for the very same process, whatever happens to its PID. It survives exec.
// The zero Identity is a caller that the kernel could not name.
type Identity struct {
	PID       int32  // thread group id in the mount's PID namespace
	StartTime uint64 // clock ticks since boot: field 22 of /proc/PID/stat
	Pidfs     uint64 // inode in pidfs, never used twice in one boot; 0 where the kernel has none
}

// Known reports whether the kernel could name the process.
func (i Identity) Known() bool { return i.PID > 0 }

// Process is what people are told about an owner, and what its payload is held against.
type Process struct {
	Identity
	NSPIDs    []int32 // its PID in each PID namespace it lives in, the mount's first
	PIDNS     uint64  // inode of its own PID namespace; 0 if it could not be read
	UID       uint32  // real user id
	Comm      string  // command name, at most 15 bytes
	Container string  // id of the container, "" for none

	// ByHelper says that somebody else made the lock for this process, which is a shell: a
	// helper program, or a subshell (rule 7).
	ByHelper bool
	// Shells are those ancestors of the lock's maker that are shells and lived when it made
	// the lock, the nearest first. Of each, Identity and NSPIDs are all that counts.
	Shells []Process
}

// same reports whether nothing tells the two apart.
func (p *Process) same(q *Process) bool {
	return p.Identity == q.Identity && p.PIDNS == q.PIDNS && p.UID == q.UID && p.Comm == q.Comm && p.Container == q.Container &&
		p.ByHelper == q.ByHelper && slices.Equal(p.NSPIDs, q.NSPIDs) && len(p.Shells) == 0 && len(q.Shells) == 0
}

// Verdict is a judgement on the maker of an untracked entry. Unknown never loses a lock.
type Verdict uint8

// The verdicts.
const (
	Unknown  Verdict = iota
	Alive            // the maker holds it still
	Dead             // the maker is dead, or nobody keeps open what every such client keeps open
	Recycled         // the PID lives, the identity differs
)

func (v Verdict) String() string {
	return [...]string{"unknown", "alive", "dead", "recycled"}[v]
}

// Finding is a verdict with its reason in words, and the process that is alive.
type Finding struct {
	Verdict Verdict
	Reason  string
	Owner   Process // the living owner, if Verdict is Alive and it could be told
	// About is what the entry held when it was judged (ParsePayload): of anything else that
	// it may hold by now, the verdict says nothing.
	About Payload
}
