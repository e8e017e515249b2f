package reclaim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procfs is where the proc file system is mounted.
type procfs string

// of is the path of a file of one process or thread.
func (p procfs) of(id int32, name string) string {
	return string(p) + "/" + strconv.Itoa(int(id)) + "/" + name
}

// procStat is what is needed of /proc/PID/stat.
type procStat struct {
	comm  string
	state byte
	start uint64 // clock ticks since boot

	parent int32
	flags  uint32 // PF_ of linux/sched.h
	exit   int    // of a zombie, as wait(2) gives it; 0 where we may not see it
}

// dead tells of a zombie (Z) or a thread being taken down (X, x): proc(5).
func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

// stat reads /proc/ID/stat. A process that is gone is ENOENT or ESRCH.
func (p procfs) stat(id int32) (procStat, error) { return readStat(p.of(id, "stat")) }

func readStat(path string) (procStat, error) {
	var buf [1200]byte // 52 numbers of at most 20 digits, and a name
	text, err := readHead(path, buf[:])
	if err != nil {
		return procStat{}, err
	}
	st, err := parseStat(text)
	if err != nil {
		return procStat{}, fmt.Errorf("%s: %w", path, err)
	}
	return st, nil
}

var errMalformed = errors.New("not in the form that proc(5) gives")

// parseStat finds the command between the first '(' and the last ')', because it
// may hold both, and the rest behind it by the numbers that proc(5) gives the fields.
func parseStat(text []byte) (procStat, error) {
	from, to := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return procStat{}, errMalformed
	}
	st := procStat{comm: string(text[from+1 : to])}
	fields := strings.Fields(string(text[to+1:]))
	if len(fields) < 20 { // up to field 22
		return procStat{}, errMalformed
	}
	field := func(n int) string { return fields[n-3] }
	st.state = field(3)[0]
	parent, err := strconv.ParseInt(field(4), 10, 32)
	flags, flagsErr := strconv.ParseUint(field(9), 10, 32)
	start, startErr := strconv.ParseUint(field(22), 10, 64)
	if err := errors.Join(err, flagsErr, startErr); err != nil {
		return procStat{}, err
	}
	st.parent, st.flags, st.start = int32(parent), uint32(flags), start
	if len(fields) >= 50 { // up to field 52
		st.exit, _ = strconv.Atoi(field(52))
	}
	return st, nil
}

// tgid reads the process id of a thread from /proc/TID/status. The line stands before
// "Groups:", the only one that can be long.
func (p procfs) tgid(tid int32) (int32, error) {
	var buf [1024]byte
	text, err := readHead(p.of(tid, "status"), buf[:])
	if err != nil {
		return 0, err
	}
	ids := statusNumbers(text, "Tgid")
	if len(ids) != 1 || ids[0] <= 0 {
		return 0, errMalformed
	}
	return int32(ids[0]), nil
}

// status reads all of /proc/PID/status.
func (p procfs) status(pid int32) ([]byte, error) { return os.ReadFile(p.of(pid, "status")) }

// statusNumbers returns the decimal numbers of one line of a status file.
func statusNumbers(text []byte, key string) []int64 {
	var numbers []int64
	for _, word := range strings.Fields(statusLine(text, key)) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil
		}
		numbers = append(numbers, n)
	}
	return numbers
}

func statusLine(text []byte, key string) string {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(key+":")); ok {
			return strings.TrimSpace(string(rest))
		}
	}
	return ""
}

// pids lists the processes there are.
func (p procfs) pids() ([]int32, error) { return listIDs(string(p)) }

// threads lists the thread ids of a process.
func (p procfs) threads(pid int32) ([]int32, error) { return listIDs(p.of(pid, "task")) }

// named says a process as people know it: "node (PID 12)".
func (p procfs) named(pid int32) string {
	st, err := p.stat(pid)
	if err != nil {
		return fmt.Sprintf("a process (PID %d)", pid)
	}
	return processName(st.comm, pid)
}

// processName leaves out of a command, which a process chooses for itself, what could
// spoil a log line or a terminal.
func processName(comm string, pid int32) string {
	printable := strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, comm)
	return fmt.Sprintf("%s (PID %d)", printable, pid)
}

// namespace returns the inode of one of a process's namespaces, 0 if it can't be read.
func (p procfs) namespace(pid int32, kind string) uint64 {
	link, err := os.Readlink(p.of(pid, filepath.Join("ns", kind)))
	if err != nil {
		return 0
	}
	text, _ := strings.CutPrefix(link, kind+":[")
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// vanished tells of a process that is gone: its directory is (ENOENT), or was open (ESRCH).
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

// denied tells that we may not look.
func denied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}

// listIDs returns the entries of a directory that are numbers.
func listIDs(dir string) ([]int32, error) {
	names, err := listNames(dir)
	if err != nil {
		return nil, err
	}
	ids := make([]int32, 0, len(names))
	for _, name := range names {
		if n, err := strconv.ParseInt(name, 10, 32); err == nil {
			ids = append(ids, int32(n))
		}
	}
	return ids, nil
}

func listNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// readHead reads the start of a proc file with three bare system calls: os.ReadFile
// costs twice that for the poller it tries and the buffer it grows.
func readHead(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
