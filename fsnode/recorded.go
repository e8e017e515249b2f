package fsnode

import (
	"errors"
	"fmt"
	"os"

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
	if found.Data == nil && len(files) > 0 {
		file := mark(found.Key, found.Inode)
		if found.Data = files[file]; found.Data != nil {
			delete(files, file)
			fs.records.file(found.Key, file)
		}
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
