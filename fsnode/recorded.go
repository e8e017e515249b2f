package fsnode

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Recorded is a lock with a record.
type Recorded struct {
	Key   lockmgr.Key
	Inode lockmgr.InodeID
	Kind  lockmgr.Kind
	Data  []byte
}

// VisitRecords finds the locks that have records in the whole tree, for visit to take over; then the files begin to be guarded that they are
// for. Mark names the file of one that has it in a file. While
// visit runs, the inode can't go away.
func (fs *FS) VisitRecords(mark func(lockmgr.Key, lockmgr.InodeID) string, visit func(Recorded)) error {
	files, err := fs.recordFiles()
	if err != nil {
		return err
	}
	v := &recordVisitor{fs: fs, mark: mark, visit: visit, files: files, filing: len(files) > 0}
	err = fs.survey(v.dir)
	if err == nil && !v.skipped {
		fs.dropFiles(files)
	}
	return err
}

// recordVisitor visits the records of a tree. It looks for them in several directories at once, and visits those of one directory after those
// of another. mu guards files and skipped, and is held to visit.
type recordVisitor struct {
	fs    *FS
	mark  func(lockmgr.Key, lockmgr.InodeID) string
	visit func(Recorded)

	filing bool // there are records in files

	mu    sync.Mutex
	files map[string][]byte // records that are in files, and not visited

	skipped bool // an entry could not be looked at
}

func (v *recordVisitor) dir(dir *inode, locks []string, others map[string]bool) {
	found := make([]glimpse, 0, len(locks))
	for _, name := range locks {
		g := glimpse{name: name}
		if g.take(dir, v.fs.records.attr) != unix.ENODATA || v.filing {
			found = append(found, g)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range found {
		v.one(dir, &found[i], others)
	}
}

// glimpse is what can be known of an entry without opening it. The handle is nil if it was not, or could not be.
type glimpse struct {
	name   string
	st     unix.Stat_t
	handle *handleID
	record []byte
}

// take takes it. The error is that of reading the record.
func (g *glimpse) take(dir *inode, attr string) (err error) {
	if g.record, err = attributeAt(dir, g.name, attr); err != nil {
		return err
	}
	if unix.Fstatat(dir.fd, g.name, &g.st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		g.handle, _ = handleOf(dir.fd, g.name)
	}
	return nil
}

// one visits an entry if it has a record. What can sleep is not opened. Caller holds v.mu.
func (v *recordVisitor) one(dir *inode, g *glimpse, others map[string]bool) {
	n, data := v.fs.inodes.enterAsleep(&g.st, g.handle), g.record
	if n == nil {
		fd, st, err := statChild(dir, g.name)
		if err != nil {
			v.skipped = v.skipped || err != unix.ENOENT
			return
		}
		n = v.fs.inodes.keep(fd, st)
		data = v.fs.readRecord(n)
	}
	defer v.fs.inodes.giveBack(n)
	found := Recorded{Key: dir.key(g.name), Inode: n.real, Kind: kindOf(n.mode), Data: data}
	if found.Data == nil && v.filing {
		found.Data = v.filed(found)
	}
	if found.Data == nil {
		return
	}
	v.visit(found)
	if file, _ := v.fs.Locks.Policy().Guards(g.name); others[file] {
		v.fs.guardLocked(dir, g.name)
	}
}

// filed is the record of a lock that has it in a file. Caller holds v.mu.
func (v *recordVisitor) filed(r Recorded) []byte {
	file := v.mark(r.Key, r.Inode)
	data := v.files[file]
	if data != nil {
		delete(v.files, file)
		v.fs.records.file(r.Key, file)
	}
	return data
}

// attributeAt reads an attribute of an entry that need not be open (getxattrat(2), Linux 6.13).
func attributeAt(dir *inode, name, attr string) ([]byte, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return nil, err
	}
	wanted, err := unix.BytePtrFromString(attr)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, usualRecord)
	n, err := getAttributeAt(dir.fd, path, wanted, buf)
	if err == unix.ERANGE {
		buf = make([]byte, maxRecord)
		n, err = getAttributeAt(dir.fd, path, wanted, buf)
	}
	return buf[:n], err
}

func getAttributeAt(dir int, path, attr *byte, buf []byte) (int, error) {
	args := struct { // struct xattr_args (include/uapi/linux/xattr.h)
		value       *byte
		size, flags uint32
	}{&buf[0], uint32(len(buf)), 0}
	n, _, errno := unix.Syscall6(unix.SYS_GETXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(path)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(attr)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Lengths of records, in bytes: the kernel clears as much memory as there may be.
const (
	usualRecord = 128
	maxRecord   = 4096 // is more than one has
)

func (fs *FS) readRecord(n *inode) []byte {
	p, err := fs.attrPath(n)
	if err != nil {
		return nil
	}
	defer p.close()
	var buf [maxRecord]byte
	size, err := p.get(fs.records.attr, buf[:])
	if err != nil {
		return nil
	}
	return bytes.Clone(buf[:size])
}

// recordFiles reads the records that are in files.
func (fs *FS) recordFiles() (map[string][]byte, error) {
	files := map[string][]byte{}
	dir, err := fs.recordDir(false)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return files, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the records of locks: %w", err)
	}
	f := os.NewFile(uintptr(dir), "records")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		if len(name) == markSize {
			files[name] = readFileAt(dir, name)
		}
	}
	return files, err
}

// markSize is the length of a file's name: 64 bits in hexadecimal.
const markSize = 16

func readFileAt(dir int, name string) []byte {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	buf := make([]byte, maxRecord)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// dropFiles removes the records of locks that are gone.
func (fs *FS) dropFiles(files map[string][]byte) {
	if len(files) == 0 {
		return
	}
	if dir, err := fs.recordDir(false); err == nil {
		for name := range files {
			_ = unix.Unlinkat(dir, name, 0)
		}
		unix.Close(dir)
	}
}
