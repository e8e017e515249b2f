package lockmgr

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxPayload is the size in bytes up to which something can be recognised as a
// lock; no more of it is ever read.
const MaxPayload = 64 << 10

// Kind is what sort of entry a lock is.
type Kind uint8

// The kinds. Anything else with a lock's name is KindOther and never recognised.
const (
	KindFile Kind = iota
	KindDir
	KindSymlink
	KindOther
)

func (k Kind) String() string {
	return [...]string{"file", "dir", "symlink", "other"}[k]
}

// Content is what stands under a lock's name on the real directory.
type Content struct {
	Kind Kind
	Data []byte // a file's first MaxPayload+1 bytes, or a symlink's target

	Files []Content // what a directory holds: at most MaxFiles files, with MaxPayload bytes together
	Full  bool      // a directory that holds more than that, or anything that is no file

	Name  string  // of a file in a directory
	Inode InodeID // of a file in a directory
}

// MaxFiles is how many files a directory can hold and be recognised as a lock.
const MaxFiles = 64

// Record is what of it is kept in the log when it goes: of a directory, what is in its files.
func (c Content) Record() []byte {
	if c.Kind != KindDir {
		return c.Data
	}
	var all []byte
	for _, f := range c.Files {
		all = append(append(append(append(all, f.Name...), ':', ' '), f.Data...), '\n')
	}
	return all
}

// Payload is what clients write into a lock, as far as it matters here.
type Payload struct {
	PID       int64         // 0 if there is none
	CreatedAt bool          // it says when it was created, so its maker keeps the handle open while it holds
	MaxHold   time.Duration // the hold limit it declares, 0 if none
	Empty     bool          // nothing was written (yet)
}

// ParsePayload reads the payload of a lock. ok is false for everything that could
// be data: then the payload is zero. A directory has only a PID, if its files agree on one.
func ParsePayload(c Content) (p Payload, ok bool) {
	switch {
	case c.Kind == KindDir:
		return parseDirectory(c)
	case c.Kind == KindOther || len(c.Data) > MaxPayload:
		return Payload{}, false
	case c.Kind == KindFile && len(c.Data) == 0:
		return Payload{Empty: true}, true
	}
	if pid, ok := parseBare(c.Data); ok {
		return Payload{PID: pid}, true
	}
	if c.Kind != KindFile {
		return Payload{}, false
	}
	return parseObject(c.Data)
}

// parseBare reads an integer as C's printf and a shell's echo write one, with blanks around it: Go's parser takes more for one.
func parseBare(data []byte) (int64, bool) {
	text := string(bytes.Trim(data, " \t\r\n"))
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && text[0] != '+'
}

func parseDirectory(c Content) (Payload, bool) {
	if c.Full || len(c.Files) > MaxFiles {
		return Payload{}, false
	}
	all := Payload{Empty: true}
	for _, f := range c.Files {
		p, ok := ParsePayload(f)
		switch {
		case !ok || f.Kind != KindFile:
			return Payload{}, false
		case p.Empty:
		case all.Empty:
			all = Payload{PID: p.PID}
		case all.PID != p.PID:
			all.PID = 0
		}
	}
	return all, true
}

func parseObject(data []byte) (Payload, bool) {
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return Payload{}, false
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return Payload{}, false
	}
	pid, err := strconv.ParseInt(string(fields["pid"]), 10, 64)
	if err != nil {
		return Payload{}, false
	}
	p := Payload{PID: pid}
	_, p.CreatedAt = fields["createdAt"]
	if ms, err := strconv.ParseInt(string(fields["maxHoldMs"]), 10, 64); err == nil && ms > 0 && ms <= maxHoldMs {
		p.MaxHold = time.Duration(ms) * time.Millisecond
	}
	return p, true
}

// maxHoldMs bounds a declared hold limit: clients clamp theirs to what a 32-bit
// timer can wait, 2147e6 ms (24.8 days).
const maxHoldMs = 1 << 31

// Recognise reports whether c is surely a lock made by a process that bears one of
// these PIDs: everything else could be data, and is never removed (rule 9).
func Recognise(c Content, maker []int32) bool {
	p, ok := ParsePayload(c)
	if !ok || p.Empty {
		return ok
	}
	if c.Kind == KindDir {
		return !slices.ContainsFunc(c.Files, func(f Content) bool { return !Recognise(f, maker) })
	}
	return p.names(maker)
}

// Names reports whether c, or a file in it, says that its maker bears one of these PIDs.
func Names(c Content, pids []int32) bool {
	if c.Kind == KindDir {
		return slices.ContainsFunc(c.Files, func(f Content) bool { return Names(f, pids) })
	}
	p, ok := ParsePayload(c)
	return ok && p.names(pids)
}

func (p Payload) names(pids []int32) bool {
	pid, ok := p.maker()
	return ok && slices.Contains(pids, pid)
}

// maker is the PID, if it can be one.
func (p Payload) maker() (int32, bool) {
	if p.PID <= 0 || p.PID > 1<<31-1 {
		return 0, false
	}
	return int32(p.PID), true
}

// NamesMaker gives the PID by which an untracked entry can be judged: that of a bare
// integer, in a file or as a symlink's target, or of a JSON object (rule 8).
func NamesMaker(c Content) (pid int32, ok bool) {
	p, ok := ParsePayload(c)
	if !ok || c.Kind == KindDir {
		return 0, false
	}
	return p.maker()
}

// Judgeable reports whether there is anything by which an untracked entry can be judged.
func Judgeable(c Content, name string) bool {
	_, named := NamesMaker(c)
	return named || KeepsOpen(c, name)
}

// KeepsOpen reports whether c has the shape of a lock whose maker keeps it open
// while it holds: an object with pid and createdAt, or an empty "*.jsonl.lock".
// Only of these can an untracked entry be judged by who has it open (rule 8).
func KeepsOpen(c Content, name string) bool {
	p, ok := ParsePayload(c)
	if !ok || c.Kind != KindFile {
		return false
	}
	if p.Empty {
		return strings.HasSuffix(name, ".jsonl.lock")
	}
	return p.CreatedAt
}
