package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrCalls read and change extended attributes and access control lists.
func xattrCalls() []kind {
	return []kind{
		{"setxattr", 7, onePath, callSetXattr},
		{"setacl", 6, onePath, callSetACL},
		{"fsetxattr", 3, aSlot, callFsetXattr},
		{"getxattr", 4, nothing, callGetXattr},
		{"listxattr", 3, nothing, callListXattr},
		{"flistxattr", 1, nothing, callFlistXattr},
		{"removexattr", 4, onePath, callRemoveXattr},
	}
}

const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

func xattrName(selector byte) string {
	return one(selector, "user.a", "user.a", "user.b", "user.b", "trusted.t", "security.s", accessACL, defaultACL,
		"user.", "bogus.x", "system.other", "user."+strings.Repeat("n", 250), "user."+strings.Repeat("n", 251),
		"security.capability", "user.c", "trusted.t")
}

func xattrValue(o operation) []byte {
	if o.choice == 255 {
		return make([]byte, 1<<16+1)
	}
	size := one(o.choice, 0, 1, 5, 20, 20, 300, 3000, 5000)
	return bytes.Repeat([]byte{'a' + o.fill%26}, size)
}

func xattrFlags(o operation) int {
	return one(byte(o.flags), 0, 0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE)
}

// follows says whether the call with an l before its name is meant.
func (o operation) follows() bool { return o.flags&0x300 != 0 }

func callSetXattr(o operation) call {
	name, value := xattrName(o.pick), xattrValue(o)
	set, l := unix.Setxattr, ""
	if !o.follows() {
		set, l = unix.Lsetxattr, "l "
	}
	return plain(fmt.Sprintf("%s%q, %q, %s, %d", l, o.path, abbreviated(name), brief(value), xattrFlags(o)), func(*caller) error {
		return set(o.path, name, value, xattrFlags(o))
	})
}

// acl makes a list in the form that the attribute has (linux/posix_acl_xattr.h).
func acl(entries ...aclEntry) []byte {
	list := binary.LittleEndian.AppendUint32(nil, 2) // POSIX_ACL_XATTR_VERSION
	for _, e := range entries {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.permissions)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return list
}

type aclEntry struct {
	tag, permissions uint16
	id               uint32
}

// Tags of the entries of a list (linux/posix_acl.h), and the id of those that name nobody.
const (
	aclUserObject  = 0x01
	aclUser        = 0x02
	aclGroupObject = 0x04
	aclGroup       = 0x08
	aclMask        = 0x10
	aclOther       = 0x20
	aclNobody      = 0xffffffff
)

func aclFrom(o operation) []byte {
	permissions := func(shift int) uint16 { return uint16(o.flags>>shift) & 7 }
	owner := aclEntry{aclUserObject, permissions(0) | 6, aclNobody}
	group := aclEntry{aclGroupObject, permissions(3), aclNobody}
	other := aclEntry{aclOther, permissions(6), aclNobody}
	mask := aclEntry{aclMask, permissions(9), aclNobody}
	named := aclEntry{aclUser, permissions(12), uint32(one(o.fill, 1001, 1002))}
	shared := aclEntry{aclGroup, permissions(8), sharedGroup}
	return one(o.choice, acl(owner, group, other), acl(owner, named, group, mask, other), acl(owner, group, shared, mask, other),
		acl(owner, named, group, shared, mask, other), acl(owner, named, group, other), acl(), acl(owner, group), []byte{})
}

func callSetACL(o operation) call {
	name, value := one(o.pick, accessACL, accessACL, defaultACL), aclFrom(o)
	return plain(fmt.Sprintf("%q, %s, %x", o.path, name, value), func(*caller) error {
		return unix.Setxattr(o.path, name, value, 0)
	})
}

func callFsetXattr(o operation) call {
	name, value := xattrName(o.pick), xattrValue(o)
	return plain(fmt.Sprintf("fd%d, %q, %s, %d", o.slot, abbreviated(name), brief(value), xattrFlags(o)), func(c *caller) error {
		return unix.Fsetxattr(c.fd(o.slot), name, value, xattrFlags(o))
	})
}

func callGetXattr(o operation) call {
	name, room := xattrName(o.pick), one(o.fill, 0, 1, 100, 1<<16, 1<<16)
	get, l := unix.Getxattr, ""
	if !o.follows() {
		get, l = unix.Lgetxattr, "l "
	}
	return call{fmt.Sprintf("%s%q, %q, %d", l, o.path, abbreviated(name), room), func(*caller) (string, error) {
		buf := make([]byte, room)
		n, err := get(o.path, name, buf)
		return fmt.Sprintf("%d %s", n, brief(buf[:min(max(n, 0), room)])), err
	}}
}

func callListXattr(o operation) call {
	room := one(o.fill, 0, 5, 1<<16, 1<<16)
	list, l := unix.Listxattr, ""
	if !o.follows() {
		list, l = unix.Llistxattr, "l "
	}
	return call{fmt.Sprintf("%s%q, %d", l, o.path, room), func(*caller) (string, error) {
		buf := make([]byte, room)
		n, err := list(o.path, buf)
		return fmt.Sprintf("%d %s", n, xattrNamesText(buf[:min(max(n, 0), room)])), err
	}}
}

func callFlistXattr(o operation) call {
	return call{fmt.Sprintf("fd%d", o.slot), func(c *caller) (string, error) {
		buf := make([]byte, 1<<16)
		n, err := unix.Flistxattr(c.fd(o.slot), buf)
		return xattrNamesText(buf[:max(n, 0)]), err
	}}
}

func callRemoveXattr(o operation) call {
	name := xattrName(o.pick)
	remove, l := unix.Removexattr, ""
	if !o.follows() {
		remove, l = unix.Lremovexattr, "l "
	}
	return plain(fmt.Sprintf("%s%q, %q", l, o.path, abbreviated(name)), func(*caller) error { return remove(o.path, name) })
}

func xattrNames(list []byte) []string {
	names := strings.FieldsFunc(string(list), func(r rune) bool { return r == 0 })
	sort.Strings(names)
	return names
}

func xattrNamesText(list []byte) string {
	names := xattrNames(list)
	for i, name := range names {
		names[i] = abbreviated(name)
	}
	return strings.Join(names, ",")
}
