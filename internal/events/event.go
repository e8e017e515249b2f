package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Event is one thing that happened. As JSON it is an interface that programs rely on: fields
// are only ever added.
type Event struct {
	Seq   uint64    `json:"seq"` // grows by one with each event of a mount point, also across restarts
	Time  time.Time `json:"time"`
	Event string    `json:"event"`          // what happened: a lockmgr.What, or one of those below
	Lock  string    `json:"lock,omitempty"` // relative to the mount
	Token uint64    `json:"token,omitempty"`
	Owner *Process  `json:"owner,omitempty"` // who holds the lock, or held it
	By    *Process  `json:"by,omitempty"`    // who did it, if that is somebody else

	Act     string  `json:"act,omitempty"`     // of a refusal: what was refused
	Write   string  `json:"write,omitempty"`   // of a guard's report: what was written, or would have been
	Denied  bool    `json:"denied,omitempty"`  // of a guard's report: it was refused
	Refused int     `json:"refused,omitempty"` // refusals of this grant so far
	Reason  string  `json:"reason,omitempty"`  // in words
	Payload string  `json:"payload,omitempty"` // of a lock that was reclaimed: its first 4 KiB
	Held    float64 `json:"held_s,omitempty"`  // of the end of a grant: how long it lasted, in seconds
	Server  int     `json:"server,omitempty"`  // of Started and TookOver: the PID of the server
	Missing uint64  `json:"missing,omitempty"` // of Lost: how many events
}

// What happens to the mount, and not to a lock.
const (
	Started  = "started"   // the mount was started
	TookOver = "took_over" // another server goes on
	Lost     = "lost"      // more happened at once than is kept
)

// Process is somebody in an event.
type Process struct {
	PID       int32   `json:"pid"`
	NSPIDs    []int32 `json:"ns_pids,omitempty"` // in each of its PID namespaces, the mount's first
	UID       uint32  `json:"uid"`
	Comm      string  `json:"comm,omitempty"`
	Container string  `json:"container,omitempty"`
}

// From says where to begin. The zero From is the first event that is kept.
//
// Whoever goes on where it stopped gives the number of the last event it has seen, and the latest time of those it has seen. Both,
// because where the file can't be written a later server gives the same numbers again.
type From struct {
	Since time.Time // events at or after it
	After uint64    // if it is not 0: events with a higher number, or after Since
}

func (f From) wants(l line) bool {
	if f.After == 0 {
		return !l.time.Before(f.Since)
	}
	return l.seq > f.After || l.time.After(f.Since)
}

// Saw goes on after an event.
func (f *From) Saw(ev Event) { f.saw(ev.Seq, ev.Time) }

func (f *From) saw(seq uint64, at time.Time) {
	f.After = seq
	if at.After(f.Since) {
		f.Since = at
	}
}

// line is an event as it is kept.
type line struct {
	seq  uint64
	time time.Time
	text []byte // JSON, with the newline
}

func encode(ev Event) (line, error) {
	ev.Time = ev.Time.Round(0) // what is compared is what is written
	text, err := json.Marshal(ev)
	if err != nil {
		return line{}, err
	}
	return line{ev.Seq, ev.Time, append(Escape(text), '\n')}, nil
}

// decode reads a line; ok is false if it is not a whole one of ours. All of a history is looked at to find where it is to be told from,
// so it reads no more of a line than it must.
func decode(text []byte) (l line, ok bool) {
	rest, ours := bytes.CutPrefix(text, []byte(`{"seq":`))
	number, rest, hasTime := bytes.Cut(rest, []byte(`,"time":"`))
	stamp, _, ended := bytes.Cut(rest, []byte{'"'})
	if !ours || !hasTime || !ended || !json.Valid(text) {
		return line{}, false
	}
	seq, err := strconv.ParseUint(string(number), 10, 64)
	at, timeErr := time.Parse(time.RFC3339Nano, string(stamp))
	return line{seq, at, text}, err == nil && timeErr == nil && seq > 0
}

// Escape keeps JSON that is shown as it is from doing anything to a terminal: a name can have controls in it that JSON lets be, DEL
// and those of C1 (U+0080 to U+009F), with which sequences begin as they do with ESC.
func Escape(text []byte) []byte {
	var out []byte
	rest := 0 // where what is not in out begins
	for i, b := range text {
		switch {
		case b == 0x7f:
			out = fmt.Appendf(append(out, text[rest:i]...), `\u%04x`, b)
			rest = i + 1
		case b == 0xc2 && i+1 < len(text) && 0x80 <= text[i+1] && text[i+1] <= 0x9f: // as UTF-8 has them
			out = fmt.Appendf(append(out, text[rest:i]...), `\u%04x`, text[i+1])
			rest = i + 2
		}
	}
	if out == nil {
		return text
	}
	return append(out, text[rest:]...)
}
