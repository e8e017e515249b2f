package fsnode

import (
	"os"
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
	return &records{attr: RecordAttribute(), write: disk{}, filed: map[lockmgr.Key]string{}}
}

// RecordAttribute is the attribute in which a mount of whoever runs this keeps its records.
func RecordAttribute() string {
	if os.Geteuid() == 0 {
		return "trusted." + recordAttribute // which only we can set
	}
	return "user." + recordAttribute
}

// recordAttribute is short, for ext4's sake: with a longer name it does not keep the record in the inode.
const recordAttribute = "slfs"

// isRecord reports whether an attribute is ours to set, and no caller's to see.
func isRecord(attr string) bool {
	return attr == "trusted."+recordAttribute || attr == "user."+recordAttribute
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
	n, err := fs.inodes.borrow(inode)
	if err != nil {
		return err
	}
	defer fs.inodes.giveBack(n)
	if err := fs.setRecord(n, data); !noAttributes(err) {
		return err
	}
	if err := fs.writeRecord(mark, data); err != nil {
		return err
	}
	if before := fs.records.file(k, mark); before != "" && before != mark {
		fs.removeRecord(before)
	}
	return nil
}

// writeRecord keeps bytes in a file of that name.
func (fs *FS) writeRecord(name string, data []byte) error {
	dir, err := fs.recordDir(true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = fs.records.write.writeFile(dir, name, data)
	if err != nil {
		fs.removeRecordDir()
	}
	return err
}

func (fs *FS) removeRecord(name string) {
	if dir, err := fs.recordDir(false); err == nil {
		_ = unix.Unlinkat(dir, name, 0)
		unix.Close(dir)
	}
}

// removeRecordDir removes the directory of records if there is nothing in it.
func (fs *FS) removeRecordDir() {
	_ = unix.Unlinkat(int(fs.Root.Fd()), ControlDir, unix.AT_REMOVEDIR)
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

// file remembers the file of a name, and gives the one before; "" for none.
func (r *records) file(k lockmgr.Key, mark string) (before string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.filed[k]
	r.filed[k] = mark
	return before
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
	fs.removeRecord(mark)
	if last {
		fs.removeRecordDir()
	}
}

// strip takes the record from an inode that is no lock any more, and is still there under another name.
func (fs *FS) strip(dir *inode, name string) {
	fd, st, err := statChild(dir, name)
	if err != nil {
		return
	}
	n := fs.inodes.keep(fd, st)
	defer fs.inodes.giveBack(n)
	if p, err := fs.attrPath(n); err == nil {
		_ = p.remove(fs.records.attr)
		p.close()
	}
}

// notOurs refuses what is about our own attributes.
func notOurs(attr string) fuse.Status {
	if isRecord(attr) || strings.HasPrefix(attr, ownAttributes) {
		return fuse.EPERM
	}
	return fuse.OK
}
