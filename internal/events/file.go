package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	maxSize = 8 << 20             // bytes of a file; there are two
	maxAge  = 30 * 24 * time.Hour // of the older one
)

// file is where events outlive the mount: two files, the older of which goes when the newer one is full, or it is too old.
type file struct {
	path string
	out  *os.File
	size int64
}

func openFile(path string) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f := &file{path: path}
	if info, err := os.Stat(f.older()); err == nil && time.Since(info.ModTime()) > maxAge {
		_ = os.Remove(f.older())
	}
	return f, f.open()
}

func (f *file) older() string { return f.path + ".1" }

func (f *file) open() (err error) {
	if f.out, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	f.size, err = f.out.Seek(0, io.SeekEnd)
	if err == nil && f.size > 0 {
		err = f.endLine()
	}
	return err
}

// endLine ends a line that somebody was killed while writing.
func (f *file) endLine() error {
	last := make([]byte, 1)
	if _, err := f.out.ReadAt(last, f.size-1); err != nil || last[0] == '\n' {
		return err
	}
	n, err := f.out.Write([]byte{'\n'})
	f.size += int64(n)
	return err
}

// write appends lines, whole ones. What can't be written is in memory only.
func (f *file) write(lines [][]byte) {
	if f.out == nil && f.open() != nil {
		return
	}
	n, _ := f.out.Write(join(lines))
	if f.size += int64(n); f.size >= maxSize {
		f.turn()
	}
}

func (f *file) turn() {
	if os.Rename(f.path, f.older()) != nil {
		return
	}
	f.close()
	_ = f.open()
}

// all are the lines of both files, oldest first.
func (f *file) all() [][]byte {
	return append(linesOf(f.older(), maxSize*2), linesOf(f.path, maxSize*2)...)
}

// linesOf are the whole lines in the last so many bytes of a file.
func linesOf(path string, most int64) (lines [][]byte) {
	in, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer in.Close()
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	from := max(0, size-most)
	text, err := io.ReadAll(io.NewSectionReader(in, from, size-from))
	if err != nil {
		return nil
	}
	if from > 0 {
		_, text, _ = bytes.Cut(text, []byte{'\n'})
	}
	for line := range bytes.Lines(text) {
		if json.Valid(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// tailSize is where the last events are looked for, in bytes of each file: a server that takes over must not read for long.
const tailSize = 1 << 20

// tail are the last lines, as many as that at most, and the number of the last event.
func (f *file) tail(count int) (lines [][]byte, last uint64) {
	lines = append(linesOf(f.older(), tailSize), linesOf(f.path, tailSize)...)
	lines = lines[max(0, len(lines)-count):]
	for len(lines) > 0 {
		var ev Event
		if err := json.Unmarshal(lines[len(lines)-1], &ev); err == nil {
			return lines, ev.Seq
		}
		lines = lines[:len(lines)-1]
	}
	return nil, 0
}

func (f *file) close() {
	if f.out != nil {
		_ = errors.Join(f.out.Sync(), f.out.Close())
		f.out = nil
	}
}
