package events

import (
	"sync"
	"time"
)

const (
	maxQueue = 1 << 14               // events that wait to be written
	batch    = 50 * time.Millisecond // how long one waits for more to come
	patience = time.Second           // how long a disk that hangs is waited for
)

// Log takes events without ever making who tells of one wait, and writes them a little later, many at once.
//
// mu guards queue, missing, lost and armed, and is held to append one. writing guards the rest but memory, and is held while a batch is
// written, and at first until it is known where the file ends. Order: writing, then mu or memory.mu.
type Log struct {
	mu      sync.Mutex
	queue   []func() Event
	missing uint64 // events there was no room for since the queue was last emptied
	lost    uint64 // the same, ever
	armed   bool

	writing sync.Mutex
	file    *file  // nil if there is none
	seq     uint64 // of the last event

	memory memory
}

// Open makes a log that goes on where the file ends. The file is opened and read in the background, as nobody must wait for the disk it
// is on. If path is empty the log is in memory only, and so is what can't be written; failed hears why, if it is not nil, now and then.
func Open(path string, failed func(error)) *Log {
	l := &Log{}
	if path == "" {
		return l
	}
	l.writing.Lock()
	go func() {
		defer l.writing.Unlock()
		l.file = openFile(path, failed)
		lines := l.file.tail(kept)
		if len(lines) > 0 {
			l.seq = lines[len(lines)-1].seq
		}
		l.memory.add(lines)
	}()
	return l
}

// Add tells of an event. What can be found out later about it is: describe is called soon, from another goroutine, one at a time and in
// the order of the events.
func (l *Log) Add(describe func() Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxQueue {
		l.missing++
		l.lost++
		return
	}
	l.queue = append(l.queue, describe)
	if !l.armed {
		l.armed = true
		time.AfterFunc(batch, l.Flush)
	}
}

// Flush writes what was told so far. It returns when that is done.
func (l *Log) Flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.flush()
}

// flush is Flush for who has writing. A reader is given only what is in the file, or can't be: its number is not given again.
func (l *Log) flush() {
	queue := l.take()
	if len(queue) == 0 {
		return
	}
	if l.file != nil {
		l.seq = max(l.seq, l.file.ready())
	}
	lines := l.number(queue)
	if l.file != nil {
		l.file.write(lines)
	}
	l.memory.add(lines)
}

// take takes what was told. What there was no room for was told last.
func (l *Log) take() []func() Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue, missing := l.queue, l.missing
	l.queue, l.missing, l.armed = nil, 0, false
	if missing > 0 {
		queue = append(queue, func() Event { return Event{Time: time.Now(), Event: Lost, Missing: missing} })
	}
	return queue
}

// number makes lines of events.
func (l *Log) number(queue []func() Event) []line {
	lines := make([]line, 0, len(queue))
	for _, describe := range queue {
		ev := describe()
		ev.Seq = l.seq + 1
		line, err := encode(ev)
		if err != nil {
			continue
		}
		l.seq++
		lines = append(lines, line)
	}
	return lines
}

// Lost is how many events there was no room for.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Recent are the last events, oldest first, a line of JSON each. If the disk hangs, what happened since is not among them.
func (l *Log) Recent() (text []byte) {
	soon(l.Flush)
	_, place, _ := l.memory.oldest()
	for {
		lines, _, gone := l.memory.at(place)
		if gone {
			_, place, _ = l.memory.oldest()
			continue
		}
		if len(lines) == 0 {
			return text
		}
		for _, line := range lines {
			text = append(text, line.text...)
		}
		place += uint64(len(lines))
	}
}

// Close writes what is left, if the disk does not hang, and ends all readers when they have read it.
func (l *Log) Close() {
	soon(func() {
		l.writing.Lock()
		defer l.writing.Unlock()
		l.flush()
		if l.file != nil {
			l.file.close()
			l.file = nil
		}
	})
	l.memory.end()
}

// soon waits for something, but not for long.
func soon(do func()) {
	done := make(chan struct{})
	go func() {
		do()
		close(done)
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}
