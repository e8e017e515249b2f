package fsnode

import (
	"encoding/binary"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

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
