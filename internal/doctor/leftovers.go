package doctor

import (
	"maps"
	"os"
	"slices"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/control"
	"sessionlockfs/reclaim"
)

// allMounts looks whether every mount of ours answers.
func (x *examination) allMounts() {
	points := map[string]bool{}
	for _, e := range x.table {
		if e.Ours() {
			points[e.Mountpoint] = true
		}
	}
	if len(points) == 0 {
		x.add(ok("mount", "there is none"))
	}
	for _, point := range slices.Sorted(maps.Keys(points)) {
		p := findPlace(x.table, point, func(string) (string, error) { return "", os.ErrInvalid })
		if covered := x.coveredBy(p); covered != nil {
			x.add(*covered)
			continue
		}
		a := lookAtArbiter(p)
		x.add(checkMount(point, a))
		if a.pulse == dead {
			x.deadMount(p)
		}
		if a.dump != nil {
			x.add(onlyBad(checkHolder(a), checkProgram(point, a.dump.Mount, x.version))...)
		}
	}
}

func onlyBad(findings ...Finding) []Finding {
	return slices.DeleteFunc(findings, func(f Finding) bool { return f.Level == OK })
}

// sockets looks for those that mounts have left which were killed.
func (x *examination) sockets() {
	mounted, done := within(walkWithin, x.devices)
	if !done {
		return // whoever can't be looked at may have any of them
	}
	left := staleSockets(control.Sockets(), mounted)
	for _, s := range left {
		name := cli.Printable(s.Path)
		x.cures = append(x.cures, cure{"sockets", "the socket " + name + " is removed, whose mount is gone", s.RemoveDead})
		x.add(warn("sockets", "sessionlockfs doctor --fix", "%s is left of a mount that is gone", name))
	}
	if len(left) == 0 {
		x.add(ok("sockets", "none is left of a mount that is gone"))
	}
}

// staleSockets are those of devices that are mounted nowhere, on which nobody listens.
func staleSockets(all []control.Socket, mounted map[uint64]bool) (stale []control.Socket) {
	for _, s := range all {
		if !mounted[s.Device] && s.Dead() {
			stale = append(stale, s)
		}
	}
	return stale
}

// devices are those that are mounted in any namespace that we can see.
func (x *examination) devices() map[uint64]bool {
	mounted := map[uint64]bool{}
	add := func(t mount.Table) {
		for _, e := range t {
			mounted[e.Device] = true
		}
	}
	add(x.table)
	processes, looked := reclaim.New(reclaim.Options{}), map[uint64]bool{}
	processes.Others(func(s reclaim.Somebody) {
		if looked[s.Mounts] {
			return
		}
		looked[s.Mounts] = true
		text, _ := processes.MountTable(s.PID)
		add(mount.ParseTable(text))
	})
	return mounted
}
