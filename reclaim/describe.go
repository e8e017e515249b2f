package reclaim

import (
	"os"
	"strings"

	"sessionlockfs/lockmgr"
)

// Describe says of a process what people want to know. Best effort: what can't be read
// stays zero, and NSPIDs holds at least the PID. Nothing is said of another process that
// bears the PID now. Reads four files of /proc: not for the hot path.
func (p *Processes) Describe(id lockmgr.Identity) lockmgr.Process {
	bare := lockmgr.Process{Identity: id, NSPIDs: []int32{id.PID}}
	if !id.Known() {
		return bare
	}
	full := bare
	full.PIDNS = p.proc.namespace(id.PID, "pid")
	full.Container = p.container(id.PID)
	p.readStatus(&full)
	st, err := p.proc.stat(id.PID)
	if err != nil || st.start != id.StartTime {
		return bare // read last, so that all the rest was of this process
	}
	full.Comm = st.comm
	return full
}

func (p *Processes) readStatus(d *lockmgr.Process) {
	text, err := p.proc.status(d.PID)
	if err != nil {
		return
	}
	if uids := statusNumbers(text, "Uid"); len(uids) > 0 {
		d.UID = uint32(uids[0]) // real, effective, saved, file system
	}
	if ids := statusNumbers(text, "NStgid"); len(ids) > 0 {
		d.NSPIDs = make([]int32, len(ids))
		for i, id := range ids {
			d.NSPIDs[i] = int32(id)
		}
	}
}

func (p *Processes) container(pid int32) string {
	text, err := os.ReadFile(p.proc.of(pid, "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if id := containerID(strings.TrimSpace(line)); id != "" {
			return id
		}
	}
	return ""
}

// containerID finds the innermost container's id in a line of /proc/PID/cgroup. All of
// docker-ID.scope, libpod-ID.scope, crio-ID.scope, cri-containerd-ID.scope, /docker/ID,
// /kubepods/.../podUID/ID and uid:cri-containerd:ID name it by 64 hexadecimal digits.
// conmon watches a container from outside, in a cgroup named after it.
func containerID(line string) string {
	parts := strings.Split(line, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if strings.Contains(parts[i], "conmon") {
			continue
		}
		words := strings.FieldsFunc(parts[i], func(r rune) bool { return r == '-' || r == '.' || r == ':' })
		for _, word := range words {
			if len(word) == 64 && strings.Trim(word, "0123456789abcdef") == "" {
				return word
			}
		}
	}
	return ""
}
