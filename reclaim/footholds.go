package reclaim

import (
	"os"

	"golang.org/x/sys/unix"
)

// Somebody is another process, as people know it.
type Somebody struct {
	PID       int32
	Comm      string // the process chose it, and may have put anything in it
	Container string // the container's id, "" if it is in none
	Mounts    uint64 // the mount namespace, 0 if that is not for us to see
}

// Foothold is where a process is, or what it has open. It is of use only while Footholds visits it.
type Foothold struct{ descriptor }

// What says what it is to its process.
func (f Foothold) What() string {
	switch f.name {
	case "cwd":
		return "working directory"
	case "root":
		return "root directory"
	}
	return "open file"
}

// Mount is the id of the mount through which the process has it (Linux 5.8). It asks no file system.
func (f Foothold) Mount() (id int, ok bool) {
	var st unix.Statx_t
	err := unix.Statx(f.dir, f.name, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	return int(st.Mnt_id), err == nil && st.Mask&unix.STATX_MNT_ID != 0
}

// Path is where the kernel thinks it is, in the mount namespace that the mount is in.
func (f Foothold) Path() (string, error) { return f.path() }

// Others visits all processes but our own.
func (p *Processes) Others(visit func(Somebody)) {
	p.eachOther(func(pid int32) {
		st, err := p.proc.stat(pid)
		if err != nil || st.flags&kernelThread != 0 {
			return
		}
		visit(Somebody{PID: pid, Comm: st.comm, Container: p.container(pid), Mounts: p.proc.namespace(pid, "mnt")})
	})
}

// Footholds visits where a process is and what it has open, until visit says stop. Of a process that we may not look into
// it visits nothing.
func (p *Processes) Footholds(pid int32, visit func(Foothold) (stop bool)) {
	p.proc.places(pid, func(d descriptor) bool { return visit(Foothold{d}) })
}

// MountTable is the /proc/PID/mountinfo of a process.
func (p *Processes) MountTable(pid int32) ([]byte, error) {
	return os.ReadFile(p.proc.of(pid, "mountinfo"))
}
