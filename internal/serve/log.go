package serve

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// logger makes a log on stderr: for people on a terminal, else JSON lines. flush writes
// out what waits.
func logger(level string) (log zerolog.Logger, flush func(), err error) {
	lv, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), nil, err
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	var out io.Writer = os.Stderr
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		out = zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly}
	}
	lines := newLineBuffer(out)
	return zerolog.New(lines).Level(lv).With().Timestamp().Logger(), lines.flush, nil
}

const (
	logLines   = 8192        // how many lines may wait for whoever reads the log
	flushLimit = time.Second // how long the end waits for a log that nobody reads
)

// lineBuffer hands lines to a slow reader. A decision about a lock is logged while others
// wait for it, so a log that nobody reads must not hold it up: when the buffer is full,
// lines are dropped and counted. (zerolog's own buffer either polls, which an idle mount
// must not, or can miss a wake-up.)
type lineBuffer struct {
	lines   chan []byte
	dropped atomic.Int64
	written chan struct{} // closed when lines was closed and everything is out
}

func newLineBuffer(out io.Writer) *lineBuffer {
	b := &lineBuffer{lines: make(chan []byte, logLines), written: make(chan struct{})}
	go b.pass(out)
	return b
}

func (b *lineBuffer) pass(out io.Writer) {
	defer close(b.written)
	for line := range b.lines {
		if line == nil {
			return
		}
		if n := b.dropped.Swap(0); n > 0 {
			fmt.Fprintf(out, `{"level":"warn","dropped":%d,"message":"log lines dropped"}`+"\n", n)
		}
		out.Write(line)
	}
}

// Write queues a copy of a line.
func (b *lineBuffer) Write(line []byte) (int, error) {
	select {
	case b.lines <- bytes.Clone(line):
	default:
		b.dropped.Add(1)
	}
	return len(line), nil
}

// flush waits until everything queued so far is out, if somebody reads it.
func (b *lineBuffer) flush() {
	limit := time.After(flushLimit)
	select {
	case b.lines <- nil:
	case <-limit:
		return
	}
	select {
	case <-b.written:
	case <-limit:
	}
}
