package fsnode

import (
	"testing"

	"sessionlockfs/lockmgr"
)

// The root's device keeps its numbers; no two inodes of others have one number, and none one of the root's.
func TestNumbersAreDistinct(t *testing.T) {
	const home = 7
	n := newNumbering(home)
	seen := map[uint64]lockmgr.InodeID{}
	for _, dev := range []uint64{home, 8, 9, 1 << 40} {
		for _, ino := range []uint64{1, 2, 1<<32 - 1, 1 << 32, 1 << 40, 1<<63 + 5, 1<<64 - 1} {
			id := lockmgr.InodeID{Dev: dev, Ino: ino}
			number := n.of(id)
			if other, taken := seen[number]; taken {
				t.Errorf("%v and %v have the number %#x", id, other, number)
			}
			seen[number] = id
			if dev == home && number != ino {
				t.Errorf("%v has the number %d", id, number)
			}
			if n.of(id) != number {
				t.Errorf("the number of %v changes", id)
			}
			if dev != home && ino < 1<<32 && number >= 1<<53 {
				t.Errorf("%v: a double can't hold %#x", id, number)
			}
		}
	}
}
