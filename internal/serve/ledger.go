package serve

import (
	"fmt"
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
	started, restored := time.Now(), 0
	open := s.fs.OpenGrants()
	err := s.fs.VisitRecords(mark, func(found fsnode.Recorded) {
		if err := s.restoreOne(l, found, open); err != nil {
			s.log.Warn().Str("lock", s.fs.PathOf(found.Key)).Err(err).Msg("the record of its grant is not believed")
			return
		}
		restored++
	})
	s.log.Debug().Int("locks", restored).Dur("took", time.Since(started)).Msg("grants taken over")
	if err != nil {
		s.log.Warn().Err(err).Msg("not every directory could be searched for grants")
	}
	return nil
}

func (s *server) restoreOne(l *ledger, found fsnode.Recorded, open map[lockmgr.Token]bool) error {
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
	standing, err := s.processes.Standing(r, rebooted)
	if err != nil {
		return err
	}
	closed, isOpen := open[r.Token]
	standing.HandleOpen, standing.Closed = isOpen, closed
	s.fs.Locks.Restore(found.Key, found.Inode, found.Kind, r, standing)
	s.fs.Guard(found.Key)
	return nil
}
