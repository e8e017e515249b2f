package reclaim

import (
	"bytes"
	"encoding/binary"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// action is what a system call does to the name it is given.
type action uint8

const (
	unclear      action = iota // not in our tables: it tells us nothing
	lookAtName                 // never creates exclusively
	exclusive                  // fails with EEXIST if the name is there
	openFlags                  // exclusive if the flags in argument .arg say so
	openHow                    // the same, flags in the memory that argument .arg points to
	renameByFlag               // exclusive if argument .arg has RENAME_NOREPLACE
)

// intent is how to read one system call. Each architecture has intentOf(number).
type intent struct {
	action action
	arg    int
	target int // of a call with two paths, the argument with the one that comes into being
}

// blockedCall is a line of /proc/TID/syscall.
type blockedCall struct {
	number uint64
	args   [6]uint64
	sp     uint64
}

// lowestStack tells a 64-bit thread by its stack pointer. Below 4 GiB are the stacks of
// 32-bit processes, whose numbers mean other calls; 0 is that of an io_uring worker, whose
// registers are left over from whoever made it.
const lowestStack = 1 << 32

// ExclusiveCreate reads from a caller that is blocked in our request whether its system
// call creates an entry of this name and fails if that exists. Not known: io_uring, 32-bit
// programs, a call or an architecture that we have no table for, a thread that runs, no
// permission.
//
// link, linkat and renameat2 look up the entry they start from, too, so there the name
// counts. For the others it is the last one of their only path: a lock is no parent.
// Opens and reads one file of /proc (2 to 20 µs), and some memory for those with two paths
// and for openat2.
func (p *Processes) ExclusiveCreate(tid uint32, name string) (yes, known bool) {
	var buf [256]byte // a number and eight addresses, at most 172 bytes
	line, err := readHead(p.proc.of(int32(tid), "syscall"), buf[:])
	if err != nil {
		return false, false
	}
	call, ok := parseCall(string(line))
	if !ok {
		return false, false
	}
	yes, known = call.exclusive(func(at uint64) (uint64, bool) { return peek(int32(tid), at) })
	if target := intentOf(call.number).target; yes && target > 0 {
		created, ok := peekString(int32(tid), call.args[target])
		return ok && path.Base(created) == name, ok
	}
	return yes, known
}

// parseCall parses "257 0xffffff9c 0x7ffd... 0xc1 0x1b6 0x0 0x0 0xSP 0xPC". It refuses
// "running" and "-1 0xSP 0xPC", a thread blocked outside of a system call.
func parseCall(line string) (blockedCall, bool) {
	words := strings.Fields(line)
	if len(words) != 9 {
		return blockedCall{}, false
	}
	var n [8]uint64
	for i := range n {
		v, err := strconv.ParseUint(words[i], 0, 64)
		if err != nil {
			return blockedCall{}, false
		}
		n[i] = v
	}
	return blockedCall{number: n[0], args: [6]uint64(n[1:7]), sp: n[7]}, true
}

// exclusive judges a call; peek reads eight bytes of its caller's memory.
func (c blockedCall) exclusive(peek func(at uint64) (uint64, bool)) (yes, known bool) {
	if c.sp < lowestStack {
		return false, false
	}
	switch in := intentOf(c.number); in.action {
	case lookAtName:
		return false, true
	case exclusive:
		return true, true
	case openFlags:
		return createsNew(c.args[in.arg]), true
	case openHow:
		flags, ok := peek(c.args[in.arg]) // the first field of struct open_how
		return ok && createsNew(flags), ok
	case renameByFlag:
		return c.args[in.arg]&unix.RENAME_NOREPLACE != 0, true
	}
	return false, false
}

func createsNew(flags uint64) bool {
	const both = unix.O_CREAT | unix.O_EXCL
	return flags&both == both
}

// peek reads eight bytes of a process's memory.
func peek(tid int32, at uint64) (uint64, bool) {
	var word [8]byte
	local := []unix.Iovec{{Base: &word[0]}}
	local[0].SetLen(len(word))
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(word)}}
	n, err := unix.ProcessVMReadv(int(tid), local, remote, 0)
	return binary.NativeEndian.Uint64(word[:]), err == nil && n == len(word)
}

// peekString reads a path from a process's memory. It is read page by page, since the next
// page may not be there.
func peekString(tid int32, at uint64) (string, bool) {
	text := make([]byte, unix.PathMax)
	local := []unix.Iovec{{Base: &text[0]}}
	local[0].SetLen(len(text))
	page := uint64(os.Getpagesize())
	var remote []unix.RemoteIovec
	for left := uint64(len(text)); left > 0; {
		size := min(page-at%page, left)
		remote = append(remote, unix.RemoteIovec{Base: uintptr(at), Len: int(size)})
		at, left = at+size, left-size
	}
	n, err := unix.ProcessVMReadv(int(tid), local, remote, 0)
	if err != nil {
		return "", false
	}
	end := bytes.IndexByte(text[:n], 0)
	return string(text[:max(end, 0)]), end >= 0
}

// capSysPtrace is CAP_SYS_PTRACE's bit.
const capSysPtrace = 1 << unix.CAP_SYS_PTRACE

// CanReadIntent tells whether ExclusiveCreate can be expected to know about callers
// of our own user (with CAP_SYS_PTRACE: of any). It depends on Yama's ptrace_scope: 0 lets us
// read our own user's processes, 1 and 2 ask for the capability, 3 lets nobody.
func (p *Processes) CanReadIntent() bool {
	if intentOf(unix.SYS_OPENAT).action == unclear {
		return false
	}
	if _, err := os.Stat(string(p.proc) + "/self/syscall"); err != nil {
		return false // CONFIG_HAVE_ARCH_TRACEHOOK is off, or proc is not what we think
	}
	scope, err := os.ReadFile(string(p.proc) + "/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return os.IsNotExist(err)
	}
	return scopeAllows(strings.TrimSpace(string(scope)), p.mayTrace)
}

func scopeAllows(scope string, mayTrace func() bool) bool {
	switch scope {
	case "0":
		return true
	case "1", "2":
		return mayTrace()
	}
	return false
}

func (p *Processes) mayTrace() bool {
	text, err := os.ReadFile(string(p.proc) + "/self/status")
	if err != nil {
		return false
	}
	caps, err := strconv.ParseUint(statusLine(text, "CapEff"), 16, 64)
	return err == nil && caps&capSysPtrace != 0
}
