package doctor

import (
	"path"
	"strings"

	"sessionlockfs/fsnode/mount"
)

// tree is a real directory and what is below it, told by what is the same for every process, however it has mounted it.
type tree struct {
	device uint64
	path   string // in the file system
}

// below tells whether a path is a directory or below it, and where: "" for the directory.
func below(dir, p string) (rel string, is bool) {
	if p == dir {
		return "", true
	}
	return strings.CutPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// view is a place at which somebody sees a tree, or a part of it.
type view struct {
	point string // a path in the mount namespace of whoever does
	mount mount.Entry
}

// views are the places at which a mount table shows the tree and not what is mounted over it.
func (t tree) views(table mount.Table) (found []view) {
	for _, e := range table {
		if e.Device != t.device {
			continue
		}
		point := e.Mountpoint
		if rel, is := below(e.Root, t.path); is {
			point = path.Join(point, rel)
		} else if _, part := below(t.path, e.Root); !part {
			continue
		}
		if table.End(point).ID == e.ID {
			found = append(found, view{point, e})
		}
	}
	return found
}

// holds tells whether a path that leads through a mount is in the tree.
func (t tree) holds(through mount.Entry, p string) bool {
	rel, is := below(through.Mountpoint, p)
	if through.Device != t.device || !is {
		return false
	}
	_, is = below(t.path, path.Join(through.Root, rel))
	return is
}

// groups are peer groups of mounts.
type groups map[int]bool

// reachedFrom are the peer groups to which a mount is passed on that is made in one of the group: its own, and those of slaves.
func reachedFrom(group int, tables []mount.Table) groups {
	reached := groups{}
	if group == 0 {
		return reached
	}
	reached[group] = true
	for more := true; more; {
		more = false
		for _, t := range tables {
			for _, e := range t {
				if e.Shared != 0 && reached[e.Master] && !reached[e.Shared] {
					reached[e.Shared], more = true, true
				}
			}
		}
	}
	return reached
}

// have reports whether a new mount is passed on to this one.
func (g groups) have(e mount.Entry) bool { return g[e.Shared] || g[e.Master] }
