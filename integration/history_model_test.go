package integration

import (
	"strings"
	"syscall"
)

// lawModel is the law for a few names as a caller meets it, written from its text: what comes of each act, who holds
// each name after it and what is on disk. A death, a close and a person's word take effect at once in it. Processes are
// numbers.
type lawModel struct {
	names  []*lawName
	pids   map[int]int
	uids   map[int]int
	grants int
	strict bool           // the kernel asks who may write a file before it links it (may_linkat, fs.protected_hardlinks)
	seen   map[string]int // what happens seldom
}

// lawFile is what stands under a name.
type lawFile struct {
	kind    byte // 'f' file, 'd' directory, 'l' symlink
	uid     int
	text    string
	pid     int  // the maker that the text names, 0 if none
	created bool // the text has createdAt
	data    bool // it could be data
	inside  map[string]*lawFile
}

type lawName struct {
	path          string
	evidence, git bool

	file   *lawFile
	state  string // free, held, orphan, abandoned, untracked
	owner  int
	grant  int  // 0 if it never was granted to anybody
	open   bool // the creating handle is
	second bool // a second caller in the owner's process wants it removed
	looked map[int]lookedInto
}

// lookedInto is which lock of a name a process judged, or gave up.
type lookedInto struct {
	grant  int
	gaveUp bool
}

func newLawModel(paths ...string) *lawModel {
	m := &lawModel{pids: map[int]int{}, uids: map[int]int{}, seen: map[string]int{}}
	for _, path := range paths {
		m.names = append(m.names, &lawName{
			path: path, evidence: strings.HasSuffix(path, ".jsonl.lock"), git: strings.Contains(path, "/"),
			state: "free", looked: map[int]lookedInto{},
		})
	}
	return m
}

func (n *lawName) held() bool { return n.state == "held" }

// keepsAway reports whether p is kept away from what the name holds.
func (n *lawName) keepsAway(p int) bool { return n.held() && !n.git && n.owner != p }

func (n *lawName) forget() {
	n.state, n.owner, n.grant, n.open, n.second = "free", 0, 0, false, false
}

func (n *lawName) goes() { n.forget(); n.file = nil }

// judges remembers that p was shown something that anyone may remove.
func (n *lawName) judges(p int) {
	if n.state != "free" && !n.held() && !n.git {
		n.looked[p] = lookedInto{n.grant, n.looked[p].gaveUp}
	}
}

// readsNew is that p knows a later lock than the one that it judged.
func (n *lawName) readsNew(p int) {
	if !n.looked[p].gaveUp {
		delete(n.looked, p)
	}
}

func (f *lawFile) recognised(pid int) bool {
	switch {
	case f.data:
		return false
	case f.kind != 'd':
		return f.text == "" || f.pid == pid
	}
	for _, in := range f.inside {
		if !in.recognised(pid) {
			return false
		}
	}
	return true
}

// keepsOpen is the shape of a lock whose maker has it open while it holds.
func (n *lawName) keepsOpen() bool {
	return n.file.kind == 'f' && !n.file.data && (n.file.created || n.file.text == "" && n.evidence)
}

// mayGo reports whether what a dead or forgetful owner left is surely a lock.
func (m *lawModel) mayGo(n *lawName) bool {
	switch {
	case n.git:
		return n.file.kind == 'f'
	case n.second && n.keepsOpen():
		return true
	}
	return n.file.recognised(m.pids[n.owner])
}

// creates is an exclusive act that makes something new.
func (m *lawModel) creates(p, i int, f *lawFile, handle bool) syscall.Errno {
	n := m.names[i]
	if errno := m.makesWay(n); errno != 0 {
		return errno
	}
	f.uid = m.uids[p]
	m.grant(p, n, f, handle)
	return 0
}

func (m *lawModel) makesWay(n *lawName) syscall.Errno {
	switch {
	case n.file == nil:
		return 0
	case n.state == "orphan" && m.mayGo(n):
		m.seen["an orphan is taken over"]++
		n.goes()
		return 0
	case n.state == "orphan":
		m.seen["an orphan turns out to be data"]++
		n.state = "abandoned"
	case n.state == "free" && !n.git:
		n.state = "untracked"
	}
	return syscall.EEXIST
}

func (m *lawModel) grant(p int, n *lawName, f *lawFile, handle bool) {
	m.grants++
	n.file, n.state, n.owner, n.grant, n.open, n.second = f, "held", p, m.grants, handle, false
	n.readsNew(p)
}

// removes is unlink, rmdir or a rename away.
func (m *lawModel) removes(p, i int, how string) syscall.Errno {
	n := m.names[i]
	switch {
	case n.file == nil:
		return syscall.ENOENT
	case how == "unlink" && n.file.kind == 'd':
		return syscall.EISDIR
	case how == "rmdir" && n.file.kind != 'd':
		return syscall.ENOTDIR
	}
	errno := m.lets(p, n)
	switch {
	case errno != 0:
	case how == "rmdir" && len(n.file.inside) > 0:
		errno = syscall.ENOTEMPTY
	default:
		n.goes()
	}
	return errno
}

// lets is rules 2, 3 and 6: whether p may remove it.
func (m *lawModel) lets(p int, n *lawName) syscall.Errno {
	mark, marked := n.looked[p]
	delete(n.looked, p)
	late := marked && (mark.grant != n.grant || mark.gaveUp)
	switch {
	case n.state == "free" || n.git:
		return 0
	case n.held() && n.owner == p:
		if !n.open || !n.keepsOpen() && !(mark.gaveUp && n.file.kind == 'f' && n.file.text == "") {
			return 0
		}
		m.seen["a second caller is told of in its process"]++
		if n.second = true; mark.gaveUp { // the first caller's, come late: this lock is its neighbour's
			return syscall.ENOENT
		}
		return syscall.EBUSY
	case late:
		m.seen["what somebody judged is gone"]++
		return syscall.ENOENT
	case n.held():
		return syscall.EBUSY
	}
	return 0
}

// replaces is a rename of a file over the name.
func (m *lawModel) replaces(p, i int, f *lawFile) syscall.Errno {
	n := m.names[i]
	switch {
	case n.file != nil && n.file.kind == 'd':
		return syscall.EISDIR
	case n.keepsAway(p):
		return syscall.EBUSY
	}
	f.uid = m.uids[p]
	n.replaced(f)
	return 0
}

func (n *lawName) replaced(f *lawFile) {
	if n.file, n.second = f, false; !n.held() {
		n.forget()
	}
}

// moves is a rename of one lock over another.
func (m *lawModel) moves(p, i, j int) syscall.Errno {
	n, to := m.names[i], m.names[j]
	if n.file == nil {
		return syscall.ENOENT
	}
	if to.file != nil {
		switch dir, over := n.file.kind == 'd', to.file.kind == 'd'; {
		case dir && !over:
			return syscall.ENOTDIR
		case over && !dir:
			return syscall.EISDIR
		}
	}
	m.asksToLeave(p, n, to)
	if errno := m.lets(p, n); errno != 0 {
		return errno
	}
	switch {
	case to.keepsAway(p):
		return syscall.EBUSY
	case to.file != nil && len(to.file.inside) > 0:
		return syscall.ENOTEMPTY
	}
	f := n.file
	n.goes()
	to.replaced(f)
	return 0
}

// asksToLeave is that the kernel asks for the rights of a directory that goes into another one (vfs_rename).
func (m *lawModel) asksToLeave(p int, n, to *lawName) {
	if n.file.kind == 'd' && n.git != to.git {
		n.judges(p)
	}
}

// movesOnto is a rename of one lock to the name of another that does not replace.
func (m *lawModel) movesOnto(p, i, j int) syscall.Errno {
	n, to := m.names[i], m.names[j]
	switch {
	case n.file == nil:
		return syscall.ENOENT
	case to.file != nil && to.state != "orphan":
		return m.makesWay(to)
	}
	m.asksToLeave(p, n, to)
	if errno := m.lets(p, n); errno != 0 {
		return errno
	}
	if errno := m.makesWay(to); errno != 0 {
		return errno
	}
	f := n.file
	n.goes()
	m.grant(p, to, f, false)
	return 0
}

// exchanges swaps two names.
func (m *lawModel) exchanges(p, i, j int) syscall.Errno {
	n, to := m.names[i], m.names[j]
	switch {
	case n.file == nil || to.file == nil:
		return syscall.ENOENT
	case n.keepsAway(p) || to.keepsAway(p):
		return syscall.EBUSY
	}
	f, g := n.file, to.file
	n.replaced(g)
	to.replaced(f)
	return 0
}

// closes is a close of the creating handle that was opened with this grant.
func (m *lawModel) closes(i, grant int) {
	n := m.names[i]
	if !n.held() || n.grant != grant {
		return
	}
	if n.open = false; n.second {
		m.seen["what a second caller removed goes at the close"]++
		n.looked[n.owner] = lookedInto{n.grant, true}
		m.departs(n)
	}
}

func (m *lawModel) departs(n *lawName) {
	if !m.mayGo(n) {
		m.seen["what could be data is abandoned"]++
		n.state = "abandoned"
		return
	}
	n.goes()
}

// dies is rule 4, and what comes of the handles that close with it.
func (m *lawModel) dies(p int) {
	for i, n := range m.names {
		if !n.held() || n.owner != p {
			continue
		}
		if n.open {
			m.closes(i, n.grant)
		}
		switch {
		case !n.held():
		case n.evidence && m.mayGo(n):
			n.state = "orphan"
		default:
			m.departs(n)
		}
	}
}

// forces is a person's word.
func (m *lawModel) forces(i int, force bool) syscall.Errno {
	n := m.names[i]
	switch {
	case n.file == nil:
		return syscall.ENOENT
	case n.state == "free":
		n.state = "untracked"
	}
	if n.state != "orphan" && !force {
		return syscall.EBUSY
	}
	if n.owner != 0 {
		n.looked[n.owner] = lookedInto{n.grant, true}
	}
	n.goes()
	return 0
}
