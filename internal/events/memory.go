package events

import "sync"

const (
	kept     = 4096     // events in memory
	keptSize = 16 << 20 // bytes of them: a payload may be 4 KiB, and as JSON six times that
	portion  = 256      // events that a reader gets at a time
)

// memory has the last events, each at its place: the first one ever is at 0. mu guards all of it, and nothing is locked inside.
type memory struct {
	mu   sync.Mutex
	ring []line // the one at place p is in ring[p%kept]
	from uint64 // the place of the oldest
	to   uint64 // the place of the next
	size int
	more chan struct{} // closed when there is another one, or none will come
	over bool
}

// add makes room for lines, and puts them in.
func (m *memory) add(lines []line) {
	if len(lines) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ring == nil {
		m.ring = make([]line, kept)
	}
	for _, l := range lines {
		for m.from < m.to && (m.to-m.from == kept || m.size+len(l.text) > keptSize) {
			m.drop()
		}
		m.ring[m.to%kept] = l
		m.size += len(l.text)
		m.to++
	}
	m.wake()
}

// drop forgets the oldest one. Caller holds mu.
func (m *memory) drop() {
	l := &m.ring[m.from%kept]
	m.size -= len(l.text)
	*l = line{}
	m.from++
}

// wake has all who wait look again. Caller holds mu.
func (m *memory) wake() {
	if m.more != nil {
		close(m.more)
		m.more = nil
	}
}

// end says that no more will come.
func (m *memory) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.wake()
}

// oldest is the one that is kept longest, and its place. ok is false if there is none.
func (m *memory) oldest() (l line, place uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.from == m.to {
		return line{}, m.to, false
	}
	return m.ring[m.from%kept], m.from, true
}

// at gives the next events from a place on. Without any, more tells when there are, and is nil if none will come. gone says that
// some are forgotten since.
func (m *memory) at(place uint64) (lines []line, more <-chan struct{}, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if place < m.from {
		return nil, nil, true
	}
	for ; place < m.to && len(lines) < portion; place++ {
		lines = append(lines, m.ring[place%kept])
	}
	if len(lines) > 0 || m.over {
		return lines, nil, false
	}
	if m.more == nil {
		m.more = make(chan struct{})
	}
	return nil, m.more, false
}
