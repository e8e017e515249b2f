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
	Full bool   // a directory that holds something
}

// Payload is what clients write into a lock, as far as it matters here.
type Payload struct {
	PID       int64         // 0 if there is none
	CreatedAt bool          // it says when it was created, so its maker keeps the handle open while it holds
	MaxHold   time.Duration // the hold limit it declares, 0 if none
	Empty     bool          // nothing was written (yet)
}

// ParsePayload reads the payload of a lock. ok is false for everything that could
// be data: then the payload is zero.
func ParsePayload(c Content) (p Payload, ok bool) {
	switch {
	case c.Kind == KindDir:
		return Payload{Empty: !c.Full}, !c.Full
	case c.Kind == KindOther || len(c.Data) > MaxPayload:
		return Payload{}, false
	case c.Kind == KindFile && len(c.Data) == 0:
		return Payload{Empty: true}, true
	}
	if pid, err := strconv.ParseInt(strings.TrimSpace(string(c.Data)), 10, 64); err == nil {
		return Payload{PID: pid}, true
	}
	if c.Kind != KindFile {
		return Payload{}, false
	}
	return parseObject(c.Data)
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
	return p.PID > 0 && p.PID <= 1<<31-1 && slices.Contains(maker, int32(p.PID))
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
