package lockmgr

// State is what is known of a name.
type State uint8

// The states.
const (
	Free         State = iota // nothing is known of the name
	Held                      // granted to a known process
	Overdue                   // held for longer than the policy lets a living owner: Held, but for what others may do
	UnknownOwner              // granted to a caller the kernel could not name (rule 10)
	Orphan                    // recognised, its owner is dead, its creating handle closed
	Abandoned                 // an orphan that is not recognised: it could be data
	Untracked                 // has a lock's name and no grant (rule 8)
	states
)

func (s State) String() string {
	return [...]string{"free", "held", "overdue", "unknown_owner", "orphan", "abandoned", "untracked"}[s]
}

// Act is what a caller asks for.
type Act uint8

// The acts.
const (
	Create  Act = iota // an exclusive act: open with O_EXCL, mkdir, symlink, mknod, link onto, rename (NOREPLACE) onto
	Remove             // unlink, rmdir, rename away
	Replace            // rename over the name, exchange with another one
	Change             // open for writing, truncate, change of mode, owner, times or xattrs, link elsewhere
	Put                // inside a lock directory: make, rename, link or write something
	Take               // inside a lock directory: remove something or rename it away
	acts
)

func (a Act) String() string {
	return [...]string{"create", "remove", "replace", "change", "put", "take"}[a]
}

// Relation is who is asking, seen from the lock.
type Relation uint8

// The relations.
const (
	Stranger Relation = iota // any process but the owner; for an untracked entry, anybody
	Owner                    // the process the lock was granted to, any thread of it
	Second                   // the owner's process while the creating handle is open: it may be a second caller in it (rule 6)
	Late                     // a process that judged a lock of this name which is gone since (rules 3 and 6)
	Unnamed                  // a caller the kernel could not name (rule 10)
	relations
)

func (r Relation) String() string {
	return [...]string{"stranger", "owner", "second", "late", "unnamed"}[r]
}

// Outcome is what comes of an act.
type Outcome uint8

// The outcomes.
const (
	Pass     Outcome = iota // done on the real directory, as without us
	Grant                   // done on the real directory, and granted to the caller
	TakeOver                // the orphan is removed first, then as Grant
	Release                 // done on the real directory, and the grant ends
	Exists                  // refused: the name is taken (EEXIST)
	Busy                    // refused: somebody holds it (EBUSY)
	Remember                // refused (EBUSY), and the lock goes when its creating handle closes
	Gone                    // refused: what the caller judged is gone (ENOENT)
	Clear                   // done on the real directory, and what was known is forgotten
	Expire                  // done on the real directory, and the owner loses the lock and is fenced
)

func (o Outcome) String() string {
	return [...]string{"pass", "grant", "take over", "release", "exists", "busy", "remember", "gone", "clear", "expire"}[o]
}

// Refused reports whether nothing is to be done on the real directory.
func (o Outcome) Refused() bool {
	return o == Exists || o == Busy || o == Remember || o == Gone
}

// row is what comes of an act by every Relation, in the order of their constants.
type row [relations]Outcome

// all is the row of an act for which it makes no difference who is asking.
func all(o Outcome) row { return row{o, o, o, o, o} }

// rows is the law for every act, state and relation.
type rows [acts][states]row

// table is the law. What the states themselves mean, and how they follow from each other,
// is in turn.go and death.go.
var table = rows{
	Create: {
		Free:         all(Grant),
		Held:         all(Exists), // whoever asks, the owner included
		Overdue:      all(Exists),
		UnknownOwner: all(Exists),
		Orphan:       all(TakeOver),
		Abandoned:    all(Exists),
		Untracked:    all(Exists), // until it is judged
	},
	Remove: {
		Free: all(Pass),
		//                  stranger owner    second    late  unnamed
		Held:         row{Busy, Release, Remember, Gone, Busy},
		Overdue:      row{Expire, Release, Remember, Gone, Expire},
		UnknownOwner: row{Busy, Busy, Busy, Gone, Release}, // protected among its like by EEXIST only
		Orphan:       row{Clear, Clear, Clear, Gone, Clear},
		Abandoned:    row{Clear, Clear, Clear, Gone, Clear},
		Untracked:    row{Clear, Clear, Clear, Gone, Clear},
	},
	Replace: {
		Free:         all(Pass),
		Held:         row{Busy, Pass, Pass, Busy, Busy}, // the name stays its owner's
		Overdue:      row{Busy, Pass, Pass, Busy, Busy},
		UnknownOwner: row{Busy, Busy, Busy, Busy, Pass},
		Orphan:       all(Clear),
		Abandoned:    all(Clear),
		Untracked:    all(Clear),
	},
	Change: {
		Free:         all(Pass),
		Held:         row{Busy, Pass, Pass, Busy, Busy},
		Overdue:      row{Busy, Pass, Pass, Busy, Busy},
		UnknownOwner: row{Busy, Busy, Busy, Busy, Pass},
		Orphan:       all(Pass),
		Abandoned:    all(Pass),
		Untracked:    all(Pass),
	},
	Put: {
		Free:         all(Pass),
		Held:         row{Busy, Pass, Pass, Busy, Busy},
		Overdue:      row{Busy, Pass, Pass, Busy, Busy},
		UnknownOwner: row{Busy, Busy, Busy, Busy, Pass},
		Orphan:       all(Gone), // it is to go with all that is in it
		Abandoned:    all(Pass),
		Untracked:    all(Pass),
	},
	Take: {
		Free:         all(Pass),
		Held:         row{Busy, Pass, Pass, Busy, Busy},
		Overdue:      row{Pass, Pass, Pass, Busy, Pass}, // who removes the lock empties it first
		UnknownOwner: row{Busy, Busy, Busy, Busy, Pass},
		Orphan:       all(Pass),
		Abandoned:    all(Pass),
		Untracked:    all(Pass),
	},
}

// gitTable is the law for git's own locks inside a git directory: rules 1, 2 and 4 alone
// hold there (rule 9). git never steals, and its hooks rename over their parent's
// index.lock, which stays the parent's.
var gitTable = rows{
	Create: table[Create],
	Remove: {
		Free:         all(Pass),
		Held:         row{Clear, Release, Release, Clear, Clear},
		Overdue:      row{Clear, Release, Release, Clear, Clear},
		UnknownOwner: row{Clear, Clear, Clear, Clear, Release},
		Orphan:       all(Clear),
		Abandoned:    all(Clear),
		Untracked:    all(Clear),
	},
	Replace: {
		Orphan:    all(Clear),
		Abandoned: all(Clear),
		Untracked: all(Clear),
	},
	Change: {}, // all pass
	Put:    {},
	Take:   {},
}
