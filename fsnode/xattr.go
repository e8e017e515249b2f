package fsnode

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// GetXAttr reads an extended attribute.
func (fs *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		return 0, fuse.ENODATA
	}
	if strings.HasPrefix(attr, ownAttributes) {
		return fs.ownAttribute(n, attr, dest)
	}
	if isRecord(attr) {
		return 0, fuse.ENODATA
	}
	p, err := fs.attrPath(n)
	if err != nil {
		return 0, fuse.ENODATA
	}
	defer p.close()
	size, err := p.get(attr, dest)
	return xattrSize(size, len(dest), err, func() (int, error) { return p.get(attr, nil) })
}

// ListXAttr lists the names of extended attributes.
func (fs *FS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		return 0, fuse.OK
	}
	p, err := fs.attrPath(n)
	if err != nil {
		return 0, fuse.OK
	}
	defer p.close()
	names, err := p.list()
	if err != nil {
		return 0, status(err)
	}
	names = visible(without(names, isRecord), h)
	if len(names) > len(dest) {
		return uint32(len(names)), fuse.ERANGE
	}
	return uint32(copy(dest, names)), fuse.OK
}

// visible leaves out the names that only an administrator sees: the real file system shows them to
// us (ext4_xattr_trusted_list and its like ask for CAP_SYS_ADMIN).
func visible(names []byte, h *fuse.InHeader) []byte {
	const trusted = "trusted."
	if !bytes.Contains(names, []byte(trusted)) || credentialsOf(h).has(unix.CAP_SYS_ADMIN) {
		return names
	}
	return without(names, func(name string) bool { return strings.HasPrefix(name, trusted) })
}

// without leaves names out of a list, each of which ends with a zero byte.
func without(names []byte, hidden func(name string) bool) (shown []byte) {
	for _, name := range bytes.SplitAfter(names, []byte{0}) {
		if !hidden(string(bytes.TrimSuffix(name, []byte{0}))) {
			shown = append(shown, name...)
		}
	}
	return shown
}

// xattrSize answers with the size that is needed, which go-fuse wants along with ERANGE
// and instead of it where the caller only asked for the size.
func xattrSize(size, room int, err error, ask func() (int, error)) (uint32, fuse.Status) {
	if err == unix.ERANGE || err == nil && room == 0 {
		if need, err := ask(); err == nil && need > room {
			return uint32(need), fuse.ERANGE
		}
	}
	return uint32(max(size, 0)), status(err)
}

// SetXAttr sets an extended attribute, unless somebody else holds the lock.
func (fs *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	if st := notOurs(attr); !st.Ok() {
		return st
	}
	return fs.changingXAttr(&in.InHeader, func(n *inode, p *attrPath) error {
		if err := p.set(attr, data, int(in.Flags)); err != nil {
			return err
		}
		if in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 && attr == accessACL { // said of a default one too
			return fs.dropSetGID(n)
		}
		return nil
	})
}

const accessACL = "system.posix_acl_access"

// dropSetGID goes with an access control list that is set by somebody who may not have the bit, as
// posix_acl_update_mode would see to if it knew who asks.
func (fs *FS) dropSetGID(n *inode) error {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil || st.Mode&unix.S_ISGID == 0 {
		return err
	}
	return fs.chmod(n, st.Mode&^unix.S_ISGID)
}

// RemoveXAttr removes an extended attribute, unless somebody else holds the lock.
func (fs *FS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string) fuse.Status {
	if st := notOurs(attr); !st.Ok() {
		return st
	}
	return fs.changingXAttr(h, func(n *inode, p *attrPath) error {
		err := p.remove(attr)
		if err == unix.EPERM && attr == fileCapability {
			return dropCapability(n)
		}
		return err
	})
}

const fileCapability = "security.capability"

// dropCapability takes a file's capabilities where we may not remove the attribute, being an ordinary
// user. The kernel asks for that before it lets anybody change the file (cap_inode_killpriv), and a
// change of owner takes them from whoever asks.
func dropCapability(n *inode) error { return chown(n, owner{-1, -1}) }

func (fs *FS) changingXAttr(h *fuse.InHeader, do func(*inode, *attrPath) error) fuse.Status {
	n := fs.inodes.node(h.NodeId)
	if n == nil {
		return fuse.EPERM
	}
	p, err := fs.attrPath(n)
	if err != nil {
		return status(err)
	}
	defer p.close()
	return fs.changing(n, fs.caller(h), func() fuse.Status { return status(do(n, p)) })
}

// Every held lock that is a file or a directory has two attributes by which a script can
// fence what it does: the token of the grant and, as JSON, its owner. They are not listed.
const (
	ownAttributes  = "user.sessionlockfs."
	tokenAttribute = ownAttributes + "token"
	ownerAttribute = ownAttributes + "owner"
)

func (fs *FS) ownAttribute(n *inode, attr string, dest []byte) (uint32, fuse.Status) {
	held, ok := fs.Locks.Holder(n.real)
	if !ok || held.Kind != lockmgr.KindFile && held.Kind != lockmgr.KindDir {
		return 0, fuse.ENODATA
	}
	var value []byte
	switch attr {
	case tokenAttribute:
		value = strconv.AppendUint(nil, uint64(held.Token), 10)
	case ownerAttribute:
		if owner := fs.dumpOwner(held.Owner); owner != nil {
			value, _ = json.Marshal(owner)
		}
	}
	switch {
	case value == nil:
		return 0, fuse.ENODATA
	case len(value) > len(dest):
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}
