package integration

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// contentCalls read and change what files hold.
func contentCalls() []kind {
	return []kind{
		{"read", 3, aSlot, callRead},
		{"pread", 5, aSlot, callPread},
		{"write", 6, aSlot, callWrite},
		{"pwrite", 6, aSlot, callPwrite},
		{"append", 2, aSlot, callAppend},
		{"lseek", 2, nothing, callSeek},
		{"map", 4, aSlot, callMap},
		{"ftruncate", 4, aSlot, func(o operation) call {
			return plain(fmt.Sprintf("fd%d, %d", o.slot, o.offset), func(c *caller) error {
				return unix.Ftruncate(c.fd(o.slot), o.offset)
			})
		}},
		{"truncate", 5, onePath, func(o operation) call {
			return plain(fmt.Sprintf("%q, %d", o.path, o.offset), func(*caller) error { return unix.Truncate(o.path, o.offset) })
		}},
		{"fallocate", 7, aSlot, callFallocate},
		{"copy", 4, aSlot, callCopyRange},
		{"sendfile", 2, aSlot, callSendfile},
		{"fsync", 1, nothing, func(o operation) call {
			return plain(fmt.Sprintf("fd%d", o.slot), func(c *caller) error { return unix.Fsync(c.fd(o.slot)) })
		}},
	}
}

// room is where data comes from and goes to: at the start of a page, as direct I/O wants it.
func (o operation) room() []byte {
	const page = 4096
	space := make([]byte, o.length+page)
	past := int(uintptr(unsafe.Pointer(&space[0])) % page)
	return space[page-past:][:o.length]
}

func (o operation) data() []byte {
	data := o.room()
	for i := range data {
		data[i] = 'a' + o.fill%26
	}
	return data
}

func callRead(o operation) call {
	return call{fmt.Sprintf("fd%d, %d", o.slot, o.length), func(c *caller) (string, error) {
		buf := o.room()
		n, err := unix.Read(c.fd(o.slot), buf)
		return brief(buf[:max(n, 0)]), err
	}}
}

func callPread(o operation) call {
	return call{fmt.Sprintf("fd%d, %d, %d", o.slot, o.length, o.offset), func(c *caller) (string, error) {
		buf := o.room()
		n, err := unix.Pread(c.fd(o.slot), buf, o.offset)
		return brief(buf[:max(n, 0)]), err
	}}
}

// failedDirect marks the errors of direct writes. They leave room behind that is allocated, as fallocate does.
const failedDirect = " direct"

// directError is what a direct write failed with.
type directError struct{ unix.Errno }

func (c *caller) marked(slot int, err error) error {
	if errno, failed := err.(unix.Errno); failed && c.isDirect(slot) {
		return directError{errno}
	}
	return err
}

func (c *caller) isDirect(slot int) bool {
	flags, err := unix.FcntlInt(uintptr(c.fd(slot)), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_DIRECT != 0
}

func callWrite(o operation) call {
	return call{fmt.Sprintf("fd%d, %d", o.slot, o.length), func(c *caller) (string, error) {
		n, err := unix.Write(c.fd(o.slot), o.data())
		return fmt.Sprint(n), c.marked(o.slot, err)
	}}
}

func callPwrite(o operation) call {
	return call{fmt.Sprintf("fd%d, %d, %d", o.slot, o.length, o.offset), func(c *caller) (string, error) {
		n, err := unix.Pwrite(c.fd(o.slot), o.data(), o.offset)
		return fmt.Sprint(n), c.marked(o.slot, err)
	}}
}

func callAppend(o operation) call {
	return call{fmt.Sprintf("fd%d, %d", o.slot, o.length), func(c *caller) (string, error) {
		n, err := unix.Pwritev2(c.fd(o.slot), [][]byte{o.data()}, 0, unix.RWF_APPEND)
		return fmt.Sprint(n), c.marked(o.slot, err)
	}}
}

func (o operation) whence() int {
	return one(o.pick, unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE, unix.SEEK_HOLE)
}

func (o operation) searchesData() bool {
	return o.kind.name == "lseek" && (o.whence() == unix.SEEK_DATA || o.whence() == unix.SEEK_HOLE)
}

func callSeek(o operation) call {
	whence := o.whence()
	return call{fmt.Sprintf("fd%d, %d, %d", o.slot, o.offset, whence), func(c *caller) (string, error) {
		if isDirectory(c.fd(o.slot)) && whence != unix.SEEK_SET {
			return "", nil // where a directory ends is for each file system to say
		}
		if o.searchesData() || o.offset == beyondExt4 {
			defer c.stay(o.slot)()
		}
		n, err := unix.Seek(c.fd(o.slot), o.offset, whence)
		return fmt.Sprint(n), err
	}}
}

// stay gives a function that takes a descriptor back to where it is now: what came of a search for data may not have
// consequences, since the sides need not agree on it (see allocates), nor on how far a file may reach.
func (c *caller) stay(slot int) func() {
	at, _ := unix.Seek(c.fd(slot), 0, unix.SEEK_CUR)
	return func() { unix.Seek(c.fd(slot), at, unix.SEEK_SET) }
}

// callMap writes through a mapping, up to the end of the file: what is past it is a SIGBUS and no errno.
func callMap(o operation) call {
	return call{fmt.Sprintf("fd%d, %d, %d", o.slot, o.length, o.offset), func(c *caller) (string, error) {
		var st unix.Stat_t
		if err := unix.Fstat(c.fd(o.slot), &st); err != nil {
			return "", err
		}
		start := max(o.offset, 0)
		end := min(st.Size, start+int64(o.length), 1<<21)
		if end <= start {
			return "beyond", nil
		}
		pages, err := unix.Mmap(c.fd(o.slot), 0, int(end), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return "", err
		}
		defer unix.Munmap(pages)
		before := brief(pages[start:end])
		copy(pages[start:], o.data())
		return before, unix.Msync(pages, unix.MS_SYNC)
	}}
}

func callFallocate(o operation) call {
	mode := o.fallocateMode()
	return call{fmt.Sprintf("fd%d, %#x, %d, %d", o.slot, mode, o.offset, o.length), func(c *caller) (string, error) {
		if err := unix.Fallocate(c.fd(o.slot), mode, o.offset, int64(o.length)); err != nil {
			return "", err
		}
		if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
			return fmt.Sprintf("punched %t", c.isHole(o)), nil
		}
		var st unix.Stat_t
		err := unix.Fstat(c.fd(o.slot), &st)
		return fmt.Sprintf("enough %t", st.Blocks*512 >= int64(o.length)), err
	}}
}

// isHole says whether the whole blocks in the operation's range have no data.
func (c *caller) isHole(o operation) bool {
	const block = 4096
	defer c.stay(o.slot)()
	start, end := (o.offset+block-1)/block*block, (o.offset+int64(o.length))/block*block
	data, err := unix.Seek(c.fd(o.slot), start, unix.SEEK_DATA)
	return end <= start || err == unix.ENXIO || err == nil && data >= end
}

// allocates says whether the operation may leave blocks that are allocated and not written. Whether those are data or a
// hole depends on what of them is in the page cache of ext4 (mapping_seek_hole_data), and so on how far was read ahead.
// A write to a mapped page of a hole allocates as much as the folio in the cache has (ext4_page_mkwrite).
func (o operation) allocates() bool {
	return o.kind.name == "map" || o.kind.name == "fallocate" && o.fallocateMode()&unix.FALLOC_FL_PUNCH_HOLE == 0
}

func (o operation) fallocateMode() uint32 {
	const keep = unix.FALLOC_FL_KEEP_SIZE
	return one(o.pick, uint32(0), 0, keep, unix.FALLOC_FL_PUNCH_HOLE|keep, unix.FALLOC_FL_PUNCH_HOLE|keep,
		unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE|keep, unix.FALLOC_FL_COLLAPSE_RANGE,
		unix.FALLOC_FL_INSERT_RANGE, unix.FALLOC_FL_UNSHARE_RANGE, unix.FALLOC_FL_PUNCH_HOLE|keep)
}

func callCopyRange(o operation) call {
	text := fmt.Sprintf("fd%d %d, fd%d %d, %d", o.slot2, o.offset2, o.slot, o.offset, o.length)
	return call{text, func(c *caller) (string, error) {
		from, to := o.offset2, o.offset
		n, err := unix.CopyFileRange(c.fd(o.slot2), &from, c.fd(o.slot), &to, o.length, 0)
		return fmt.Sprint(n), err
	}}
}

func callSendfile(o operation) call {
	return call{fmt.Sprintf("fd%d %d, fd%d, %d", o.slot2, o.offset2, o.slot, o.length), func(c *caller) (string, error) {
		from := o.offset2
		n, err := unix.Sendfile(c.fd(o.slot), c.fd(o.slot2), &from, o.length)
		return fmt.Sprint(n), err
	}}
}

func isDirectory(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
