package mount

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FSType is what the mount table calls a mount of ours.
const FSType = "fuse.sessionlockfs"

// Entry is one line of a mount table.
type Entry struct {
	ID, Parent int    // of the mount, and of the one that it is mounted on
	Device     uint64 // st_dev of the mounted file system
	Root       string // the directory of that file system which is mounted
	Mountpoint string
	ReadOnly   bool
	Shared     int // the peer group in which mounts are passed on, 0 if in none
	Master     int // the peer group from which they come, 0 if from none
	Type       string
	Source     string
}

// Ours reports whether it is a mount of this program.
func (e Entry) Ours() bool { return e.Type == FSType }

// Table is the mount table of one mount namespace. Later entries are mounted over earlier ones.
type Table []Entry

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

// Mounted reports whether a file system with this device number is mounted anywhere in our own namespace.
func Mounted(device uint64) bool {
	return slices.ContainsFunc(table(), func(e Entry) bool { return e.Device == device })
}

// table reads the mount table of our own namespace.
func table() Table {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return ParseTable(text)
}

// ParseTable reads a /proc/PID/mountinfo, see proc_pid_mountinfo(5). Lines that it does not understand are left out.
func ParseTable(text []byte) (entries Table) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if e, ok := parseEntry(lines.Text()); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

func parseEntry(line string) (e Entry, ok bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 6 || len(rest) < 1 {
		return Entry{}, false
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(fields[2], "%d:%d", &major, &minor); err != nil {
		return Entry{}, false
	}
	e = Entry{Device: unix.Mkdev(major, minor), Root: unescape(fields[3]), Mountpoint: unescape(fields[4]), Type: rest[0]}
	e.ID, _ = strconv.Atoi(fields[0])
	e.Parent, _ = strconv.Atoi(fields[1])
	e.ReadOnly = slices.Contains(strings.Split(fields[5], ","), "ro")
	for _, tag := range fields[6:] {
		e.propagates(tag)
	}
	if len(rest) > 1 {
		e.Source = unescape(rest[1])
	}
	return e, true
}

// propagates reads one of the optional fields, which tell of shared subtrees.
func (e *Entry) propagates(tag string) {
	if group, is := strings.CutPrefix(tag, "shared:"); is {
		e.Shared, _ = strconv.Atoi(group)
	} else if group, is := strings.CutPrefix(tag, "master:"); is {
		e.Master, _ = strconv.Atoi(group)
	}
}

// unescape undoes the octal escapes of blank, tab, newline, backslash and, in sources, hash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace(s)
}
