package doctor

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/cli"
)

// arbiter is what is known of a mount and its processes.
type arbiter struct {
	pulse     pulse
	err       error        // what a failing one answers
	dump      *fsnode.Dump // nil if it told nothing
	socketErr error        // what is wrong with the control socket
	server    int          // PID, 0 if it can't be told, as is holder
	holder    int
	stopped   []int // of the two, those that are
	orphaned  bool  // the holder is gone
	waiting   int   // requests that have no answer, -1 if that can't be seen
}

// lookAtArbiter asks a mount in all ways. The first two have their limits; the third is for a mount that answers.
func lookAtArbiter(p *place) *arbiter {
	a, asked := &arbiter{}, make(chan struct{})
	go func() {
		a.dump, a.socketErr = askSocket(p.top.Device)
		close(asked)
	}()
	a.pulse, a.err = askMount(p.path)
	a.waiting = waiting(p.top.Device)
	<-asked
	if a.pulse == dead {
		return a
	}
	if a.dump == nil && a.pulse == answers {
		if d, err := cli.ReadDump(p.path); err == nil {
			a.dump = &d
		}
	}
	a.findProcesses(p.top.Device)
	return a
}

func (a *arbiter) findProcesses(device uint64) {
	if a.dump != nil {
		a.server, a.holder = a.dump.Mount.PID, a.dump.Mount.HolderPID
		a.orphaned = a.holder > 0 && parentOf(a.server) != 0 && parentOf(a.server) != a.holder
	} else if a.server = serverOf(device); a.server != 0 {
		a.holder = parentOf(a.server)
	}
	for _, pid := range []int{a.server, a.holder} {
		if pid > 0 && strings.HasPrefix(statusOf(pid, "State"), "T") {
			a.stopped = append(a.stopped, pid)
		}
	}
}

// family are the processes of the mount: one more stands by.
func (a *arbiter) family() []int {
	family := []int{a.server, a.holder}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", a.holder))
	for _, list := range lists {
		for _, child := range strings.Fields(text(list)) {
			if pid, err := strconv.Atoi(child); err == nil {
				family = append(family, pid)
			}
		}
	}
	return family
}

func parentOf(pid int) int {
	parent, _ := strconv.Atoi(statusOf(pid, "PPid"))
	return parent
}

// statusOf reads a line of /proc/PID/status, which can be read whatever the process is stuck in.
func statusOf(pid int, key string) string {
	for line := range strings.Lines(text(fmt.Sprintf("/proc/%d/status", pid))) {
		if rest, is := strings.CutPrefix(line, key+":"); is {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
