package lockmgr

import (
	"bytes"
	"regexp"
	"strconv"
	"time"
)

// A held lock must not look stale to anyone but its owner (rule 5). Clients judge
// by three things: whether the PID lives in their own namespace (and started when
// the payload says, and runs under a name they know), how old createdAt is, and how
// old the file is. So the PID and the start time are blanked, and the times say now.
// A blank PID makes every known client fall back to the file's age, which is nil.
var (
	numberField = regexp.MustCompile(`"(?:pid|starttime|startTime)"\s*:\s*"?(-?[0-9]+)`)
	stampField  = regexp.MustCompile(`"(?:createdAt|startedAt|acquiredAt)"\s*:\s*"([^"\\]*)"`)
	epochField  = regexp.MustCompile(`"(?:createdAt|startedAt|acquiredAt)"\s*:\s*([0-9]+)`)
	bareNumber  = regexp.MustCompile(`^\s*-?[0-9]+\s*$`)
)

// stampLayouts are the forms in which clients write a time; the first is what
// JavaScript's Date.toISOString gives.
var stampLayouts = []string{"2006-01-02T15:04:05.000Z", "2006-01-02T15:04:05Z"}

// IsBarePID reports whether a payload is nothing but a number, as shell scripts write it.
func IsBarePID(data []byte) bool { return bareNumber.Match(data) }

// Render gives the payload of a held lock as others see it, in exactly its real
// length. What does not fit stays as it is. data is not changed.
func Render(data []byte, now time.Time) []byte {
	out := bytes.Clone(data)
	if bareNumber.Match(out) {
		blankNumber(out)
		return out
	}
	for _, m := range numberField.FindAllSubmatchIndex(out, -1) {
		blank(out[m[2]:m[3]])
	}
	for _, m := range stampField.FindAllSubmatchIndex(out, -1) {
		restamp(out[m[2]:m[3]], now)
	}
	for _, m := range epochField.FindAllSubmatchIndex(out, -1) {
		reepoch(out[m[2]:m[3]], now)
	}
	return out
}

func blank(b []byte) {
	for i := range b {
		b[i] = ' '
	}
}

// blankNumber leaves white space as it is: a shell reads the line as empty.
func blankNumber(b []byte) {
	for i, c := range b {
		if c == '-' || c >= '0' && c <= '9' {
			b[i] = ' '
		}
	}
}

func restamp(b []byte, now time.Time) {
	for _, layout := range stampLayouts {
		if len(layout) == len(b) {
			if _, err := time.Parse(layout, string(b)); err == nil {
				copy(b, now.UTC().Format(layout))
			}
		}
	}
}

// reepoch rewrites a number of seconds, milli-, micro- or nanoseconds since 1970,
// told apart by their number of digits.
func reepoch(b []byte, now time.Time) {
	for _, n := range []int64{now.Unix(), now.UnixMilli(), now.UnixMicro(), now.UnixNano()} {
		if s := strconv.FormatInt(n, 10); len(s) == len(b) {
			copy(b, s)
		}
	}
}
