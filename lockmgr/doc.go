// Package lockmgr is the law of sessionlockfs as a state machine: who may create,
// change and remove a lock. It knows nothing of FUSE, /proc or wall clocks; the
// real directory, the kernel's news of deaths and the time come in through small
// interfaces, so that every history can be played in a test.
//
// # Words
//
// A lock is a directory entry whose name matches a lock pattern and that came into
// being by an exclusive act. A grant is one owner's hold of one lock, with a token.
// The owner is the process the lock was granted to. An orphan is a lock whose owner
// is dead and whose creating handle nobody has open any more. Recognised is what is
// surely a lock and not data; an orphan that is not recognised is abandoned: it stays.
// An untracked entry has a lock's name but no grant.
//
// # Where the law is
//
//	table.go      every act × state × who is asking, and what comes of it (rules 1 to 3, 6, 9, 10)
//	turn.go       one caller's turn at one name: ask the table, act, tell what was done
//	clear.go      how an orphan makes way, and what of it may go
//	inside.go     what goes on inside a lock directory (rule 3)
//	index.go      the names of an inode, and what each tells of itself
//	look.go       how a name, its attributes and bytes are shown, and to whom (rules 4 and 5)
//	marks.go      what is remembered of those who looked (rules 3 and 6)
//	contention.go who waits for what, and how many locks there are, asked without a turn
//	death.go      what a death and a closed handle do (rules 4 and 6)
//	delegate.go   a payload that makes a shell the owner (rule 7)
//	hold.go       for how long a living owner holds
//	guard.go      who may write to the file that a held lock is for, and who is fenced
//	git.go        which locks are git's own (rule 9)
//	record.go     what is kept of a grant, and taken over by who comes after us (tokens only ever grow)
//	untracked.go  entries without a grant (rule 8)
//	payload.go    what is recognised as a lock (the word "recognised")
//	view.go       what a held lock reads like to others (rule 5)
//	policy.go     which names are locks, evidence and data (rules 4 and 9)
//
// # Concurrency
//
// A Turn holds its name from the decision to the end of what was decided, so the
// decision and the act on the real directory are one step for everybody else. See
// the comment at Manager for the lock order, and the one at Manager.index for what other
// names of an inode are asked.
package lockmgr
