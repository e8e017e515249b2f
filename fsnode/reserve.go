package fsnode

import (
	"encoding/binary"
	"strconv"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Reserved is the number below which tokens were given, or could be; 0 if none were.
func (fs *FS) Reserved() (last uint64) {
	if data := fs.readRecord(fs.inodes.node(fuse.FUSE_ROOT_ID)); len(data) == 8 {
		last = binary.LittleEndian.Uint64(data)
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
	root := fs.inodes.node(fuse.FUSE_ROOT_ID)
	if err := fs.setRecord(root, binary.LittleEndian.AppendUint64(nil, below)); !noAttributes(err) {
		return err
	}
	return fs.writeRecord(tokensFile, strconv.AppendUint(nil, below, 10))
}
