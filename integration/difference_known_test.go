package integration

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fuseDifference is something that FUSE itself does otherwise, whatever the file system behind it does.
type fuseDifference struct {
	call   string
	when   func(*caller, operation) bool // looks at the bare side, before the call
	reason string                        // the kernel's function

	// answer is what the mount must answer, and nothing else. The bare side is not asked: it takes this for its own
	// answer, so that the trees stay the same.
	answer string
	// instead is for a call that leaves nothing behind by which the sides could differ later: whether the mount may say
	// one thing where the bare side says another.
	instead func(bare, mount string) bool
	// skipped is for a call that leaves something behind: nobody makes it.
	skipped bool
	// byKernel is what differs only where the kernel reads and writes files itself.
	byKernel bool
	// before is made on both sides before the call, where the kernel may go by what it knows and does not ask.
	before func(*caller, operation)
}

func fuseDifferences() []fuseDifference {
	const sameForWrites = "fuse_setattr() takes away what says that set-id bits must go, which setattr_prepare() would refuse " +
		"a stranger: what is left is the request that comes before every write to such a file (file_remove_privs)"
	const truncatesAfter = "fuse_direct_IO() truncates a file to the size it has, when a write past that has failed"
	const goesByMode = "may_linkat() goes by the mode that was known before somebody's write took set-id bits away: " +
		"fuse_perform_write() has only what a write changes asked for again"
	pipeTimes := strings.NewReplacer("mtime+ ctime+", "mtime= ctime=", "mtime- ctime+", "mtime= ctime=")
	return []fuseDifference{
		{call: "chown", when: writtenByKernel, skipped: true, byKernel: true, reason: sameForWrites},
		{call: "fchown", when: writtenByKernel, skipped: true, byKernel: true, reason: sameForWrites},
		{call: "chown", when: strangerTakesSetID, reason: sameForWrites, answer: "ok "},
		{call: "fchown", when: strangerTakesSetID, reason: sameForWrites, answer: "ok "},
		{
			call:   "fallocate",
			when:   reachesWith(unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE, unix.FALLOC_FL_UNSHARE_RANGE),
			reason: "fuse_file_fallocate() has no other modes than to keep the size, to punch and to zero",
			answer: "ENOTSUP",
		},
		{
			call: "statx", when: func(_ *caller, o operation) bool { return o.statxFlags()&unix.AT_STATX_DONT_SYNC != 0 },
			reason: "fuse_update_get_attr() does not ask, if it may answer with what it has: without the time of birth, with " +
				"counts from before fuse_rename_common() and with a mode from before fuse_set_acl()",
			instead: func(bare, mount string) bool { return typeAndOwner(bare) == typeAndOwner(mount) },
		},
		{
			call: "lseek", when: func(_ *caller, o operation) bool { return o.offset == beyondExt4 && o.whence() <= unix.SEEK_END },
			reason:  "generic_file_llseek() goes by s_maxbytes, which fuse_fill_super_common() makes MAX_LFS_FILESIZE",
			instead: func(bare, mount string) bool { return bare == "EINVAL" && strings.HasPrefix(mount, "ok 351843") },
		},
		{
			call: "copy", when: ownerReachesTooFar, skipped: true,
			reason: "__fuse_copy_file_range() takes set-id bits away (file_modified) before it asks whether there is room",
		},
		{
			call: "pwrite", when: ownerReachesTooFar, skipped: true,
			reason: "fuse_cache_write_iter() takes set-id bits away (file_remove_privs) before it asks whether there is room",
		},
		{
			call: "fallocate", when: ownerAllocatesTooFar, skipped: true,
			reason: "fuse_file_fallocate() takes set-id bits away (file_modified) before it asks whether there is room",
		},
		{
			call: "copy", when: copiesDirectly, skipped: true,
			reason: "__fuse_copy_file_range() does not say that a descriptor is for direct I/O, so nothing has to be aligned",
		},
		{
			call: "sendfile", when: sendsUnaligned, skipped: true,
			reason: "fuse_direct_IO() sends what is in the caller's memory, and not where: pages are spliced as they lie",
		},
		{call: "write", when: failingMakesOld, reason: truncatesAfter, skipped: true},
		{call: "pwrite", when: failingMakesOld, reason: truncatesAfter, skipped: true},
		{call: "append", when: failingMakesOld, reason: truncatesAfter, skipped: true},
		{call: "write", when: always, reason: truncatesAfter, instead: failedDirectly},
		{call: "pwrite", when: always, reason: truncatesAfter, instead: failedDirectly},
		{call: "append", when: always, reason: truncatesAfter, instead: failedDirectly},
		{
			call: "copy", when: func(_ *caller, o operation) bool { return o.offset == beyondExt4 },
			reason:  "generic_write_check_limits() goes by s_maxbytes; that there is nothing to copy is seen after that",
			instead: func(bare, mount string) bool { return strings.Replace(bare, "EFBIG", "ok 0", 1) == mount },
		},
		{
			call: "sendfile", when: func(_ *caller, o operation) bool { return o.offset2 == beyondExt4 },
			reason: "do_sendfile() goes by s_maxbytes",
			instead: func(bare, mount string) bool {
				// The next thing that is looked at may be whether the target appends.
				return strings.Replace(bare, "EOVERFLOW", "ok 0", 1) == mount || strings.Replace(bare, "EOVERFLOW", "EINVAL", 1) == mount
			},
		},
		{
			call: "write", when: always, reason: "pipe_write() updates no times where fuse_init_inode() has set S_NOCMTIME",
			instead: func(bare, mount string) bool {
				return strings.Contains(bare, " | 01") && pipeTimes.Replace(bare) == mount
			},
		},
		{
			call: "setfl", when: takesOpenFlags, skipped: true, byKernel: true,
			reason: "fuse_passthrough_open() opens the real file with the flags of that moment",
		},
		{call: "link", when: always, reason: goesByMode, before: lookAtSource},
		{call: "linkfd", when: always, reason: goesByMode, before: lookAtSource},
	}
}

func always(*caller, operation) bool { return true }

// failedDirectly lets the times move with a direct write that fails.
func failedDirectly(bare, mount string) bool {
	return strings.Contains(bare, failedDirect) && strings.Replace(bare, "mtime= ctime=", "mtime+ ctime+", 1) == mount
}

// failingMakesOld tells the direct writes that, if they fail, change something that can be seen later: a time that no clock
// gave, or set-id bits.
func failingMakesOld(c *caller, o operation) bool {
	var st unix.Stat_t
	return c != nil && c.isDirect(o.slot) && unix.Fstat(c.fd(o.slot), &st) == nil &&
		(timeText(st.Mtim) != "now" || st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0)
}

// lookAtSource asks for the attributes of what gets a name, as ln(1) does.
func lookAtSource(c *caller, o operation) {
	var st unix.Stat_t
	if o.kind.name == "linkfd" {
		unix.Fstat(c.fd(o.slot), &st)
		return
	}
	unix.Fstatat(c.dir(o), o.path, &st, unix.AT_SYMLINK_NOFOLLOW)
}

// copiesDirectly tells copies of which one side at least is open for direct I/O.
func copiesDirectly(c *caller, o operation) bool {
	return c != nil && (c.isDirect(o.slot) || c.isDirect(o.slot2))
}

// sendsUnaligned tells what goes from the middle of a page to a file that is open for direct I/O.
func sendsUnaligned(c *caller, o operation) bool {
	const sector = 512
	return c != nil && c.isDirect(o.slot) && o.offset2%sector != 0
}

// takesOpenFlags tells a change of a descriptor's flags that takes one of those away that writes go by.
func takesOpenFlags(c *caller, o operation) bool {
	flags, err := unix.FcntlInt(uintptr(c.fd(o.slot)), unix.F_GETFL, 0)
	return err == nil && flags&^o.statusFlags()&(unix.O_APPEND|unix.O_DIRECT) != 0
}

// typeAndOwner are the first words of what a statx answers, without the permissions.
func typeAndOwner(answer string) string {
	mode, rest, _ := strings.Cut(strings.TrimPrefix(answer, "ok "), " ")
	owner, _, _ := strings.Cut(rest, " nlink")
	return mode[:min(len(mode), 2)] + " " + owner
}

// reachesWith tells the fallocates of these modes that vfs_fallocate() lets through to the file system.
func reachesWith(modes ...uint32) func(*caller, operation) bool {
	return func(c *caller, o operation) bool {
		var st unix.Stat_t
		flags, err := unix.FcntlInt(uintptr(c.fd(o.slot)), unix.F_GETFL, 0)
		if err != nil || unix.Fstat(c.fd(o.slot), &st) != nil {
			return false
		}
		writable := flags&unix.O_PATH == 0 && (flags&unix.O_ACCMODE == unix.O_WRONLY || flags&unix.O_ACCMODE == unix.O_RDWR)
		return slices.Contains(modes, o.fallocateMode()) && o.offset >= 0 && o.length > 0 && writable &&
			st.Mode&unix.S_IFMT == unix.S_IFREG
	}
}

// ownerReachesTooFar tells a change past what a file can have, of a file with set-id bits: its owner loses them in the
// request that comes first, which is that of a chown to nobody (see strangerTakesSetID).
func ownerReachesTooFar(c *caller, o operation) bool {
	var st unix.Stat_t
	return c != nil && o.offset == beyondExt4 && unix.Fstat(c.fd(o.slot), &st) == nil && int(st.Uid) == c.user.uid &&
		st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0
}

// ownerAllocatesTooFar leaves out the modes that are refused before that.
func ownerAllocatesTooFar(c *caller, o operation) bool {
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	return o.fallocateMode()&^known == 0 && ownerReachesTooFar(c, o)
}

// strangerTakesSetID tells a change of the owner to the same, by somebody else, of a file that would lose set-id bits by it.
func strangerTakesSetID(c *caller, o operation) bool {
	if uid, gid := o.newOwner(); uid != -1 || gid != -1 || c.user.uid == 0 {
		return false
	}
	var st unix.Stat_t
	if err := c.statOwned(o, &st); err != nil || int(st.Uid) == c.user.uid || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false
	}
	ours := int(st.Gid) == c.user.gid || slices.Contains(c.user.groups, int(st.Gid))
	return st.Mode&unix.S_ISUID != 0 || st.Mode&unix.S_ISGID != 0 && (st.Mode&unix.S_IXGRP != 0 || !ours) // setattr_should_drop_sgid
}

// writtenByKernel is strangerTakesSetID for a file that is open for writing: where the kernel writes to it, what would be taken by
// a write is taken, also by a chown.
func writtenByKernel(c *caller, o operation) bool {
	var st, open unix.Stat_t
	if !strangerTakesSetID(c, o) || c.statOwned(o, &st) != nil {
		return false
	}
	for _, fd := range c.descriptors {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err == nil && flags&(unix.O_ACCMODE|unix.O_PATH) != 0 && unix.Fstat(fd, &open) == nil && open.Ino == st.Ino {
			return true
		}
	}
	return false
}

// statOwned looks at what a chown or fchown is about.
func (c *caller) statOwned(o operation, st *unix.Stat_t) error {
	if o.kind.name == "chown" {
		return unix.Fstatat(c.dir(o), o.path, st, noFollow(o.fill))
	}
	flags, err := unix.FcntlInt(uintptr(c.fd(o.slot)), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_PATH != 0 {
		return unix.EBADF
	}
	return unix.Fstat(c.fd(o.slot), st)
}

// knownAnswer is what a side says instead of making the call.
func (c *caller) knownAnswer(o operation) (string, bool) {
	for _, known := range fuseDifferences() {
		if known.byKernel && c.how != byKernel {
			continue
		}
		if known.before != nil && known.call == o.kind.name {
			known.before(c, o)
		}
		if known.skipped && known.call == o.kind.name && known.when(c, o) {
			return "skipped", true
		}
		if c.bare && known.answer != "" && known.call == o.kind.name && known.when(c, o) {
			return known.answer, true
		}
	}
	return "", false
}

// mayInstead says whether the mount may answer this where the bare side answered that.
func mayInstead(o operation, mount, bare string) bool {
	for _, known := range fuseDifferences() {
		if known.instead != nil && known.call == o.kind.name && known.when(nil, o) && known.instead(bare, mount) {
			return true
		}
	}
	return false
}
