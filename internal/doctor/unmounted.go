package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/config"
)

// bare is what is known of a directory that is not mounted over.
type bare struct {
	info  fs.FileInfo
	err   error // why it can't be looked at, or opened
	write error // why we may not write there
	other string
	taken bool   // it has an arbiter: other, if that can be told
	at    string // where it is mounted, if that is elsewhere
}

func lookAtBare(path string) (b bare) {
	if b.info, b.err = os.Stat(path); b.err != nil || !b.info.IsDir() {
		return b
	}
	b.write = unix.Access(path, unix.W_OK)
	b.other, b.taken, b.err = mount.Arbiter(path)
	return b
}

// unmounted looks at what a mount over a directory would meet.
func (x *examination) unmounted(p *place) {
	b, answered := within(lookWithin, func() bare { return lookAtBare(p.path) })
	if !answered {
		b.err = errSilent
	}
	b.at = x.mountOf(p.path)
	findings := checkBare(p.path, b, os.Geteuid() == 0)
	x.add(findings...)
	if findings[0].Level == Fail {
		return
	}
	x.ground(p, 0)
	x.bystanders(p, nil)
	x.add(leftovers(p.path))
}

// mountOf is where a mount shows a real directory; "" if there is none.
func (x *examination) mountOf(source string) string {
	for _, e := range x.table {
		if e.Ours() && e.Source == source && x.table.End(e.Mountpoint).ID == e.ID {
			return e.Mountpoint
		}
	}
	return ""
}

// checkBare begins with the directory; the rest makes no sense if that fails.
func checkBare(path string, b bare, root bool) []Finding {
	const check = "directory"
	name := cli.Printable(path)
	switch {
	case errors.Is(b.err, fs.ErrNotExist):
		return []Finding{fail(check, "mkdir -p "+name, "%s does not exist", name)}
	case b.info != nil && !b.info.IsDir():
		return []Finding{fail(check, "name the directory that holds the sessions", "%s is not a directory", name)}
	case errors.Is(b.err, fs.ErrPermission):
		return []Finding{fail(check, "run as root, or as the user whose agents use it", "%s is not for us to read", name)}
	case b.err != nil:
		return []Finding{fail(check, "see whether its file system is in order, and has flock(2)", "%s can't be used: %s", name, cli.PrintableText(b.err.Error()))}
	case !root && b.write != nil:
		return []Finding{fail(check, "mount as root, or as its owner", "%s is not for us to write, so fusermount3 does not mount there", name)}
	}
	return []Finding{ok(check, "%s can be mounted over", name), checkUnmounted(name, b)}
}

func checkUnmounted(name string, b bare) Finding {
	const check = "mount"
	switch {
	case b.at != "":
		return warn(check, "have everybody use "+cli.Printable(b.at), "%s is the real directory of the mount %s: whoever uses it goes past that", name, cli.Printable(b.at))
	case !b.taken:
		return warn(check, "sessionlockfs mount "+name, "nothing is mounted over %s: no lock in it is arbitrated", name)
	}
	who := "another process, maybe of a container"
	if b.other != "" {
		who = cli.PrintableText(b.other)
	}
	return fail(check, "unmount what it serves, or end the containers that still have its mount; then sessionlockfs mount "+name,
		"%s has an arbiter, and no mount here shows it: %s", name, who)
}

const (
	searchWithin = 5 * time.Second
	searchPause  = 256 // entries between two looks at the clock
)

// leftovers counts what has a lock's name: a mount is going to judge it.
func leftovers(dir string) Finding {
	const check = "locks"
	c, err := config.Load(config.Flags{})
	if err != nil {
		return warn(check, "sessionlockfs config check", "%s", cli.PrintableText(err.Error()))
	}
	found, all := search(dir, c.Policy.IsLock, time.Now().Add(searchWithin))
	switch {
	case !all:
		return ok(check, "%d entries at least have names of locks, and are judged at the mount (not everything was looked at)", found)
	case found == 0:
		return ok(check, "nothing has a lock's name")
	}
	return ok(check, "%d entries have names of locks, and are judged at the mount", found)
}

// search counts entries by their names on the directory's file system, until a moment. All is false if there may be more.
func search(dir string, is func(name string) bool, until time.Time) (found int, all bool) {
	all = true
	seen, device := 0, deviceOf(dir)
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if seen++; seen%searchPause == 0 && time.Now().After(until) {
			all = false
			return fs.SkipAll
		}
		if err != nil {
			all = false
			return nil
		}
		if d.IsDir() && deviceOf(path) != device {
			return fs.SkipDir
		}
		if path != dir && is(d.Name()) {
			found++
		}
		return nil
	})
	return found, all
}

func deviceOf(path string) string {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return ""
	}
	return fmt.Sprint(st.Dev)
}
