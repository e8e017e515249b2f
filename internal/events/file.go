package events

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxSize = 8 << 20             // bytes of a file; there are two
	maxAge  = 30 * 24 * time.Hour // of the older one
	expires = 24 * time.Hour      // how often that is looked at, if anything happens
	repeats = 10 * time.Minute    // how often it is said that nothing can be written

	// tailSize is where the last events are looked for, in bytes of each file: it is read at every start.
	tailSize = 2 << 20
)

// file is where events outlive the mount: two files, the older of which goes when the newer one is full, or it is too old.
type file struct {
	path   string
	failed func(error)
	most   int64 // maxSize, or less in a test

	out  *os.File // nil while it can't be written
	is   os.FileInfo
	size int64

	looked time.Time // when the older one was looked at
	told   time.Time // when failed was
}

func openFile(path string, failed func(error)) *file {
	f := &file{path: path, failed: failed, most: maxSize}
	f.expire()
	f.try(f.open())
	return f
}

// try tells of an error, and lets the file be until the next batch.
func (f *file) try(err error) {
	if err == nil {
		return
	}
	f.close()
	if f.failed != nil && time.Since(f.told) > repeats {
		f.told = time.Now()
		f.failed(err)
	}
}

func (f *file) older() string { return f.path + ".1" }

// open opens it for us alone. Two servers can have one mount point, in two mount namespaces or while a container has the mount before.
func (f *file) open() (err error) {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	if f.out, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if unix.Flock(int(f.out.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK {
		return fmt.Errorf("%s is written by another mount's server", f.path)
	}
	if f.is, err = f.out.Stat(); err != nil {
		return err
	}
	f.size = f.is.Size()
	return f.endLine()
}

// endLine ends a line that was written in part only.
func (f *file) endLine() error {
	if f.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := f.out.ReadAt(last, f.size-1); err != nil || last[0] == '\n' {
		return err
	}
	n, err := f.out.Write([]byte{'\n'})
	f.size += int64(n)
	return err
}

// ready opens the file if need be, also where somebody has taken it away. Of one that we have not seen yet it gives the number of its
// last event.
func (f *file) ready() (last uint64) {
	if time.Since(f.looked) > expires {
		f.expire()
	}
	if f.out != nil {
		if now, err := os.Stat(f.path); err == nil && os.SameFile(now, f.is) {
			return 0
		}
		f.close()
	}
	before := f.is
	f.try(f.open())
	if f.out == nil || before != nil && os.SameFile(before, f.is) {
		return 0
	}
	if lines := f.tail(1); len(lines) > 0 {
		last = lines[0].seq
	}
	return last
}

// write appends lines, and turns the files where the newer one would get too big.
func (f *file) write(lines []line) {
	var text []byte
	for _, l := range lines {
		if f.size+int64(len(text)+len(l.text)) > f.most {
			f.append(text)
			f.turn()
			text = text[:0]
		}
		text = append(text, l.text...)
	}
	f.append(text)
}

func (f *file) append(text []byte) {
	if f.out == nil || len(text) == 0 {
		return
	}
	n, err := f.out.Write(text)
	f.size += int64(n)
	f.try(err)
}

// turn makes the newer file the older one. Where that can't be done it begins anew: it must not grow for ever.
func (f *file) turn() {
	if f.out == nil {
		return
	}
	if err := os.Rename(f.path, f.older()); err != nil {
		f.try(f.out.Truncate(0))
		f.size = 0
		return
	}
	f.close()
	f.try(f.open())
}

// expire removes the older file if it is too old.
func (f *file) expire() {
	f.looked = time.Now()
	if info, err := os.Stat(f.older()); err == nil && time.Since(info.ModTime()) > maxAge {
		_ = os.Remove(f.older())
	}
}

func (f *file) close() {
	if f.out != nil {
		_ = f.out.Close()
		f.out = nil
	}
}

// tail are the last events, as many as that at most.
func (f *file) tail(count int) []line {
	lines, whole := endOf(f.path)
	if whole && len(lines) < count { // with nothing left out between the two
		older, _ := endOf(f.older())
		lines = append(older, lines...)
	}
	lines = lines[max(0, len(lines)-count):]
	for i := range lines {
		lines[i].text = bytes.Clone(lines[i].text) // not the megabytes it is part of
	}
	return lines
}

// endOf are the events at the end of a file; whole says that there are no others in it.
func endOf(path string) (lines []line, whole bool) {
	in, err := os.Open(path)
	if err != nil {
		return nil, true
	}
	defer in.Close()
	size, _ := in.Seek(0, io.SeekEnd)
	from := max(0, size-tailSize)
	text, err := io.ReadAll(io.NewSectionReader(in, from, size-from))
	if err != nil {
		return nil, false
	}
	if from > 0 {
		_, text, _ = bytes.Cut(text, []byte{'\n'})
	}
	for text := range bytes.Lines(text) {
		if l, ok := decode(text); ok {
			lines = append(lines, l)
		}
	}
	return lines, from == 0
}

// sections are what is in both files now, oldest first. The caller closes them.
func (f *file) sections() (all []section) {
	for _, path := range []string{f.older(), f.path} {
		in, err := os.Open(path)
		if err != nil {
			continue
		}
		info, err := in.Stat()
		if err != nil {
			in.Close()
			continue
		}
		all = append(all, section{io.NewSectionReader(in, 0, info.Size()), in})
	}
	return all
}

// section is a part of a file, which is open.
type section struct {
	*io.SectionReader
	io.Closer
}
