package serve

import (
	"fmt"
	"testing"
	"time"

	"sessionlockfs/lockmgr"
)

func TestPlaces(t *testing.T) {
	there := map[lockmgr.InodeID]string{}
	p := newPlaces(func(id lockmgr.InodeID) (string, bool) {
		prefix, is := there[id]
		if !is {
			prefix = fmt.Sprintf("(directory %d)/", id.Ino)
		}
		return prefix, is
	})
	later := func() { // the time in which a place is believed is over
		for dir, where := range p.known {
			where.at = where.at.Add(-2 * placeFor)
			p.known[dir] = where
		}
	}
	dir := lockmgr.InodeID{Dev: 1, Ino: 7}
	is := func(when, want string) {
		t.Helper()
		if got := p.path(lockmgr.Key{Dir: dir, Name: "a.lock"}); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	is("unknown", "(directory 7)/a.lock")
	there[dir] = "main/"
	is("known", "main/a.lock")
	there[dir] = "old/"
	later()
	is("moved", "old/a.lock")
	delete(there, dir)
	later()
	is("gone", "old/a.lock")
	for n := range uint64(2 * maxPlaces) {
		p.remember(lockmgr.InodeID{Dev: 2, Ino: n}, place{"x/", time.Now()})
	}
	if len(p.known) > maxPlaces {
		t.Errorf("%d places are remembered, want at most %d", len(p.known), maxPlaces)
	}
}
