package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/reclaim"
)

func checkDevice(err error, mode fs.FileMode, root bool) Finding {
	const check = "/dev/fuse"
	var r *mount.Refusal
	switch {
	case errors.As(err, &r) && r.Err != nil:
		return fail(check, r.Advice, "%s: %v", r.What, r.Err)
	case errors.As(err, &r):
		return fail(check, r.Advice, "%s", r.What)
	case err != nil:
		return fail(check, "modprobe fuse", "can't be opened: %v", err)
	case root && mode.Perm()&0o006 != 0o006:
		return ok(check, "can be opened, by root alone (mode %#o): ordinary users can't mount", mode.Perm())
	}
	return ok(check, "can be opened (mode %#o)", mode.Perm())
}

// checkFusermount is about the program through which ordinary users mount.
func checkFusermount(mode fs.FileMode, conf string, root bool) Finding {
	const check = "fusermount3"
	switch {
	case root && mode == 0:
		return ok(check, "is missing, and root needs none: ordinary users can't mount")
	case mode == 0:
		return fail(check, "apt-get install fuse3, or mount as root", "is missing: ordinary users can't mount")
	case !root && mode&fs.ModeSetuid == 0:
		return fail(check, "reinstall fuse3, or mount as root", "is not set-uid root (mode %v): it can't mount", mode)
	case allowsOthers(conf):
		return ok(check, "is there; with -o allow_other a user's mount is for everybody")
	}
	return ok(check, "is there; a user's mount is for that user alone (no user_allow_other in /etc/fuse.conf)")
}

// allowsOthers looks for the line of fuse.conf that fusermount3 looks for.
func allowsOthers(conf string) bool {
	for line := range strings.Lines(conf) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

// checkEvidence is about Yama, which may keep us from reading what a caller is about. The lock of a dead agent can only stay
// as evidence if whoever looks for it can be told from whoever takes it.
func checkEvidence(reads bool, scope string) Finding {
	const check, found = "evidence", "orphans of *.jsonl.lock go at once instead of staying as evidence"
	switch {
	case reads && scope == "":
		return ok(check, "orphans can stay as evidence (no Yama)")
	case reads:
		return ok(check, "orphans can stay as evidence (kernel.yama.ptrace_scope is %s)", scope)
	case scope == "3":
		return warn(check, "start the machine anew with kernel.yama.ptrace_scope below 3 in /etc/sysctl.d", "%s: kernel.yama.ptrace_scope is 3", found)
	case scope != "" && scope != "0":
		return warn(check, "mount as root, or sysctl kernel.yama.ptrace_scope=0", "%s: kernel.yama.ptrace_scope is %s", found, scope)
	}
	return warn(check, "mount as root, on x86-64 or arm64", "%s: /proc/PID/syscall can't be read, or means nothing to us", found)
}

// fewDescriptors is how many a mount may run out of: each open file takes one, in the server and in the holder.
const fewDescriptors = 8192

func checkDescriptors(limit unix.Rlimit, nrOpen uint64, root bool) Finding {
	const check = "descriptors"
	most, how := limit.Max, "ulimit -Hn, LimitNOFILE= of a service"
	if root && nrOpen > most { // a mount raises its own limit
		most, how = nrOpen, "sysctl fs.nr_open"
	}
	if most < fewDescriptors {
		return warn(check, "raise it: "+how, "a mount gets %d: more files than that can't be open in it", most)
	}
	return ok(check, "a mount gets %d", most)
}

func checkNamespace(link string, foreignProc bool) Finding {
	const check = "PID namespace"
	switch {
	case foreignProc:
		return fail(check, "mount a /proc of this namespace over it (unshare --mount-proc)", "/proc belongs to another PID namespace")
	case link == fmt.Sprintf("pid:[%d]", reclaim.InitialPIDNamespace):
		return ok(check, "the initial one: every process can be seen")
	}
	return warn(check, "mount from the host, or in a container with --pid=host", "not the initial one: the locks of processes outside of it are never known to be orphans")
}
