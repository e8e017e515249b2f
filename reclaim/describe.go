package reclaim

import (
	"bytes"
	"strings"
	"sync"
	"time"

	"sessionlockfs/lockmgr"
)

// describedFor is how long a description is believed: a process can change its user and
// its command name. Everything else of it is for good.
const describedFor = time.Second

// describedCache remembers what was said of processes, so that one that takes lock after
// lock is not looked at for each. mu guards the map.
type describedCache struct {
	mu      sync.Mutex
	entries map[lockmgr.Identity]described
}

type described struct {
	process lockmgr.Process
	at      time.Time
}

func newDescribedCache() *describedCache {
	return &describedCache{entries: map[lockmgr.Identity]described{}}
}

func (c *describedCache) get(id lockmgr.Identity) (described, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.entries[id]
	return d, ok
}

func (c *describedCache) put(id lockmgr.Identity, d described) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= cacheEntries {
		for victim := range c.entries { // the order of a map is random
			delete(c.entries, victim)
			break
		}
	}
	c.entries[id] = d
}

// Describe says of a process what people want to know. Best effort: what can't be read
// stays zero, and NSPIDs holds at least the PID. Nothing is said of another process that
// bears the PID now. Of a process that was described in the last second it says the same
// again, else it reads two to six files of /proc, and one more for each of its ancestors.
func (p *Processes) Describe(id lockmgr.Identity) lockmgr.Process {
	if !id.Known() {
		return lockmgr.Process{Identity: id, NSPIDs: []int32{id.PID}}
	}
	before, known := p.known.get(id)
	if known && time.Since(before.at) < describedFor {
		return before.process
	}
	d, ok := p.describe(id, before.process, known)
	if ok {
		p.known.put(id, described{d, time.Now()})
	}
	return d
}

// describe looks at a process, except for what is known of it already and can't change. ok
// is false if it is gone.
func (p *Processes) describe(id lockmgr.Identity, before lockmgr.Process, known bool) (d lockmgr.Process, ok bool) {
	bare := lockmgr.Process{Identity: id, NSPIDs: []int32{id.PID}}
	full := bare
	if known {
		full.PIDNS, full.Container, full.Shells = before.PIDNS, before.Container, before.Shells
	} else {
		full.PIDNS = p.proc.namespace(id.PID, "pid")
		full.Container = p.container(id.PID)
		full.Shells = p.shellsAbove(id.PID)
	}
	p.readStatus(&full)
	st, err := p.proc.stat(id.PID)
	if err != nil || st.start != id.StartTime {
		return bare, false // read last, so that all the rest was of this process
	}
	full.Comm = st.comm
	return full, true
}

func (p *Processes) readStatus(d *lockmgr.Process) {
	if text, err := p.proc.status(d.PID); err == nil {
		fillFromStatus(d, text)
	}
}

func fillFromStatus(d *lockmgr.Process, text []byte) {
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
	var buf [4096]byte // a hierarchy has a line of some hundred bytes, and there is one, or some ten
	text, err := readHead(p.proc.of(pid, "cgroup"), buf[:])
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if id := containerID(strings.TrimSpace(string(line))); id != "" {
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
