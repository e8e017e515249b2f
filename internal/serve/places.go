package serve

import (
	"time"

	"sessionlockfs/lockmgr"
)

const (
	maxPlaces = 1024
	placeFor  = 50 * time.Millisecond // events that are described together are mostly of few directories
)

// places remembers where directories are, for those that are gone when an event in them is described: whoever ends a session removes all of it.
// It belongs to one goroutine at a time.
type places struct {
	find  func(lockmgr.InodeID) (prefix string, there bool)
	known map[lockmgr.InodeID]place
}

type place struct {
	prefix string
	at     time.Time // when it was there
}

func newPlaces(find func(lockmgr.InodeID) (string, bool)) *places {
	return &places{find: find, known: map[lockmgr.InodeID]place{}}
}

// path is a lock's path relative to the mount, now or the last that is known.
func (p *places) path(k lockmgr.Key) string {
	before, known := p.known[k.Dir]
	if known && time.Since(before.at) < placeFor {
		return before.prefix + k.Name
	}
	prefix, there := p.find(k.Dir)
	if there {
		p.remember(k.Dir, place{prefix, time.Now()})
	} else if known {
		prefix = before.prefix
	}
	return prefix + k.Name
}

func (p *places) remember(dir lockmgr.InodeID, where place) {
	if len(p.known) >= maxPlaces {
		for other := range p.known { // the order of a map is random
			delete(p.known, other)
			break
		}
	}
	p.known[dir] = where
}
