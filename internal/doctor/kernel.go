package doctor

import (
	"fmt"
	"strings"

	"sessionlockfs/internal/cli"
	"sessionlockfs/reclaim"
)

// version is that of a kernel.
type version struct{ major, minor int }

// parseVersion reads what uname(2) calls the release: "6.9.3-2-generic" is 6.9.
func parseVersion(release string) (v version) {
	_, _ = fmt.Sscanf(release, "%d.%d", &v.major, &v.minor)
	return v
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v version) before(major, minor int) bool {
	return v.major < major || v.major == major && v.minor < minor
}

const newer = "run Linux 6.9 or newer"

func checkKernel(release string) Finding {
	switch v := parseVersion(release); {
	case v == version{}:
		return warn("kernel", "nothing, if mounts work", "the kernel does not say which version it is")
	case v.before(5, 4):
		return fail("kernel", newer, "Linux %s is too old: 5.4 at least is needed", v)
	case v.before(6, 9):
		return warn("kernel", newer, "Linux %s works; this is made for 6.9 and newer", v)
	}
	return ok("kernel", "Linux %s", cli.Printable(release))
}

// checkProcesses goes by what was tried, since distributions port back and containers forbid.
func checkProcesses(f reclaim.Features) Finding {
	const check = "processes"
	switch {
	case !f.PidfdOpen:
		return warn(check, newer+"; in a container, allow pidfd_open", "no pidfds: processes are told apart, and their deaths learnt, by /proc")
	case !f.Pidfs:
		return warn(check, newer, "no pidfs: processes are told apart by PID and start time")
	case !f.PidfdThread:
		return warn(check, newer, "no PIDFD_THREAD: which process a caller belongs to is read from /proc, at every request")
	}
	return ok(check, "pidfs and PIDFD_THREAD: every process has an identity of its own")
}

// checkPassthrough goes by the kernel's version and configuration: it can be tried on a mount only.
func checkPassthrough(v version, config string, root bool) Finding {
	const check = "passthrough"
	switch {
	case v.before(6, 9):
		return warn(check, newer, "Linux %s can't read and write files by itself: each read and write is asked of the mount", v)
	case config != "" && !strings.Contains("\n"+config, "\nCONFIG_FUSE_PASSTHROUGH=y\n"):
		return warn(check, "run a kernel that was built with CONFIG_FUSE_PASSTHROUGH", "this kernel was built without: each read and write is asked of the mount")
	case !root:
		return ok(check, "for root's mounts alone: of yours each read and write is asked")
	}
	return ok(check, "the kernel reads and writes files by itself")
}

func checkResend(v version) Finding {
	if v.before(6, 9) {
		return warn("takeover", newer, "Linux %s can't send requests again: if a server dies, what is under way fails with ECONNABORTED", v)
	}
	return ok("takeover", "if a server dies, what is under way is sent to the next one")
}
