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
}

func fuseDifferences() []fuseDifference {
	const sameForWrites = "fuse_setattr() takes away what says that set-id bits must go, which setattr_prepare() would refuse " +
		"a stranger: what is left is the request that comes before every write to such a file (file_remove_privs)"
	return []fuseDifference{
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
			reason: "fuse_update_get_attr() does not ask, if it may answer with what it has: without the time of birth, and " +
				"with counts that fuse_rename_common() has not brought up to date",
			instead: func(bare, mount string) bool { return modeAndOwner(bare) == modeAndOwner(mount) },
		},
		{
			call: "lseek", when: func(_ *caller, o operation) bool { return o.offset == beyondExt4 && o.whence() <= unix.SEEK_END },
			reason:  "generic_file_llseek() goes by s_maxbytes, which fuse_fill_super_common() makes MAX_LFS_FILESIZE",
			instead: func(bare, mount string) bool { return bare == "EINVAL" && strings.HasPrefix(mount, "ok 351843") },
		},
		{
			call: "copy", when: copiesBeyond, skipped: true,
			reason: "__fuse_copy_file_range() takes set-id bits away (file_modified) before it asks whether there is room",
		},
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
				return strings.Contains(bare, " | 010") && strings.Replace(bare, "mtime+ ctime+", "mtime= ctime=", 1) == mount
			},
		},
		{
			call: "rename", when: func(_ *caller, o operation) bool { return o.renameFlags() == unix.RENAME_WHITEOUT },
			reason: "fuse_rename_common() keeps for its time what it knows of the directories, if the server says no; " +
				"ext4_rename() has made the whiteout by then and takes it back",
			instead: func(bare, mount string) bool {
				return strings.HasPrefix(bare, "ENOTEMPTY") && strings.ReplaceAll(bare, "mtime+ ctime+", "mtime= ctime=") == mount
			},
		},
	}
}

func always(*caller, operation) bool { return true }

// modeAndOwner are the first words of what a statx answers.
func modeAndOwner(answer string) string {
	words, _, _ := strings.Cut(answer, " nlink")
	return words
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

// copiesBeyond tells a copy to where a file can't reach, of a file that would lose set-id bits by one that can be done.
func copiesBeyond(c *caller, o operation) bool {
	var st unix.Stat_t
	return c != nil && o.offset == beyondExt4 && unix.Fstat(c.fd(o.slot), &st) == nil && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0
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

// knownAnswer is what the bare side says instead of making the call.
func (c *caller) knownAnswer(o operation) (string, bool) {
	for _, known := range fuseDifferences() {
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
