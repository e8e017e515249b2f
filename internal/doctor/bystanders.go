package doctor

import (
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/reclaim"
)

// people are the processes there are.
type people interface {
	Others(visit func(reclaim.Somebody))
	MountTable(pid int32) ([]byte, error)
	Footholds(pid int32, visit func(reclaim.Foothold) (stop bool))
}

// space is a mount namespace and who is in it.
type space struct {
	first reclaim.Somebody
	count int
	table mount.Table
	ours  bool // we are in it
}

// walkWithin bounds a walk over all processes: to look at one that is inside execve(2) waits for that call.
const walkWithin = 10 * time.Second

// bystanders looks for who reaches the real directory past a mount over it, or would. Family are the processes of the mount.
func (x *examination) bystanders(p *place, family []int) {
	processes := reclaim.New(reclaim.Options{Features: reclaim.Probe(), Family: family})
	found, done := within(walkWithin, func() []Finding { return findBystanders(p, x.table, processes) })
	switch {
	case !done:
		x.add(warn("bystanders", "look for a process that hangs: ps -eo pid,stat,wchan,comm", "to look at all processes takes longer than %s", walkWithin))
	case len(found) > 0:
		x.add(some("bystanders", found)...)
	case os.Geteuid() != 0:
		x.add(ok("bystanders", "nobody of yours goes past the mount; of others only root can tell"))
	default:
		x.add(ok("bystanders", "nobody reaches the real directory past the mount"))
	}
}

// mostFindings is how many there are of one kind before the rest is counted.
const mostFindings = 12

func some(check string, findings []Finding) []Finding {
	if more := len(findings) - mostFindings; more > 0 {
		last := Finding{check, findings[mostFindings].Level, fmt.Sprintf("and %d more", more), "see to those above, and look again"}
		findings = append(findings[:mostFindings:mostFindings], last)
	}
	return findings
}

func findBystanders(p *place, own mount.Table, all people) (found []Finding) {
	spaces := map[uint64]*space{ownSpace(): {ours: true, table: own}}
	var somebodies []reclaim.Somebody
	all.Others(func(s reclaim.Somebody) {
		somebodies = append(somebodies, s)
		if spaces[s.Mounts] == nil {
			spaces[s.Mounts] = newSpace(s, all)
		}
		spaces[s.Mounts].count++
	})
	delete(spaces, 0)
	found = byMounts(p, sorted(spaces))
	return append(found, byFootholds(p, sorted(spaces), somebodies, all)...)
}

func newSpace(first reclaim.Somebody, all people) *space {
	text, _ := all.MountTable(first.PID) // it may be gone
	return &space{first: first, table: mount.ParseTable(text)}
}

// sorted puts the namespaces in the order of their first processes.
func sorted(spaces map[uint64]*space) (list []*space) {
	for _, s := range spaces {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *space) int { return int(a.first.PID) - int(b.first.PID) })
	return list
}

// ownSpace is our mount namespace.
func ownSpace() (id uint64) {
	link, _ := os.Readlink("/proc/self/ns/mnt")
	_, _ = fmt.Sscanf(link, "mnt:[%d]", &id)
	return id
}

// byMounts finds the mount namespaces that show the real directory past the mount, or go on doing so once there is one.
func byMounts(p *place, spaces []*space) (found []Finding) {
	var tables []mount.Table
	for _, s := range spaces {
		tables = append(tables, s.table)
	}
	reached := reachedFrom(p.real.Shared, tables)
	for _, s := range spaces {
		for _, v := range p.tree().views(s.table) {
			passedOn := reached.have(v.mount)
			switch {
			case p.mounted() && !p.overItself() && (s.ours || v.point == p.source):
				continue // what is mounted elsewhere was never meant to be covered
			case !p.mounted() && (passedOn || s.ours && v.point == p.source):
				continue // the mount will be there
			}
			found = append(found, sees(p, s, v, passedOn))
		}
	}
	return found
}

// sees is the finding on a mount namespace that shows the real directory.
func sees(p *place, s *space, v view, passedOn bool) Finding {
	f := Finding{Check: "bystanders", Level: Fail, Fix: s.remedy(p, v, passedOn)}
	if !p.mounted() || v.mount.ReadOnly { // nothing happened yet, or can happen
		f.Level = Warn
	}
	f.Found = fmt.Sprintf("%s the real directory at %s, past %s", s.see(), cli.Printable(v.point), pastWhat(p))
	return f
}

// pastWhat says whether it is so, or will be.
func pastWhat(p *place) string {
	if p.mounted() {
		return "the mount"
	}
	return "a mount that is made now"
}

// see says who sees something.
func (s *space) see() string {
	switch {
	case s.ours:
		return "every process here sees"
	case s.count > 1:
		return fmt.Sprintf("%s and %d more in its mount namespace see", named(s.first), s.count-1)
	}
	return named(s.first) + " sees"
}

// remedy is how they come to see the mount. What gets new mounts was there before this one, and needs only to begin anew.
func (s *space) remedy(p *place, v view, passedOn bool) string {
	parent := cli.Printable(path.Dir(p.path))
	switch {
	case s.ours:
		return "umount " + cli.Printable(v.point) + ", or bind it anew once there is a mount"
	case s.first.Container != "" && !passedOn:
		return fmt.Sprintf("restart the container with the parent bound: -v %s:%s:rslave", parent, parent)
	case s.first.Container != "":
		return "restart the container"
	case !passedOn:
		return "restart it, where new mounts reach it (unshare --mount --propagation slave)"
	}
	return "restart it"
}

// named says a process as people know it.
func named(s reclaim.Somebody) string {
	text := fmt.Sprintf("%s (PID %d)", cli.Printable(s.Comm), s.PID)
	if id := s.Container; id != "" {
		text += " in container " + id[:min(len(id), 12)]
	}
	return text
}

// byFootholds finds the processes that are in the real directory already: a mount over it changes nothing for what they
// have open, or where they stand.
func byFootholds(p *place, spaces []*space, somebodies []reclaim.Somebody, all people) (found []Finding) {
	through := mountsOf(p.tree(), spaces)
	for _, s := range somebodies {
		all.Footholds(s.PID, func(f reclaim.Foothold) bool {
			id, known := f.Mount()
			e, shows := through[id]
			if !known || !shows {
				return false
			}
			at, err := f.Path()
			if err != nil || !p.tree().holds(e, at) {
				return false
			}
			found = append(found, stands(p, s, f.What(), at))
			return true
		})
	}
	return found
}

// mountsOf are the mounts of a tree's device, by their ids, which no two mounts have, in whatever namespace.
func mountsOf(t tree, spaces []*space) map[int]mount.Entry {
	through := map[int]mount.Entry{}
	for _, s := range spaces {
		for _, e := range s.table {
			if e.Device == t.device {
				through[e.ID] = e
			}
		}
	}
	return through
}

// stands is the finding on a process that is in the real directory.
func stands(p *place, s reclaim.Somebody, what, at string) Finding {
	f := fail("bystanders", "restart it: the locks it takes there are not arbitrated", "%s has its %s %s in the real directory, past %s",
		named(s), what, cli.Printable(at), pastWhat(p))
	if !p.mounted() {
		f.Level, f.Fix = Warn, "end it, and start it again once there is a mount"
	}
	return f
}
