package integration

import (
	"slices"
	"strings"
	"syscall"
)

// What the law says of acts that leave a lock where it is, and of what others are shown of it.

// changes is everything that alters a lock in its place, and a link of it to elsewhere. The kernel refuses some of it by
// itself; where it asks for the rights of the file (fuse_permission), the caller was shown it.
func (m *lawModel) changes(p, i int, act, text string) syscall.Errno {
	n := m.names[i]
	f := n.file
	switch {
	case f == nil && act == "put":
		n.file = &lawFile{kind: 'f', uid: m.uids[p], text: text, data: true}
		return 0
	case f == nil:
		return syscall.ENOENT
	}
	if act == "truncate" { // it looks first how long it is
		n.judges(p)
	}
	owns := m.uids[p] == 0 || m.uids[p] == f.uid
	opens := act == "write" || act == "put" || act == "truncate"
	switch {
	case act == "link away" && (f.kind == 'd' || f.kind == 'l' && !owns && m.strict):
		return syscall.EPERM
	case act == "link away" && f.kind == 'f' && m.strict:
		n.judges(p)
	case act == "link away":
	case f.kind == 'l':
		n.judges(p)
		return syscall.ENOENT
	case f.kind == 'd' && opens:
		return syscall.EISDIR
	case act == "chmod" && !owns:
		return syscall.EPERM
	default:
		n.judges(p)
	}
	if n.keepsAway(p) {
		return syscall.EBUSY
	}
	switch act {
	case "write", "put":
		f.text, f.data, f.pid, f.created = text, true, 0, false
	case "truncate":
		f.text, f.data, f.pid, f.created = f.text+"\x00", true, 0, false
	}
	return 0
}

// enters is a walk into what may be a directory.
func (n *lawName) enters(p int) syscall.Errno {
	switch {
	case n.file == nil:
		return syscall.ENOENT
	case n.file.kind == 'f':
		return syscall.ENOTDIR
	}
	n.judges(p)
	if n.file.kind == 'l' {
		return syscall.ENOENT
	}
	return 0
}

func (m *lawModel) putsInto(p, i int, name string, f *lawFile) syscall.Errno {
	n := m.names[i]
	switch errno := n.enters(p); {
	case errno != 0:
		return errno
	case n.keepsAway(p):
		return syscall.EBUSY
	case n.state == "orphan":
		return syscall.ENOENT
	}
	n.file.inside[name] = f
	return 0
}

func (m *lawModel) takesFrom(p, i int, name string) syscall.Errno {
	n := m.names[i]
	switch errno := n.enters(p); {
	case errno != 0:
		return errno
	case n.file.inside[name] == nil:
		return syscall.ENOENT
	case n.keepsAway(p):
		return syscall.EBUSY
	}
	delete(n.file.inside, name)
	return 0
}

// stats and reads say whether p gets what is there, or a view of it.
func (m *lawModel) stats(p, i int) (errno syscall.Errno, exact bool) {
	n := m.names[i]
	if n.file == nil {
		return syscall.ENOENT, true
	}
	n.judges(p)
	return 0, !n.keepsAway(p)
}

func (m *lawModel) reads(p, i int) (errno syscall.Errno, exact bool) {
	n := m.names[i]
	errno, exact = m.stats(p, i)
	if !exact && n.file.kind == 'f' {
		n.readsNew(p)
	}
	return errno, exact
}

// lists are the names that p finds in the directory of a name.
func (m *lawModel) lists(p, i int) string {
	var names []string
	for _, n := range m.names {
		if n.git == m.names[i].git && n.file != nil && !n.keepsAway(p) {
			names = append(names, n.path[strings.LastIndex(n.path, "/")+1:])
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
