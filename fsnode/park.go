package fsnode

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// A file that was made without a name (O_TMPFILE) can be given its first name only once: without any name after that, it is one that was
// deleted (vfs_link). So where such a name is taken back, to be given anew by whoever serves the request again (settle.go), the file keeps another one
// until then, among the records.

// parked has the names of such files among the records. mu guards names, and nothing is locked inside it.
type parked struct {
	mu    sync.Mutex
	names map[lockmgr.InodeID]string
}

const parkedSuffix = ".parked"

// park moves the only name of a file there.
func (fs *FS) park(dir *inode, name string) error {
	to, err := fs.recordDir(true)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	real := fs.childID(dir, name)
	place := fmt.Sprintf("%020d%s", real.Ino, parkedSuffix)
	if err := unix.Renameat(dir.fd, name, to, place); err != nil {
		return err
	}
	fs.parked.mu.Lock()
	defer fs.parked.mu.Unlock()
	fs.parked.names[real] = place
	return nil
}

// unpark is when a file has a name again.
func (fs *FS) unpark(real lockmgr.InodeID) {
	fs.parked.mu.Lock()
	place := fs.parked.names[real]
	delete(fs.parked.names, real)
	fs.parked.mu.Unlock()
	if place != "" {
		fs.removeRecord(place)
		fs.removeRecordDir()
	}
}

// unparkAll is when nobody has anything open any more.
func (fs *FS) unparkAll() {
	fs.parked.mu.Lock()
	left := slices.Collect(maps.Keys(fs.parked.names))
	fs.parked.mu.Unlock()
	for _, real := range left {
		fs.unpark(real)
	}
}

// findParked takes notice of what an earlier server parked, and removes what nobody has open any more.
func (fs *FS) findParked() {
	dir, err := fs.recordDir(false)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	names, _ := fs.namesIn(dir, 1<<20)
	for _, name := range names {
		var st unix.Stat_t
		if !strings.HasSuffix(name, parkedSuffix) || unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue
		}
		real := realID(&st)
		if n, err := fs.inodes.borrow(real); err == nil {
			fs.inodes.giveBack(n)
			fs.parked.mu.Lock()
			fs.parked.names[real] = name
			fs.parked.mu.Unlock()
			continue
		}
		_ = unix.Unlinkat(dir, name, 0)
	}
	fs.removeRecordDir()
}
