package integration

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// attributeCalls read and change what an inode says of itself.
func attributeCalls() []kind {
	return []kind{
		{"chmod", 8, onePath, callChmod},
		{"fchmod", 3, aSlot, func(o operation) call {
			return plain(fmt.Sprintf("fd%d, %04o", o.slot, o.mode), func(c *caller) error {
				return unix.Fchmod(c.fd(o.slot), o.mode)
			})
		}},
		{"chown", 7, onePath, callChown},
		{"fchown", 3, aSlot, callFchown},
		{"utimens", 5, onePath, callUtimens},
		{"futimens", 2, aSlot, callFutimens},
		{"stat", 5, nothing, callStat},
		{"fstat", 3, nothing, func(o operation) call {
			return call{fmt.Sprintf("fd%d", o.slot), func(c *caller) (string, error) { return fstatText(c.fd(o.slot)) }}
		}},
		{"statx", 4, nothing, callStatx},
		{"access", 5, nothing, callAccess},
	}
}

func noFollow(selector byte) int { return one(selector, 0, 0, unix.AT_SYMLINK_NOFOLLOW) }

func callChmod(o operation) call {
	return plain(fmt.Sprintf("%q, %04o, %#x", o.path, o.mode, noFollow(o.pick)), func(c *caller) error {
		return unix.Fchmodat(c.dir(o), o.path, o.mode, noFollow(o.pick))
	})
}

// newOwner is often what an ordinary user may ask for.
func (o operation) newOwner() (uid, gid int) {
	uid = one(o.pick, -1, -1, -1, 1001, 1002, 0, 1001, 1002)
	gid = one(o.choice, -1, -1, sharedGroup, sharedGroup, 1001, 1002, 0, -1)
	return uid, gid
}

func callChown(o operation) call {
	uid, gid := o.newOwner()
	flags := noFollow(o.fill)
	return plain(fmt.Sprintf("%q, %d, %d, %#x", o.path, uid, gid, flags), func(c *caller) error {
		return unix.Fchownat(c.dir(o), o.path, uid, gid, flags)
	})
}

func callFchown(o operation) call {
	uid, gid := o.newOwner()
	return plain(fmt.Sprintf("fd%d, %d, %d", o.slot, uid, gid), func(c *caller) error {
		return unix.Fchown(c.fd(o.slot), uid, gid)
	})
}

// newTimes are none that a clock of today shows, so that they can be told from it.
func (o operation) newTimes() [2]unix.Timespec {
	pick := func(selector byte) unix.Timespec {
		return one(selector, unix.Timespec{Nsec: unix.UTIME_NOW}, unix.Timespec{Nsec: unix.UTIME_OMIT},
			unix.Timespec{Sec: 0, Nsec: 0}, unix.Timespec{Sec: 1, Nsec: 999999999}, unix.Timespec{Sec: -1, Nsec: 5},
			unix.Timespec{Sec: 1 << 31, Nsec: 1}, unix.Timespec{Sec: 1e9, Nsec: 123456789}, unix.Timespec{Sec: 1 << 40, Nsec: 7},
			unix.Timespec{Sec: 5, Nsec: 1e9}, unix.Timespec{Nsec: unix.UTIME_NOW})
	}
	return [2]unix.Timespec{pick(o.pick), pick(o.choice)}
}

func callUtimens(o operation) call {
	times := o.newTimes()
	flags := noFollow(o.fill)
	return call{fmt.Sprintf("%q, %v, %#x", o.path, times, flags), func(c *caller) (string, error) {
		if err := unix.UtimesNanoAt(c.dir(o), o.path, times[:], flags); err != nil {
			return "", err
		}
		var st unix.Stat_t
		err := unix.Fstatat(c.dir(o), o.path, &st, flags)
		return "atime " + timeText(st.Atim), err
	}}
}

func callFutimens(o operation) call {
	times := o.newTimes()
	return plain(fmt.Sprintf("fd%d, %v", o.slot, times), func(c *caller) error {
		return futimens(c.fd(o.slot), &times)
	})
}

func callStat(o operation) call {
	return call{fmt.Sprintf("%q, %#x", o.path, noFollow(o.pick)), func(c *caller) (string, error) {
		var st unix.Stat_t
		err := unix.Fstatat(c.dir(o), o.path, &st, noFollow(o.pick))
		return statText(&st), err
	}}
}

func (o operation) statxFlags() int {
	return noFollow(o.pick) | one(o.choice, 0, 0, unix.AT_STATX_FORCE_SYNC, unix.AT_STATX_DONT_SYNC)
}

func callStatx(o operation) call {
	flags := o.statxFlags()
	return call{fmt.Sprintf("%q, %#x", o.path, flags), func(c *caller) (string, error) {
		var st unix.Statx_t
		if err := unix.Statx(c.dir(o), o.path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
			return "", err
		}
		return fmt.Sprintf("%06o %d:%d nlink %d size %d birth %s", st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, birthText(&st)), nil
	}}
}

// birthText says whether the time of birth can be true.
func birthText(st *unix.Statx_t) string {
	birth, now := time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)), time.Now()
	switch {
	case st.Mask&unix.STATX_BTIME == 0:
		return "unknown"
	case birth.After(now) || birth.Before(now.Add(-time.Hour)):
		return birth.String()
	}
	return "plausible"
}

func callAccess(o operation) call {
	mode := uint32(o.choice & 7)
	flags := one(o.pick, 0, 0, unix.AT_EACCESS, unix.AT_SYMLINK_NOFOLLOW)
	return plain(fmt.Sprintf("%q, %d, %#x", o.path, mode, flags), func(c *caller) error {
		return unix.Faccessat2(c.dir(o), o.path, mode, flags)
	})
}

func fstatText(fd int) (string, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return statText(&st), err
}

// statText tells what must be the same on both sides. The access time is not: what the kernel has cached is read without
// the real file hearing of it. It is compared where it is set.
func statText(st *unix.Stat_t) string {
	text := fmt.Sprintf("%06o %d:%d nlink %d size %d", st.Mode, st.Uid, st.Gid, st.Nlink, st.Size)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return text // a write changes its time on one side only: see fuseDifferences
	case unix.S_IFCHR, unix.S_IFBLK:
		text += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return text + " mtime " + timeText(st.Mtim)
}

// timeText tells a time exactly unless a clock gave it.
func timeText(t unix.Timespec) string {
	at := time.Unix(t.Unix())
	if since := time.Since(at); since > -time.Hour && since < time.Hour {
		return "now"
	}
	return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
}
