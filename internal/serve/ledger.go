package serve

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// ledger keeps the records of grants in the tree.
//
// mu guards reserved, and is held while more tokens are reserved.
type ledger struct {
	fs        *fsnode.FS
	processes *reclaim.Processes
	here      reclaim.Place

	before lockmgr.Token // were reserved when we began

	mu       sync.Mutex
	reserved lockmgr.Token // tokens below can be given
}

// block is how many tokens are reserved at a time.
const block = 1 << 20

func newLedger(fs *fsnode.FS, p *reclaim.Processes) *ledger {
	return &ledger{fs: fs, processes: p, here: p.Here(), before: lockmgr.Token(fs.Reserved())}
}

// first is a token above all that were given in this tree: by the clock, in microseconds, unless that was set back.
func (l *ledger) first() lockmgr.Token {
	return lockmgr.Token(max(uint64(l.before), uint64(time.Now().UnixMicro())))
}

// Enter keeps a record.
func (l *ledger) Enter(k lockmgr.Key, inode lockmgr.InodeID, r lockmgr.Record) error {
	if err := l.reserve(r.Token); err != nil {
		return err
	}
	return l.fs.KeepRecord(k, inode, mark(k, inode), l.here.Encode(k, inode, r))
}

// reserve keeps that a token was given, before it is.
func (l *ledger) reserve(t lockmgr.Token) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t < l.reserved {
		return nil
	}
	if err := l.fs.Reserve(uint64(t) + block); err != nil {
		return err
	}
	l.reserved = t + block
	return nil
}

// Strike ends what Enter kept.
func (l *ledger) Strike(k lockmgr.Key) { l.fs.DropRecord(k) }

func mark(k lockmgr.Key, inode lockmgr.InodeID) string {
	return fmt.Sprintf("%016x", reclaim.Mark(k, inode))
}

// restore takes over all grants that are recorded in the tree. A record that is not believed is told of; what it is on
// is untracked.
func (s *server) restore(l *ledger) error {
	defer debug.SetGCPercent(debug.SetGCPercent(restoringGC))
	started, restored := time.Now(), 0
	rest := restoring{server: s, ledger: l, open: s.fs.OpenGrants(), roll: s.processes.Roll()}
	err := s.fs.VisitRecords(mark, func(found fsnode.Recorded) {
		if err := rest.one(found); err != nil {
			s.log.Warn().Str("lock", s.fs.PathOf(found.Key)).Err(err).Msg("the record of its grant is not believed")
			return
		}
		restored++
	})
	s.journal.allRestored()
	if restored > 0 {
		s.log.Info().Int("locks", restored).Dur("took", time.Since(started)).Msg("grants taken over")
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("not every directory could be searched for grants")
	}
	return nil
}

// restoringGC has the garbage collector wait: nearly all that is made while grants are taken over is kept, and everybody waits.
const restoringGC = 1000

// restoring is what is known while grants are taken over. Nothing in it changes but the roll.
type restoring struct {
	*server
	ledger *ledger
	open   map[lockmgr.Token]bool // creating handles, and whether the owner has closed them
	roll   *reclaim.Roll
}

func (s *restoring) one(found fsnode.Recorded) error {
	l := s.ledger
	r, rebooted, err := l.here.Decode(found.Key, found.Inode, found.Data)
	if err != nil {
		return err
	}
	if r.Token > l.before { // tokens are reserved before they are given
		return reclaim.ErrFuture
	}
	if rebooted && !r.Owner.Known() {
		return reclaim.ErrElsewhere
	}
	standing, err := s.roll.Standing(r, rebooted)
	if err != nil {
		return err
	}
	closed, isOpen := s.open[r.Token]
	standing.HandleOpen, standing.Closed = isOpen, closed
	s.fs.Locks.Restore(found.Key, found.Inode, found.Kind, r, standing)
	return nil
}
