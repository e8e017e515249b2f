package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An ordinary user mounts with fusermount3 and is then the only one to see the mount.
func TestUnprivileged(t *testing.T) {
	scenario{0, "mounted by an ordinary user"}.once(t, func(r *run) {
		needRoot(r) // to become one
		need(r, "fusermount3")
		if !openToEverybody(r, "/dev/fuse") {
			runWithOpenFuseDevice(r)
			return
		}
		m := newMount(r, asUser(nobody))
		path := m.path(sessionLock)
		holder := startHelper(r, nobody, "hold", path)
		holder.line(r)
		m.mustBeHeldBy(r, sessionLock, holder.cmd.Process.Pid)
		before := m.stateBelow(r, sessionLock)
		if errno := removeAs(r, nobody, path); errno != syscall.EBUSY {
			r.Errorf("removal by another process of the user: %v, want EBUSY", errno)
		}
		m.mustBeUnchanged(r, sessionLock, before, "the removal")

		contender := startHelper(r, nobody, "try", path)
		contender.line(r)
		m.waitContender(r, sessionLock, contender.cmd.Process.Pid)
		killed := time.Now()
		holder.kill()
		took := wonAfter(r, contender.line(r), killed)
		if took < 0 {
			r.Errorf("the contender won %v after the holder's death", took)
		}
		m.mustBeHeldBy(r, sessionLock, contender.cmd.Process.Pid)
		r.note("%v", took.Round(10*time.Microsecond))
	})
}

func openToEverybody(t testing.TB, device string) bool {
	t.Helper()
	info, err := os.Stat(device)
	if err != nil {
		skip(t, err.Error())
	}
	return info.Mode().Perm()&0o006 == 0o006
}

// runWithOpenFuseDevice runs the test once more in a mount namespace where /dev/fuse has the mode that distributions
// give it. The device of the machine stays as it is: minimal systems without udev have it for root only.
func runWithOpenFuseDevice(r *run) {
	r.Helper()
	if os.Getenv(openFuseEnv) != "" {
		r.Fatal("/dev/fuse is not open to ordinary users, not even a private one")
	}
	private := filepath.Join(suite.dir, "dev")
	if err := os.Mkdir(private, 0o755); err != nil {
		r.Fatal(err)
	}
	script := `mount -t tmpfs none "$1" && mknod -m 666 "$1/fuse" c 10 229 && mount --bind "$1/fuse" /dev/fuse && shift && exec "$@"`
	cmd := command(r, need(r, "unshare"), "--mount", "--propagation", "private", "sh", "-c", script, "sh", private,
		suite.helper, "-test.run", "^TestUnprivileged$", "-test.v", "-test.timeout", "100s")
	cmd.Env = append(os.Environ(), openFuseEnv+"=1", "SESSIONLOCKFS_BINARY="+suite.binary)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Errorf("with a private /dev/fuse: %v\n%s", err, out)
	}
	r.note("with a private /dev/fuse")
}

const openFuseEnv = "SESSIONLOCKFS_TEST_OPEN_FUSE"

// wonAfter reads the line that a "try" helper prints.
func wonAfter(t testing.TB, line string, moment time.Time) time.Duration {
	t.Helper()
	ns, err := strconv.ParseInt(strings.TrimPrefix(line, "won "), 10, 64)
	if err != nil {
		t.Fatalf("contender says %q", line)
	}
	return time.Unix(0, ns).Sub(moment)
}
