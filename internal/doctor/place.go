package doctor

import (
	"os"
	"path"
	"strings"
	"time"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
)

// place is a directory, or the mount of ours that it is in.
type place struct {
	path   string      // absolute; links are followed as far as that goes without asking a mount of ours
	top    mount.Entry // the mount that the path ends in
	source string      // path of the real directory
	real   mount.Entry // the mount that the real directory is in
	under  mount.Entry // the mount that ours lies on, or would
}

// mounted reports whether it is a mount of ours.
func (p *place) mounted() bool { return p.top.Ours() && p.top.Mountpoint == p.path }

// overItself reports whether a mount is over the real directory, which can't be seen then.
func (p *place) overItself() bool { return p.source == p.path }

// tree is the real directory.
func (p *place) tree() tree {
	rel, _ := below(p.real.Mountpoint, p.source)
	return tree{device: p.real.Device, path: path.Join(p.real.Root, rel)}
}

// findPlace asks the file systems on the way for links, and no mount of ours for anything.
func findPlace(t mount.Table, dir string, readlink func(string) (string, error)) *place {
	p := &place{path: follow(t, dir, readlink)}
	p.top, p.source = t.End(p.path), p.path
	if p.mounted() && path.IsAbs(p.top.Source) {
		p.source = p.top.Source
	}
	p.real, p.under = beneath(t.Trail(p.source)), beneath(t.Trail(p.path))
	return p
}

// beneath is the last mount of a trail that is not ours, the zero Entry if there is none.
func beneath(trail []mount.Entry) mount.Entry {
	for i := len(trail) - 1; i >= 0; i-- {
		if !trail[i].Ours() {
			return trail[i]
		}
	}
	return mount.Entry{}
}

// mostLinks is how many links a path may lead through: MAXSYMLINKS of the kernel's namei.h.
const mostLinks = 40

// follow resolves the links of an absolute path, up to where the first mount of ours begins.
func follow(t mount.Table, dir string, readlink func(string) (string, error)) string {
	at, rest := "/", elements(dir)
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		if end := t.End(next); end.Ours() && end.Mountpoint == next {
			return next
		}
		target, err := readlink(next)
		if err != nil {
			at = next
			continue
		}
		if links++; links > mostLinks {
			return dir
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(elements(target), rest...)
	}
	return at
}

func elements(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}

// lookWithin is how long a file system may take that is not ours.
const lookWithin = 5 * time.Second

// directory looks at a directory and what is mounted there.
func (x *examination) directory(dir string) {
	p, found := within(lookWithin, func() *place { return findPlace(x.table, dir, os.Readlink) })
	if !found {
		x.add(fail("directory", "see which of them `stat` hangs on, and unmount that (umount -l)", "%s: a directory on the way to it does not answer", cli.Printable(dir)))
		return
	}
	if covered := x.coveredBy(p); covered != nil {
		x.add(*covered)
		return
	}
	if p.mounted() {
		x.mounted(p)
	} else {
		x.unmounted(p)
	}
}

// coveredBy tells of something else that is mounted over a mount of ours.
func (x *examination) coveredBy(p *place) *Finding {
	trail := x.table.Trail(p.path)
	for _, e := range trail {
		if e.Ours() && !p.mounted() && e.Mountpoint == p.path {
			f := fail("mount", "umount "+cli.Printable(p.path), "a mount of type %s is over the sessionlockfs mount %s", cli.Printable(p.top.Type), cli.Printable(p.path))
			return &f
		}
	}
	return nil
}
