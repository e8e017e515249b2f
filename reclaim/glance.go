package reclaim

import (
	"strings"
	"time"

	"sessionlockfs/lockmgr"
)

// Glance says of a process what can be read without waiting for it, whatever it is inside of (see patience): not which shells are above
// it, nor which PID namespace it is in. So it may be asked while a turn is taken. Whether the process is still the one is not looked at: it
// must wait for our answer, or have done so just now. Of one that was looked at in the last second it says the same again, else it reads two
// files of /proc.
func (p *Processes) Glance(id lockmgr.Identity) lockmgr.Process {
	d := lockmgr.Process{Identity: id, NSPIDs: []int32{id.PID}}
	if !id.Known() {
		return d
	}
	for _, cache := range []*describedCache{p.known, p.glanced} {
		if before, ok := cache.get(id); ok && time.Since(before.at) < describedFor {
			return before.process
		}
	}
	var buf [4096]byte // in which "Groups:" of most have room, the only line that can be long
	text, err := readHead(p.proc.of(id.PID, "status"), buf[:])
	if err != nil {
		return d
	}
	d.Comm = unescape.Replace(statusLine(text, "Name"))
	fillFromStatus(&d, text)
	d.Container = p.container(id.PID)
	p.glanced.put(id, described{d, time.Now()})
	return d
}

// unescape undoes what status does to a name (proc_task_name).
var unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n")
