package integration

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// kind is a system call that programs are made of.
type kind struct {
	name    string
	weight  int // how often it is drawn, in relation to the others
	touches touches
	call    func(operation) call
}

// touches says what of an operation's arguments is watched.
type touches int

const (
	nothing touches = iota
	aSlot
	onePath
	twoPaths
)

// call is an operation ready to be made. do says what came of it, beside the error.
type call struct {
	arguments string
	do        func(*caller) (string, error)
}

// kinds is the table of all calls, each as often as its weight.
func kinds() []*kind {
	var table []*kind
	for _, group := range [][]kind{openingCalls(), contentCalls(), nameCalls(), attributeCalls(), xattrCalls()} {
		for _, k := range group {
			for range k.weight {
				table = append(table, &k)
			}
		}
	}
	return table
}

// plain is a call that says nothing but its error.
func plain(arguments string, do func(*caller) error) call {
	return call{arguments, func(c *caller) (string, error) { return "", do(c) }}
}

func openingCalls() []kind {
	return []kind{
		{"open", 20, onePath, callOpen},
		{"close", 2, nothing, func(o operation) call {
			return plain(fmt.Sprintf("fd%d", o.slot), func(c *caller) error { return c.close(o.slot) })
		}},
		{"dup", 1, nothing, callDup},
		{"getfl", 1, nothing, callGetFlags},
		{"setfl", 2, nothing, callSetFlags},
		{"flock", 2, nothing, callFlock},
		{"ofdlock", 2, nothing, callOFDLock},
		{"chdir", 1, nothing, func(o operation) call {
			return plain(fmt.Sprintf("%q", o.path), func(*caller) error { return unix.Chdir(o.path) })
		}},
		{"fchdir", 1, nothing, func(o operation) call {
			return plain(fmt.Sprintf("fd%d", o.slot), func(c *caller) error { return unix.Fchdir(c.fd(o.slot)) })
		}},
		{"getcwd", 1, nothing, func(operation) call { return call{"", getcwd} }},
	}
}

func callOpen(o operation) call {
	flags := openFlags(o.flags)
	return call{fmt.Sprintf("fd%d, %q, %s, %04o", o.slot, o.path, openFlagsText(flags), o.mode), func(c *caller) (string, error) {
		fd, err := unix.Openat(c.dir(o), o.path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, o.mode)
		if err != nil {
			return "", err
		}
		c.keep(o.slot, fd)
		return fstatText(fd)
	}}
}

// openFlags makes the usual combinations usual.
func openFlags(bits uint16) int {
	flags := one(byte(bits&3), unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR)
	for _, f := range []struct{ flag, shift, mask, value int }{
		{unix.O_EXCL, 3, 3, 3}, {unix.O_TRUNC, 5, 3, 3},
		{unix.O_APPEND, 7, 3, 3}, {unix.O_NOFOLLOW, 9, 3, 3},
	} {
		if int(bits)>>f.shift&f.mask == f.value {
			flags |= f.flag
		}
	}
	if bits>>2&0x201 != 0 {
		flags |= unix.O_CREAT
	}
	switch bits >> 11 {
	case 0, 1:
		flags |= unix.O_DIRECTORY
	case 2, 3:
		flags = flags&^unix.O_CREAT | unix.O_PATH
	case 4, 5, 6:
		flags = flags&^unix.O_CREAT | unix.O_TMPFILE
	case 7:
		flags |= unix.O_NOATIME
	case 8:
		flags |= unix.O_SYNC
	case 9:
		flags |= unix.O_ACCMODE // neither for reading nor for writing
	case 13:
		flags |= unix.O_DIRECT
	case 10, 11, 12:
		flags = flags&^(unix.O_CREAT|unix.O_ACCMODE|unix.O_TRUNC) | unix.O_DIRECTORY
	}
	return flags
}

func openFlagsText(flags int) string {
	names := []string{one(byte(flags&unix.O_ACCMODE), "RDONLY", "WRONLY", "RDWR", "ACCMODE")}
	for _, f := range []struct {
		flag int
		name string
	}{
		{unix.O_CREAT, "CREAT"}, {unix.O_EXCL, "EXCL"}, {unix.O_TRUNC, "TRUNC"}, {unix.O_APPEND, "APPEND"},
		{unix.O_NOFOLLOW, "NOFOLLOW"}, {unix.O_TMPFILE, "TMPFILE"}, {unix.O_DIRECTORY, "DIRECTORY"}, {unix.O_PATH, "PATH"},
		{unix.O_NOATIME, "NOATIME"}, {unix.O_SYNC, "SYNC"}, {unix.O_DIRECT, "DIRECT"},
	} {
		if flags&f.flag == f.flag {
			names = append(names, f.name)
			flags &^= f.flag
		}
	}
	return strings.Join(names, "|")
}

func callDup(o operation) call {
	return plain(fmt.Sprintf("fd%d = fd%d", o.slot, o.slot2), func(c *caller) error {
		fd, err := unix.Dup(c.fd(o.slot2))
		if err == nil {
			c.keep(o.slot, fd)
		}
		return err
	})
}

func callGetFlags(o operation) call {
	return call{fmt.Sprintf("fd%d", o.slot), func(c *caller) (string, error) {
		flags, err := unix.FcntlInt(uintptr(c.fd(o.slot)), unix.F_GETFL, 0)
		return fmt.Sprintf("%#x", flags), err
	}}
}

// statusFlags are what setfl sets.
func (o operation) statusFlags() int { return one(o.pick, 0, unix.O_APPEND, unix.O_NOATIME) }

func callSetFlags(o operation) call {
	flags := o.statusFlags()
	return plain(fmt.Sprintf("fd%d, %s", o.slot, openFlagsText(flags)), func(c *caller) error {
		_, err := unix.FcntlInt(uintptr(c.fd(o.slot)), unix.F_SETFL, flags|unix.O_NONBLOCK)
		return err
	})
}

func callFlock(o operation) call {
	how := one(o.pick, unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN, unix.LOCK_EX)
	return plain(fmt.Sprintf("fd%d, %d", o.slot, how), func(c *caller) error {
		return unix.Flock(c.fd(o.slot), how|unix.LOCK_NB)
	})
}

// callOFDLock locks a range for the open file itself: all callers of one side are threads of one process.
func callOFDLock(o operation) call {
	kind := one(o.pick, int16(unix.F_RDLCK), unix.F_WRLCK, unix.F_UNLCK)
	return plain(fmt.Sprintf("fd%d, %d, %d, %d", o.slot, kind, o.offset, o.length), func(c *caller) error {
		lock := unix.Flock_t{Type: kind, Start: o.offset, Len: int64(o.length)}
		return unix.FcntlFlock(uintptr(c.fd(o.slot)), unix.F_OFD_SETLK, &lock)
	})
}

func getcwd(*caller) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	return fmt.Sprintf("%q", strings.TrimRight(string(buf[:max(n, 0)]), "\x00")), err
}
