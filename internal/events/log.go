package events

import (
	"encoding/json"
	"sync"
	"time"
)

const (
	kept     = 4096                  // events in memory
	maxQueue = 1 << 16               // events that wait to be written
	batch    = 50 * time.Millisecond // how long one waits for more to come
)

// Log takes events without ever making who tells of one wait, and writes them a little later, many at once.
//
// mu guards queue, missing, lost and armed, and is held to append one. writing is held while a batch is written; what others
// read of that, lines, seq and more, is guarded by read. Order: writing, then mu or read.
type Log struct {
	mu      sync.Mutex
	queue   []func() Event
	missing uint64 // events that were not queued since the queue was last emptied
	lost    uint64 // events that were not queued, ever
	armed   bool

	writing sync.Mutex
	file    *file // nil if there is none

	read  sync.Mutex
	lines [][]byte // the last events, oldest first, a line of JSON each
	seq   uint64   // of the last of them
	more  chan struct{}
}

// Open makes a log that goes on where the file ends, which is read in the background. path may be empty: then it is in
// memory only, as it is when there is an error.
func Open(path string) (*Log, error) {
	l := &Log{more: make(chan struct{})}
	if path == "" {
		return l, nil
	}
	f, err := openFile(path)
	if err != nil {
		return l, err
	}
	l.file = f
	l.writing.Lock()
	go func() {
		defer l.writing.Unlock()
		lines, seq := f.tail(kept)
		l.read.Lock()
		defer l.read.Unlock()
		l.lines, l.seq = lines, seq
	}()
	return l, nil
}

// Add tells of an event. What can be found out later about it is: describe is called soon, from another goroutine.
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
	l.mu.Lock()
	queue, missing := l.queue, l.missing
	l.queue, l.missing, l.armed = nil, 0, false
	l.mu.Unlock()
	if missing > 0 {
		queue = append(queue, func() Event { return Event{Time: time.Now(), Event: Lost, Missing: missing} })
	}
	lines := make([][]byte, 0, len(queue))
	seq := l.seq // only we change it
	for _, describe := range queue {
		ev := describe()
		ev.Seq = seq + 1
		line, err := json.Marshal(ev)
		if err != nil {
			continue
		}
		seq++
		lines = append(lines, append(line, '\n'))
	}
	if len(lines) == 0 {
		return
	}
	if l.file != nil {
		l.file.write(lines)
	}
	l.read.Lock()
	defer l.read.Unlock()
	l.lines = append(l.lines, lines...)
	if extra := len(l.lines) - kept; extra > 0 {
		l.lines = append([][]byte(nil), l.lines[extra:]...)
	}
	l.seq = seq
	close(l.more)
	l.more = make(chan struct{})
}

// Lost is how many events were not kept.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Recent are the last events, oldest first, a line of JSON each.
func (l *Log) Recent() []byte {
	l.Flush()
	lines, _, _ := l.After(0)
	return join(lines)
}

// After are the events in memory after the one of that number, the number of the last one, and what is closed when there are more.
func (l *Log) After(seq uint64) (lines [][]byte, last uint64, more <-chan struct{}) {
	l.read.Lock()
	defer l.read.Unlock()
	if first := l.seq - uint64(len(l.lines)); seq > first {
		lines = l.lines[min(seq-first, uint64(len(l.lines))):]
	} else {
		lines = l.lines
	}
	return lines, l.seq, l.more
}

// Since are all events that are kept and happened at or after a moment, from the file as well, and the number of the last one.
func (l *Log) Since(moment time.Time) (lines [][]byte, last uint64) {
	l.Flush()
	l.writing.Lock() // so that file and memory say the same
	defer l.writing.Unlock()
	lines, last, _ = l.After(0)
	if l.file != nil {
		lines = l.file.all()
	}
	for i, line := range lines {
		var ev Event
		if json.Unmarshal(line, &ev) == nil && !ev.Time.Before(moment) {
			return lines[i:], last
		}
	}
	return nil, last
}

// Close writes what is left.
func (l *Log) Close() {
	l.Flush()
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.file != nil {
		l.file.close()
		l.file = nil
	}
}

func join(lines [][]byte) (text []byte) {
	for _, line := range lines {
		text = append(text, line...)
	}
	return text
}
