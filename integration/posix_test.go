package integration

import (
	"os"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// posixExceptions fail on a plain directory too: the first always, the second by chance.
var posixExceptions = map[string]string{
	"FcntlFlockLocksFile": "expects a POSIX lock to conflict with its own process's",
	"OpenSymlinkRace":     "races an open against a symlink, which a plain directory loses now and then",
}

func TestPosix(t *testing.T) {
	m := newMount(t)
	var names []string
	for name := range posixtest.All {
		if posixExceptions[name] == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			scenario{0, "posixtest " + name}.quietly(t, func(r *run) {
				dir := m.path(name)
				if err := os.Mkdir(dir, 0o755); err != nil {
					r.Fatal(err)
				}
				posixtest.All[name](r.T, dir)
			})
		})
	}
}
