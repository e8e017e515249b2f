package integration

import (
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// posixExceptions fail on a plain directory too, which TestOwnPOSIXLock shows.
var posixExceptions = map[string]string{
	"FcntlFlockLocksFile": "expects a POSIX lock to conflict with its own process's",
}

// A POSIX lock never conflicts with one of the same process: on the mount as underneath.
func TestOwnPOSIXLock(t *testing.T) {
	m := newMount(t)
	for what, path := range map[string]string{"mount": m.path("file"), "underneath": m.pathBelow("file")} {
		for _, kind := range []int16{syscall.F_WRLCK, syscall.F_RDLCK} {
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			lock := syscall.Flock_t{Type: kind}
			if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// onTmpfs need more than ext4 has: attributes of more than a block.
var onTmpfs = map[string]bool{"XAttrLarge": true}

func TestPosix(t *testing.T) {
	disk := newMount(t)
	memory := newMount(t, withContent(func(dir string) {
		mustRun(t, "mount", "-t", "tmpfs", "-o", "mode=777", "none", dir)
		t.Cleanup(func() { mustRun(t, "umount", "-l", dir) })
	}))
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if posixExceptions[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			scenario{0, "posixtest " + name}.quietly(t, func(r *run) {
				m := disk
				if onTmpfs[name] {
					m = memory
				}
				dir := m.path(name)
				if err := os.Mkdir(dir, 0o755); err != nil {
					r.Fatal(err)
				}
				defer func() {
					if r.Skipped() && os.Getenv("CI") != "" {
						r.Errorf("may not be skipped in CI")
					}
				}()
				posixtest.All[name](r.T, dir)
			})
		})
	}
}
