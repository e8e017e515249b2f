package mount

import "strings"

// Trail gives the mounts through which an absolute path without links leads; it ends in the last of them. It goes by the
// table alone, so no mount is asked for anything.
func (t Table) Trail(path string) (trail []Entry) {
	for end := 1; end > 0; end = nextElement(path, end) {
		for {
			over, ok := t.over(trail, path[:end])
			if !ok {
				break
			}
			trail = append(trail, over)
		}
	}
	return trail
}

// End is the last mount of the trail of a path, the zero Entry if there is none.
func (t Table) End(path string) Entry {
	if trail := t.Trail(path); len(trail) > 0 {
		return trail[len(trail)-1]
	}
	return Entry{}
}

// nextElement is where the element of a clean path ends that comes after the one that ends there; 0 if there is none.
func nextElement(path string, end int) int {
	if end >= len(path) {
		return 0
	}
	if i := strings.IndexByte(path[end+1:], '/'); i >= 0 {
		return end + 1 + i
	}
	return len(path)
}

// over finds what is mounted at a path over the last mount of a trail. At the beginning of one that is what is mounted on
// a mount that the table does not show.
func (t Table) over(trail []Entry, point string) (Entry, bool) {
	for _, e := range t {
		if e.Mountpoint != point {
			continue
		}
		if len(trail) == 0 && (e.Parent == e.ID || !t.has(e.Parent)) {
			return e, true
		}
		if len(trail) > 0 && e.Parent == trail[len(trail)-1].ID && e.Parent != e.ID {
			return e, true
		}
	}
	return Entry{}, false
}

func (t Table) has(id int) bool {
	for _, e := range t {
		if e.ID == id {
			return true
		}
	}
	return false
}
