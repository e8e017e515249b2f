package events

import (
	"bufio"
	"time"
)

// enough is how much of a file a reader gives at a time, in bytes.
const enough = 64 << 10

// Reader gives events in their order: those in the files, then those in memory, then those to come. One that is slow finds in the files
// what memory has forgotten meanwhile. It belongs to one goroutine, which closes it.
type Reader struct {
	log  *Log
	from From // what is wanted
	seen From // where to go on
	start

	in *bufio.Reader // of the first of the files
}

// start is where a reader begins.
type start struct {
	files []section // to be read, oldest first
	until line      // the files are read as far as that, which is the oldest in memory; zero for all of them
	place uint64    // in memory
}

func (s *start) close() {
	for _, f := range s.files {
		f.Close()
	}
	s.files = nil
}

// Read gives a reader. What was told so far it will give, unless the disk hangs: then it gives what is in memory.
func (l *Log) Read(from From) *Reader {
	return &Reader{log: l, from: from, seen: from, start: l.patientStart(from)}
}

// Close gives back what the reader has open.
func (r *Reader) Close() { r.close() }

func (l *Log) patientStart(from From) start {
	starts := make(chan start, 1)
	go func() { starts <- l.start(from) }()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case s := <-starts:
		return s
	case <-timeout.C:
	}
	go func() {
		s := <-starts
		s.close()
	}()
	_, place, _ := l.memory.oldest()
	return start{place: place}
}

// start leaves the files alone if the oldest event in memory is not wanted any more.
func (l *Log) start(from From) (s start) {
	l.writing.Lock() // so that the files end where memory does
	defer l.writing.Unlock()
	l.flush()
	oldest, place, some := l.memory.oldest()
	s.place = place
	if l.file == nil || some && !from.wants(oldest) {
		return s
	}
	s.files, s.until = l.file.sections(), oldest
	return s
}

// Next gives the next events, some at a time, a line of JSON each. Without any, more is closed when there are, and nil if the log is
// closed.
func (r *Reader) Next() (text []byte, more <-chan struct{}) {
	for {
		if text := r.old(); len(text) > 0 {
			return text, nil
		}
		lines, more, gone := r.log.memory.at(r.place)
		switch {
		case gone:
			r.from = r.seen
			r.start = r.log.patientStart(r.from)
			continue
		case len(lines) == 0:
			return nil, more
		}
		r.place += uint64(len(lines))
		for _, l := range lines {
			text = r.give(text, l)
		}
		if len(text) > 0 {
			return text, nil
		}
	}
}

// give appends an event if it is wanted.
func (r *Reader) give(text []byte, l line) []byte {
	if !r.from.wants(l) {
		return text
	}
	r.seen.saw(l.seq, l.time)
	return append(text, l.text...)
}

// old gives events from the files, none if all are read.
func (r *Reader) old() (text []byte) {
	for len(r.files) > 0 && len(text) < enough {
		if r.in == nil {
			r.in = bufio.NewReaderSize(r.files[0], enough)
		}
		raw, err := r.in.ReadBytes('\n')
		if err != nil { // a line without an end is written in part only
			r.in = nil
			r.files[0].Close()
			r.files = r.files[1:]
			continue
		}
		l, ok := decode(raw)
		switch {
		case !ok:
		case r.until.seq != 0 && l.seq >= r.until.seq && !l.time.Before(r.until.time):
			r.in = nil
			r.close()
		default:
			text = r.give(text, l)
		}
	}
	return text
}
