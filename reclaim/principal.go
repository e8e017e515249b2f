package reclaim

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Rule 7: shell scripts make and remove locks with programs that end at once. Such a helper
// acts for the shell that is its parent, and a subshell is its shell.

// DefaultHelpers are the programs with which shell scripts make and remove locks (rule 7).
func DefaultHelpers() []string {
	return []string{"mkdir", "ln", "touch", "rm", "rmdir", "mv", "lockfile", "dotlockfile",
		"lockfile-create", "lockfile-remove", "shlock"}
}

// shells are the names of shells.
var shells = []string{"sh", "bash", "rbash", "dash", "ash", "zsh", "ksh", "mksh", "lksh", "oksh", "pdksh", "yash", "posh", "fish"}

// multicalls are programs that are many, told apart by the name they are called by.
var multicalls = []string{"busybox", "coreutils", "toybox"}

// maxAncestors bounds walks up the tree of processes.
const maxAncestors = 32

// forkNoExec is PF_FORKNOEXEC of linux/sched.h: forked, and has not called exec since.
const forkNoExec = 0x40

// kernelThread is PF_KTHREAD of linux/sched.h: it acts for somebody that can't be told, and never dies.
const kernelThread = 0x200000

// Acting names the process for which the thread that made a request makes and removes
// locks, as Identify names its own. byHelper says that it is a helper program (for its
// shell, or where that is gone or never was, for itself) or a subshell (for its shell).
//
// It does not wait for a parent that stands inside execve(2), and so may wait for an answer of
// ours: that is no shell, for all we know, after patience, once.
func (p *Processes) Acting(tid uint32) (id lockmgr.Identity, byHelper bool) {
	c, ok := p.identify(tid)
	if !ok || c.proxy {
		return lockmgr.Identity{}, false
	}
	if !p.isHelper(c) && !c.isSubshell() {
		return c.identity, false
	}
	byHelper = !c.isSubshell()
	for range maxAncestors {
		parent, ok := p.shell(c.parent)
		if !ok {
			return c.identity, byHelper
		}
		c, byHelper = parent, true
		if !c.isSubshell() {
			return c.identity, true
		}
	}
	return lockmgr.Identity{}, false
}

// isSubshell reports whether the process is a shell's fork that has not called exec.
func (c caller) isSubshell() bool { return c.flags&forkNoExec != 0 && c.shell }

// isShell goes by the program: one that runs a script by its "#!" has the script's name, and
// a process can give itself any. Where that can't be seen the command name must do.
func (p *Processes) isShell(pid int32, comm string) bool {
	exe, err := os.Readlink(p.proc.of(pid, "exe"))
	if err != nil {
		return slices.Contains(shells, comm)
	}
	base := path.Base(strings.TrimSuffix(exe, " (deleted)"))
	if slices.Contains(multicalls, base) {
		return slices.Contains(shells, p.applet(pid, comm))
	}
	base = strings.TrimRight(strings.TrimSuffix(base, "-static"), "0123456789.-") // bash5.2, zsh-5.9
	return slices.Contains(shells, base)
}

// applet is the name that one of many programs goes by: the one it was called by, or else its
// first argument ("busybox sh").
func (p *Processes) applet(pid int32, comm string) string {
	var buf [512]byte
	text, err := readHead(p.proc.of(pid, "cmdline"), buf[:])
	if err != nil {
		return comm
	}
	for _, arg := range strings.SplitN(string(text), "\x00", 3) {
		if name := path.Base(strings.TrimPrefix(arg, "-")); !slices.Contains(multicalls, name) {
			return name
		}
	}
	return comm
}

// isHelper goes by the program, as a process can give itself any command name.
func (p *Processes) isHelper(c caller) bool {
	helpers := *p.helpers.Load()
	if !helpers[c.comm] {
		return false
	}
	exe, err := os.Readlink(p.proc.of(c.identity.PID, "exe"))
	if err != nil {
		return false
	}
	base := path.Base(exe)
	return helpers[base[:min(len(base), 15)]] || slices.Contains(multicalls, base)
}

// shell looks at a process that may be a shell.
func (p *Processes) shell(pid int32) (caller, bool) {
	if pid <= 0 {
		return caller{}, false
	}
	return patiently(&p.waits, pid, patience, func() (caller, error) { return p.lookAtShell(pid) })
}

var errNoShell = errors.New("it is no shell")

func (p *Processes) lookAtShell(pid int32) (caller, error) {
	before, err := p.process(pid)
	if err != nil {
		return caller{}, errNoShell
	}
	c, err := p.callerOf(pid, before, 0)
	if err != nil {
		return caller{}, errNoShell
	}
	if c.shell = p.isShell(pid, c.comm); !c.shell {
		return caller{}, errNoShell
	}
	if again, err := p.process(pid); err != nil || again != before {
		return caller{}, errNoShell
	}
	return c, nil
}

// process is the pidfs inode of a process, 0 where the kernel has none.
func (p *Processes) process(pid int32) (uint64, error) {
	if !p.features.Pidfs || !p.features.PidfdThread {
		return 0, nil
	}
	return processInode(pid)
}

// shellsAbove gives the living ancestors of a process that are shells, the nearest first,
// as far as its container goes.
func (p *Processes) shellsAbove(pid int32) (found []lockmgr.Process) {
	ns := p.proc.namespace(pid, "pid")
	for range maxAncestors {
		parent := p.parent(pid)
		above, ok := patiently(&p.waits, parent, patience, func() (uint64, error) { return p.proc.namespace(parent, "pid"), nil })
		if parent <= 0 || !ok || above != ns {
			return found
		}
		pid = parent
		if c, ok := p.shell(pid); ok {
			shell := lockmgr.Process{Identity: c.identity, NSPIDs: []int32{pid}}
			p.readStatus(&shell)
			found = append(found, shell)
		}
	}
	return found
}

// parent is read from status, which never waits; 0 if there is none.
func (p *Processes) parent(pid int32) int32 {
	text, _ := p.proc.status(pid)
	if ids := statusNumbers(text, "PPid"); len(ids) == 1 {
		return int32(ids[0])
	}
	return 0
}

// SetHelpers says which programs act for their shell from now on.
func (p *Processes) SetHelpers(names []string) {
	helpers := make(map[string]bool, len(names))
	for _, name := range names {
		helpers[name[:min(len(name), 15)]] = true // the kernel cuts commands to 15 bytes
	}
	p.helpers.Store(&helpers)
}

// killedBySignal tells of a dead process whether a signal ended it. The kernel keeps that
// in the pidfd from the reaping on (PIDFD_INFO_EXIT, Linux 6.15); until then it is the last
// field of the zombie's stat.
func killedBySignal(fd int, id lockmgr.Identity, proc procfs) bool {
	for range 2 { // it may be reaped between the two questions
		if code, err := exitCode(fd); err == nil {
			return unix.WaitStatus(code).Signaled()
		}
		if st, err := proc.stat(id.PID); err == nil && st.start == id.StartTime && st.dead() {
			return unix.WaitStatus(st.exit).Signaled()
		}
	}
	return false
}
