package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"sessionlockfs/fsnode"
)

// Living is a process as /proc shows it.
type Living struct {
	State   string   `json:"state"`   // a letter, as in proc(5): R, S, D, T, ...
	Command []string `json:"command"` // nil if it can't be read
}

// lookAtOwner finds out what the machine knows of the owner.
func (a *Answer) lookAtOwner(server fsnode.MountDump) {
	owner := a.owner()
	if owner == nil {
		return
	}
	a.Container = containerNamed(owner.Container)
	a.User = userName(owner.UID)
	if a.Hidden = !sees(server.PID); a.Hidden {
		return
	}
	st, err := readStat(owner.PID)
	if err != nil || st.start != owner.StartTime || st.over() {
		return
	}
	a.Process = &Living{State: st.state, Command: commandLine(owner.PID)}
	if c := containerOf(owner.PID); c != nil {
		a.Container = c
	}
}

// sees reports whether we are in the PID namespace of the mount, so that a PID means the same to both.
func sees(server int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", server))
	if err != nil || strings.TrimSpace(string(comm)) != "sessionlockfs" {
		return false
	}
	ours, err := os.Readlink("/proc/self/ns/pid")
	theirs, theirsErr := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", server))
	return err != nil || theirsErr != nil || ours == theirs
}

// stat is what is needed of /proc/PID/stat.
type stat struct {
	state   string
	parent  int32
	threads int
	start   uint64
}

// over tells of a process that is dead, and not of one of which only the first thread has ended.
func (s stat) over() bool { return strings.Contains("ZXx", s.state) && s.threads <= 1 }

func readStat(pid int32) (s stat, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	return parseStat(text)
}

// parseStat finds the fields behind the name, which may hold blanks and brackets, by their numbers in proc(5).
func parseStat(text []byte) (s stat, err error) {
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return s, fmt.Errorf("%q is no state of a process", text)
	}
	field := func(n int) string { return fields[n-3] }
	s.state = field(3)
	parent, _ := strconv.ParseInt(field(4), 10, 32)
	s.parent = int32(parent)
	s.threads, _ = strconv.Atoi(field(20))
	s.start, err = strconv.ParseUint(field(22), 10, 64)
	return s, err
}

// commandLine may wait for a process that waits for a page of a file, and with it for whatever file system that is on.
func commandLine(pid int32) (words []string) {
	text, err := within(askWithin, func() ([]byte, error) { return os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) })
	if err != nil || len(text) == 0 {
		return nil
	}
	for word := range strings.SplitSeq(strings.TrimRight(string(text), "\x00"), "\x00") {
		words = append(words, word)
	}
	return words
}

// userName is "" if nobody knows the number, or who does hangs, as a directory service may.
func userName(uid uint32) string {
	name, _ := within(askWithin, func() ([]byte, error) {
		u, err := user.LookupId(strconv.Itoa(int(uid)))
		if err != nil {
			return nil, err
		}
		return []byte(u.Username), nil
	})
	return string(name)
}
