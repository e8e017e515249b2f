package mount

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// FSType is what the mount table calls a mount of ours.
const FSType = "fuse.sessionlockfs"

// Entry is one line of the mount table.
type Entry struct {
	Device     uint64 // st_dev of the mounted file system
	Root       string // what of it is mounted: "/", or the directory in it that was bound
	Mountpoint string
	Type       string
}

// Top finds the uppermost mount at an absolute path without touching the path: a dead
// mount would not answer. ok is false if nothing is mounted there.
func Top(path string) (top Entry, ok bool) {
	for _, e := range table() {
		if e.Mountpoint == path {
			top, ok = e, true // later lines are mounted over earlier ones
		}
	}
	return top, ok
}

// table reads the mount table of our own namespace; see proc_pid_mountinfo(5).
func table() (entries []Entry) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if e, ok := parseEntry(lines.Text()); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

func parseEntry(line string) (Entry, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 5 || len(rest) < 1 {
		return Entry{}, false
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(fields[2], "%d:%d", &major, &minor); err != nil {
		return Entry{}, false
	}
	return Entry{
		Device: unix.Mkdev(major, minor), Root: unescape(fields[3]), Mountpoint: unescape(fields[4]), Type: rest[0],
	}, true
}

// unescape undoes the octal escapes of blank, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
