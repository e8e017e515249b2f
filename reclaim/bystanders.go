package reclaim

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Reaching names the processes that reach the real directory root, on device dev, past
// any mount that is put over it later: those with a working directory or an open file
// there or below, like "node (PID 12)". To be called before mounting, as the paths are
// compared; those of other mount namespaces may differ. Ourselves are left out, and so
// are processes that we may not look into.
func (p *Processes) Reaching(dev uint64, root string) []string {
	below := strings.TrimSuffix(root, "/") + "/"
	return p.thoseWith(func(d descriptor) bool {
		if got, err := d.device(); err != nil || got != dev {
			return false
		}
		path, err := d.path()
		return err == nil && (path == root || strings.HasPrefix(path, below))
	})
}

// Users names the processes that use the file system whose st_dev is dev, mounted or
// no longer: with their working directory, their root or an open file. It does not hang
// when that file system does. Otherwise as Reaching.
func (p *Processes) Users(dev uint64) []string {
	return p.thoseWith(func(d descriptor) bool {
		got, err := d.device()
		return err == nil && got == dev
	})
}

// MountHolders names one process for each mount namespace, other than our own, that has the
// file system whose st_dev is dev mounted: they keep it alive when it is unmounted here.
func (p *Processes) MountHolders(dev uint64) []string {
	looked := map[uint64]bool{p.proc.namespace(int32(os.Getpid()), "mnt"): true, 0: true}
	var names []string
	p.eachOther(func(pid int32) {
		ns := p.proc.namespace(pid, "mnt")
		if looked[ns] {
			return
		}
		if has, err := p.proc.mounts(pid, dev); err == nil {
			looked[ns] = true
			if has {
				names = append(names, p.proc.named(pid))
			}
		}
	})
	return names
}

// thoseWith names the processes that have a place for which is answers true.
func (p *Processes) thoseWith(is func(descriptor) bool) []string {
	var names []string
	p.eachOther(func(pid int32) {
		found := false
		p.proc.places(pid, func(d descriptor) bool {
			found = is(d)
			return found
		})
		if found {
			names = append(names, p.proc.named(pid))
		}
	})
	return names
}

// eachOther visits all processes but our own.
func (p *Processes) eachOther(visit func(pid int32)) {
	pids, _ := p.proc.pids()
	for _, pid := range pids {
		if !p.ours(pid) {
			visit(pid)
		}
	}
}

// mounts tells whether a process's mount namespace has the device mounted.
func (p procfs) mounts(pid int32, dev uint64) (bool, error) {
	return p.anyMount(pid, ofDevice(dev))
}

// anyMount tells whether one of the mounts that a process sees is such a one: it is asked
// about the fields of each line of mountinfo, see proc_pid_mountinfo(5).
func (p procfs) anyMount(pid int32, is func(mount []string) bool) (bool, error) {
	f, err := os.Open(p.of(pid, "mountinfo"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // overlay's options can be long
	for lines.Scan() {
		if is(strings.Fields(lines.Text())) {
			return true, nil
		}
	}
	return false, lines.Err()
}

// ofDevice tells the mounts of a device: their third field is major:minor.
func ofDevice(dev uint64) func(mount []string) bool {
	want := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	return func(mount []string) bool { return len(mount) > 2 && mount[2] == want }
}
