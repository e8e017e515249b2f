package cli

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sessionlockfs/fsnode"
	"sessionlockfs/lockmgr"
)

// LocksQuery says which locks to show, and how.
type LocksQuery struct {
	JSON   bool     // as the mount says it; when watching, one line for each change
	Watch  bool     // and go on
	States []string // only in one of these states; any if empty
	Owner  int32    // only of the process with this PID; anybody's if 0
	Lock   string   // only those whose path in the mount matches it
}

// States are those that a lock can be in, as they are called.
func States() (names []string) {
	for s := lockmgr.Held; s <= lockmgr.Untracked; s++ {
		names = append(names, s.String())
	}
	return names
}

// check finds what is wrong with how it was asked.
func (q LocksQuery) check() error {
	for _, state := range q.States {
		if !slices.Contains(States(), state) {
			return fmt.Errorf("%w: --state %q: there are %s", ErrUsage, state, strings.Join(States(), ", "))
		}
	}
	if q.Owner < 0 {
		return fmt.Errorf("%w: --owner %d: want a PID", ErrUsage, q.Owner)
	}
	if _, err := path.Match(q.Lock, ""); err != nil {
		return fmt.Errorf("%w: --lock %q: %w", ErrUsage, q.Lock, err)
	}
	return nil
}

// filter gives the locks that are asked for; never nil, which would be another thing in JSON than none.
func (q LocksQuery) filter(locks []fsnode.LockDump) []fsnode.LockDump {
	wanted := make([]fsnode.LockDump, 0, len(locks))
	for _, l := range locks {
		if q.wants(l) {
			wanted = append(wanted, l)
		}
	}
	return wanted
}

func (q LocksQuery) wants(l fsnode.LockDump) bool {
	return (len(q.States) == 0 || slices.Contains(q.States, l.State)) &&
		(q.Owner == 0 || l.Owner != nil && l.Owner.PID == q.Owner) &&
		(q.Lock == "" || matches(q.Lock, l.Path))
}

// none is what a table without rows says.
func (q LocksQuery) none() string {
	if len(q.States) == 0 && q.Owner == 0 && q.Lock == "" {
		return "no locks"
	}
	return "no such locks"
}
