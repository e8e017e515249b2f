package fsnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// records keeps a few bytes for each granted lock with the lock itself, in an extended attribute, which goes when it goes. Where there
// are no such attributes, as for an ordinary user's symbolic link, they are in a file of their own in the real directory that
// the control directory hides.
//
// Nothing is brought to the disk at once: after a crash of the machine every owner is dead.
//
// mu guards filed, and nothing is locked inside it.
type records struct {
	attr  string // name of the attribute
	write storage

	mu    sync.Mutex
	filed map[lockmgr.Key]string // names of the files
}

// storage is where bytes are put that must not be lost: the one place for faults to come from.
type storage interface {
	setAttribute(p *attrPath, attr string, data []byte) error
	writeFile(dir int, name string, data []byte) error
}

func newRecords() *records {
	r := &records{attr: "user." + recordAttribute, write: disk{}, filed: map[lockmgr.Key]string{}}
	if os.Geteuid() == 0 {
		r.attr = "trusted." + recordAttribute // which only we can set
	}
	return r
}

// recordAttribute is short, for ext4's sake: with a longer name it does not keep the record in the inode.
const recordAttribute = "slfs"

// isRecord reports whether an attribute is ours to set, and no caller's to see.
func isRecord(attr string) bool {
	return attr == "trusted."+recordAttribute || attr == "user."+recordAttribute
}

// withoutRecord leaves our attributes out of a list.
func withoutRecord(names []byte) []byte {
	var shown []byte
	for name := range strings.SplitAfterSeq(string(names), "\x00") {
		if !isRecord(strings.TrimSuffix(name, "\x00")) {
			shown = append(shown, name...)
		}
	}
	return shown
}

// disk is the real file system.
type disk struct{}

func (disk) setAttribute(p *attrPath, attr string, data []byte) error { return p.set(attr, data, 0) }

// writeFile replaces a file, so that it is there in whole or not at all.
func (disk) writeFile(dir int, name string, data []byte) error {
	const part = ".part"
	fd, err := unix.Openat(dir, name+part, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd, data)
	unix.Close(fd)
	if err == nil && n < len(data) {
		err = unix.ENOSPC
	}
	if err == nil {
		err = unix.Renameat(dir, name+part, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, name+part, 0)
	}
	return err
}

// KeepRecord keeps bytes about a lock; mark is its name among the files.
func (fs *FS) KeepRecord(k lockmgr.Key, inode lockmgr.InodeID, mark string, data []byte) error {
	n := fs.inodes.borrow(inode)
	if n == nil {
		return lockmgr.ErrGone
	}
	defer fs.inodes.unpin(inode)
	err := fs.setRecord(n, data)
	if !noAttributes(err) {
		return err
	}
	dir, err := fs.recordDir(true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := fs.records.write.writeFile(dir, mark, data); err != nil {
		_ = unix.Unlinkat(int(fs.Root.Fd()), ControlDir, unix.AT_REMOVEDIR) // if there is nothing else in it
		return err
	}
	fs.records.file(k, mark, dir)
	return nil
}

func (fs *FS) setRecord(n *inode, data []byte) error {
	p, err := fs.attrPath(n)
	if err != nil {
		return err
	}
	defer p.close()
	return fs.records.write.setAttribute(p, fs.records.attr, data)
}

// noAttributes reports whether an error means that there can be none, as opposed to none now.
func noAttributes(err error) bool {
	return err == unix.EOPNOTSUPP || err == unix.EPERM || err == unix.EACCES
}

// recordDir opens the directory of records, beneath the control directory's name.
func (fs *FS) recordDir(create bool) (int, error) {
	root := int(fs.Root.Fd())
	if create {
		if err := unix.Mkdirat(root, ControlDir, 0o700); err != nil && err != unix.EEXIST {
			return -1, err
		}
	}
	return unix.Openat(root, ControlDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// file remembers the file of a name, and removes the one before.
func (r *records) file(k lockmgr.Key, mark string, dir int) {
	r.mu.Lock()
	before := r.filed[k]
	r.filed[k] = mark
	r.mu.Unlock()
	if before != "" && before != mark {
		_ = unix.Unlinkat(dir, before, 0)
	}
}

// DropRecord ends the record of a name that has it in a file.
func (fs *FS) DropRecord(k lockmgr.Key) {
	r := fs.records
	r.mu.Lock()
	mark := r.filed[k]
	delete(r.filed, k)
	last := len(r.filed) == 0
	r.mu.Unlock()
	if mark == "" {
		return
	}
	if dir, err := fs.recordDir(false); err == nil {
		_ = unix.Unlinkat(dir, mark, 0)
		unix.Close(dir)
	}
	if last {
		_ = unix.Unlinkat(int(fs.Root.Fd()), ControlDir, unix.AT_REMOVEDIR)
	}
}

// strip takes the record from an inode that is no lock any more, and is still there under another name.
func (fs *FS) strip(dir *inode, name string) {
	fd, st, err := statChild(dir, name)
	if err != nil {
		return
	}
	n := fs.inodes.keep(fd, st)
	defer fs.inodes.unpin(n.real)
	if p, err := fs.attrPath(n); err == nil {
		_ = p.remove(fs.records.attr)
		p.close()
	}
}

// Recorded is a lock with a record.
type Recorded struct {
	Key   lockmgr.Key
	Inode lockmgr.InodeID
	Kind  lockmgr.Kind
	Data  []byte
}

// VisitRecords finds the locks that have records in the whole tree. Mark names the file of one that has it in a file. While
// visit runs, the inodes can't go away.
func (fs *FS) VisitRecords(mark func(lockmgr.Key, lockmgr.InodeID) string, visit func(Recorded)) error {
	files, err := fs.recordFiles()
	if err != nil {
		return err
	}
	root, err := fs.reopen(int(fs.Root.Fd()), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	err = fs.surveyDir(root, func(dir *inode, name string) {
		fs.visitRecord(dir, name, files, mark, visit)
	})
	fs.dropFiles(files)
	return err
}

func (fs *FS) visitRecord(
	dir *inode, name string, files map[string][]byte, mark func(lockmgr.Key, lockmgr.InodeID) string, visit func(Recorded),
) {
	fd, st, err := statChild(dir, name)
	if err != nil {
		return
	}
	n := fs.inodes.keep(fd, st)
	defer fs.inodes.unpin(n.real)
	found := Recorded{Key: dir.key(name), Inode: n.real, Kind: kindOf(n.mode), Data: fs.readRecord(n)}
	if file := mark(found.Key, found.Inode); found.Data == nil && files[file] != nil {
		found.Data = files[file]
		delete(files, file)
		fs.records.mu.Lock()
		fs.records.filed[found.Key] = file
		fs.records.mu.Unlock()
	}
	if found.Data != nil {
		visit(found)
	}
}

func (fs *FS) readRecord(n *inode) []byte {
	p, err := fs.attrPath(n)
	if err != nil {
		return nil
	}
	defer p.close()
	buf := make([]byte, 4096)
	size, err := p.get(fs.records.attr, buf)
	if err != nil {
		return nil
	}
	return buf[:size]
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
	buf := make([]byte, 4096)
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

// Reserved is the number below which tokens were given, or could be; 0 if none were.
func (fs *FS) Reserved() (last uint64) {
	buf := make([]byte, 32)
	if n, err := unix.Fgetxattr(int(fs.Root.Fd()), fs.records.attr, buf); err == nil && n == 8 {
		last = binary.LittleEndian.Uint64(buf)
	}
	if dir, err := fs.recordDir(false); err == nil {
		if n, err := strconv.ParseUint(string(readFileAt(dir, tokensFile)), 10, 64); err == nil {
			last = max(last, n)
		}
		unix.Close(dir)
	}
	return last
}

const tokensFile = "tokens"

// Reserve keeps that tokens below a number may be given.
func (fs *FS) Reserve(below uint64) error {
	root := &attrPath{path: path.Join("/proc/self/fd", fmt.Sprint(fs.Root.Fd())), dir: -1}
	err := fs.records.write.setAttribute(root, fs.records.attr, binary.LittleEndian.AppendUint64(nil, below))
	if !noAttributes(err) {
		return err
	}
	dir, err := fs.recordDir(true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return fs.records.write.writeFile(dir, tokensFile, strconv.AppendUint(nil, below, 10))
}

// Guard begins to guard the file that a restored lock is for.
func (fs *FS) Guard(k lockmgr.Key) {
	if dir := fs.inodes.borrow(k.Dir); dir != nil {
		fs.guardLocked(dir, k.Name)
		fs.inodes.unpin(k.Dir)
	}
}

// notOurs refuses what is about our own attributes.
func notOurs(attr string) fuse.Status {
	if isRecord(attr) || strings.HasPrefix(attr, ownAttributes) {
		return fuse.EPERM
	}
	return fuse.OK
}
