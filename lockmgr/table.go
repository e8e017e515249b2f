package lockmgr

// State is what is known of a name.
type State uint8

// The states.
const (
	Free         State = iota // nothing is known of the name
	Held                      // granted to a known process
	UnknownOwner              // granted to a caller the kernel could not name (rule 10)
	Orphan                    // recognised, its owner is dead, its creating handle closed
	Abandoned                 // an orphan that is not recognised: it could be data
	Untracked                 // has a lock's name and no grant (rule 8)
	states
)

func (s State) String() string {
	return [...]string{"free", "held", "unknown_owner", "orphan", "abandoned", "untracked"}[s]
}

// Act is what a caller asks for.
type Act uint8

// The acts.
const (
	Create  Act = iota // an exclusive act: the entry comes into being, or the act fails
	Remove             // unlink, rmdir, rename away
	Replace            // rename over the name
	Change             // open for writing, truncate, change of mode, owner, times or xattrs, link elsewhere
	acts
)

func (a Act) String() string {
	return [...]string{"create", "remove", "replace", "change"}[a]
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
)

func (o Outcome) String() string {
	return [...]string{"pass", "grant", "take over", "release", "exists", "busy", "remember", "gone", "clear"}[o]
}

// Refused reports whether nothing is to be done on the real directory.
func (o Outcome) Refused() bool {
	return o == Exists || o == Busy || o == Remember || o == Gone
}

// row is what comes of an act by every Relation, in the order of their constants.
type row [relations]Outcome

// all is the row of an act for which it makes no difference who is asking.
func all(o Outcome) row { return row{o, o, o, o, o} }

// table is the law for every act, state and relation. What the states themselves
// mean, and how they follow from each other, is in turn.go and death.go.
var table = [acts][states]row{
	Create: {
		Free:         all(Grant),
		Held:         all(Exists), // whoever asks, the owner included
		UnknownOwner: all(Exists),
		Orphan:       all(TakeOver),
		Abandoned:    all(Exists),
		Untracked:    all(Exists), // until it is judged
	},
	Remove: {
		Free: all(Pass),
		//                  stranger owner    second    late  unnamed
		Held:         row{Busy, Release, Remember, Gone, Busy},
		UnknownOwner: row{Busy, Busy, Busy, Gone, Release}, // protected among its like by EEXIST only
		Orphan:       row{Clear, Clear, Clear, Gone, Clear},
		Abandoned:    row{Clear, Clear, Clear, Gone, Clear},
		Untracked:    row{Clear, Clear, Clear, Gone, Clear},
	},
	Replace: {
		Free:         all(Pass),
		Held:         row{Busy, Pass, Pass, Busy, Busy},
		UnknownOwner: row{Busy, Busy, Busy, Busy, Pass},
		Orphan:       all(Clear),
		Abandoned:    all(Clear),
		Untracked:    all(Clear),
	},
	Change: {
		Free:         all(Pass),
		Held:         row{Busy, Pass, Pass, Busy, Busy},
		UnknownOwner: row{Busy, Busy, Busy, Busy, Pass},
		Orphan:       all(Pass),
		Abandoned:    all(Pass),
		Untracked:    all(Pass),
	},
}
