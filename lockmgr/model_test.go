package lockmgr

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// model is the law for four names, written from its text: what is known of each name, and
// what comes of each act. Processes are numbers; 0 is the unnamed. Files are numbers, too:
// several names may be one file's.
type model struct {
	names []*modelName
	files map[int]*modelFile
	procs map[int]*modelProc
	now   time.Time
	limit HoldLimit
	grant int // grants so far
	turns int // when a name got its file: the later one speaks for it
	reaps []errand
	asks  []errand        // of the judge
	stuck bool            // nothing can be removed from the disk for now
	heirs map[int]int     // names that went to a shell in this step
	fresh []int           // the dead of which news comes since somebody was made their heir
	fence map[[2]int]bool // process and name
}

// errand is what the reaper or the judge is sent for.
type errand struct {
	i     int // the name
	grant int // of the lock that is to go
	file  int // to be judged
	about shape
}

// reaper is the number of the mount process.
const reaper = -1

type modelProc struct {
	pids   []int // what it may call itself
	shells []int // living shells above it, when it was born
	dead   bool
	killed bool
	blind  bool // nobody tells of its death
}

// modelFile is a file or directory, by the text that was written into it.
type modelFile struct {
	dir    bool
	text   string
	pid    int // in the text
	inside map[string]*modelFile
}

// shape is all that the law reads of a text.
type shape struct {
	pid            int
	created, empty bool
	hold           int // seconds
}

func (f *modelFile) shape() (s shape, ok bool) {
	switch f.text {
	case "nothing":
		return shape{empty: true}, true
	case "session", "foreign":
		return shape{pid: f.pid, created: true}, true
	case "hold:60":
		return shape{pid: f.pid, created: true, hold: 60}, true
	case "pid", "started":
		return shape{pid: f.pid}, true
	}
	return shape{}, false
}

// isOf reports whether it is surely the lock of a process that bears one of these PIDs.
func (f *modelFile) isOf(pids []int) bool {
	if f.dir {
		for _, in := range f.inside {
			if !in.isOf(pids) {
				return false
			}
		}
		return true
	}
	s, ok := f.shape()
	return ok && (s.empty || slices.Contains(pids, s.pid))
}

// names reports whether it says so.
func (f *modelFile) names(pids []int) bool {
	if f.dir {
		for _, in := range f.inside {
			if in.names(pids) {
				return true
			}
		}
		return false
	}
	s, ok := f.shape()
	return ok && !s.empty && slices.Contains(pids, s.pid)
}

type modelName struct {
	evidence, git bool

	there bool // on disk
	file  int  // which file, to tell it from one that took its place

	state   string // free, held, unknown_owner, orphan, leaving, abandoned, untracked
	mine    int    // the file that the state is about
	turn    int    // when it got that
	owner   int
	helper  bool  // it was made for its owner
	shells  []int // above its maker
	grant   int
	since   time.Time
	open    map[int]bool // who has the creating handle open
	closed  bool
	second  bool
	told    bool  // the owner's death was noticed
	killed  bool  // and by a signal
	adopted bool  // it was made past the mount by its owner
	about   shape // what it held when it was judged dead
	sure    bool  // a person said that it is to go
	asked   time.Time
	looked  map[int]int // which grant's orphan a process looked into
	doubled map[int]bool
}

func newModel(now time.Time) *model {
	m := &model{
		procs: map[int]*modelProc{}, files: map[int]*modelFile{}, now: now,
		heirs: map[int]int{}, fence: map[[2]int]bool{},
	}
	for i := range 4 {
		m.names = append(m.names, &modelName{
			evidence: i == 0, git: i == 3, state: "free", looked: map[int]int{}, doubled: map[int]bool{},
		})
	}
	return m
}

func (n *modelName) free() {
	*n = modelName{
		evidence: n.evidence, git: n.git, there: n.there, file: n.file, state: "free", looked: n.looked, doubled: n.doubled,
	}
}

func (n *modelName) held() bool { return n.state == "held" || n.state == "unknown_owner" }

// keeps reports whether others are kept away from its file.
func (n *modelName) keeps() bool { return n.held() && !n.git }

// asItWas reports whether what the state is about is still there.
func (n *modelName) asItWas() bool { return n.there && n.file == n.mine }

func (m *model) owned(i, p, file int) {
	n := m.names[i]
	m.grant++
	m.turns++
	n.state, n.mine, n.turn, n.owner, n.grant, n.since = "held", file, m.turns, p, m.grant, m.now
	n.shells = m.procs[p].shells
	delete(m.fence, [2]int{p, i})
	delete(n.looked, p)
	if p == 0 {
		n.state = "unknown_owner"
	}
}

// settle is what c finds when it comes by: a death of which no news came yet, or never
// will, and a payload that makes c the owner.
func (m *model) settle(i, c int) {
	n := m.names[i]
	if c != 0 && c != n.owner && n.state == "held" && n.asItWas() && slices.Contains(n.shells, c) {
		m.delegates(i)
	}
	for n.state == "held" && n.owner != c {
		owner := n.owner
		if n.told {
			m.orphaned(i)
		} else if m.procs[owner].dead {
			m.learns(i)
		}
		if n.owner == owner {
			return
		}
	}
}

// learns is that the owner is dead.
func (m *model) learns(i int) {
	n := m.names[i]
	n.told, n.killed = true, m.procs[n.owner].killed
	m.orphaned(i)
}

// orphaned is rule 4, for a held lock whose owner's death was noticed.
func (m *model) orphaned(i int) {
	n := m.names[i]
	switch {
	case len(n.open) > 0:
	case !n.asItWas():
		n.free()
	case m.delegates(i):
	case !m.recognised(n):
		n.state = "abandoned"
	case n.evidence:
		n.state = "orphan"
	default:
		m.departs(i)
	}
}

// delegates makes the shell above the maker that the payload names the owner.
func (m *model) delegates(i int) bool {
	n := m.names[i]
	f := m.files[n.mine]
	if f.names(m.procs[n.owner].pids) {
		return false
	}
	for _, shell := range n.shells {
		s := m.procs[shell]
		if shell == n.owner || !f.names(s.pids) || s.dead && !n.told {
			continue
		}
		n.owner, n.shells, n.helper, n.told, n.killed, n.closed, n.second = shell, nil, false, false, false, true, false
		m.heirs[i] = shell
		delete(m.fence, [2]int{shell, i})
		if s.dead && !s.blind {
			m.fresh = append(m.fresh, shell)
		}
		return true
	}
	return false
}

func (m *model) departs(i int) {
	n := m.names[i]
	n.state = "leaving"
	m.reaps = append(m.reaps, errand{i: i, grant: n.grant})
}

// recognised is what may be removed: what is surely its owner's lock, or what was
// judged. On a person's word everything goes, and git's own by its name.
func (m *model) recognised(n *modelName) bool {
	f := m.files[n.file]
	s, ok := f.shape()
	switch {
	case n.sure:
		return true
	case n.git:
		return !f.dir
	case n.owner == 0:
		return ok && !f.dir && s == n.about && n.judgeable(f)
	case n.second && n.keepsOpen(f):
		return true
	case n.helper && !n.killed && !f.names(m.procs[n.owner].pids):
		return false
	}
	return f.isOf(m.procs[n.owner].pids)
}

// keepsOpen is the shape of locks whose makers keep them open: with createdAt, or an
// empty "*.jsonl.lock".
func (n *modelName) keepsOpen(f *modelFile) bool {
	s, ok := f.shape()
	return ok && !f.dir && (s.created || s.empty && n.evidence)
}

// judgeable is what tells of its maker: that, or a PID.
func (n *modelName) judgeable(f *modelFile) bool {
	s, ok := f.shape()
	return n.keepsOpen(f) || ok && !f.dir && s.pid > 0
}

// overdue is past the hold limit.
func (m *model) overdue(n *modelName) bool {
	hold := m.limit.For
	if m.limit.Declared {
		hold = 0
		if n.asItWas() && !m.files[n.mine].dir {
			s, _ := m.files[n.mine].shape()
			hold = time.Duration(s.hold) * time.Second
		}
	}
	return n.state == "held" && !n.git && hold > 0 && m.now.Sub(n.since) >= hold
}

// look is a LOOKUP: whether the name is shown.
func (m *model) look(p, i int, creating bool) bool {
	m.settle(i, p)
	n := m.names[i]
	switch {
	case n.adopted && n.state == "held" && !n.asItWas(): // released past the mount
		n.free()
	case n.held() && n.owner == p && !n.there: // it finds its own lock gone
		n.free()
	case n.state != "free" && !n.held() && !n.asItWas():
		n.free()
	}
	if creating && n.there && !n.git && (n.state == "free" || n.state == "untracked") {
		m.meets(i)
	}
	return n.there && !(n.state == "leaving" && p != reaper) && !(n.state == "orphan" && creating)
}

// meets is rule 8: what stands in the way is judged, at most once a second.
func (m *model) meets(i int) {
	n := m.names[i]
	if m.now.Sub(n.asked) < time.Second {
		return
	}
	if n.state == "free" {
		m.turns++
		n.turn = m.turns
	}
	n.state, n.mine, n.asked = "untracked", n.file, m.now
	if f := m.files[n.file]; n.judgeable(f) {
		s, _ := f.shape()
		m.asks = append(m.asks, errand{i: i, file: n.file, about: s})
	}
}

// clears makes way for an act that the orphan was hidden from. It answers the errno if
// it can't: the orphan may be data by now.
func (m *model) clears(n *modelName) string {
	switch {
	case !m.recognised(n):
		n.state = "abandoned"
		return "EEXIST"
	case m.stuck:
		return "EIO"
	}
	n.there = false
	n.free()
	return ""
}

func (m *model) creates(p, i, file int, dir, open, helper bool) string {
	n := m.names[i]
	if got := m.bears(p, i, file, dir); got != "ok" {
		return got
	}
	m.owned(i, p, file)
	if n.helper = helper; open {
		n.open = map[int]bool{p: true}
	}
	return "granted"
}

// bears is an exclusive act that is granted to nobody.
func (m *model) bears(p, i, file int, dir bool) string {
	if got := m.makesRoom(p, i); got != "" {
		return got
	}
	n := m.names[i]
	n.there, n.file = true, file
	m.files[file] = &modelFile{dir: dir, text: "nothing", inside: map[string]*modelFile{}}
	return "ok"
}

func (m *model) makesRoom(p, i int) string {
	n := m.names[i]
	if m.look(p, i, true) || n.held() {
		return "EEXIST"
	}
	if n.state == "orphan" || n.state == "leaving" {
		return m.clears(n)
	}
	return ""
}

// links gives the file of one name a second one.
func (m *model) links(p, i, j int) string {
	shown := m.look(p, i, false)
	n, to := m.names[i], m.names[j]
	switch {
	case !shown:
		return "ENOENT"
	case m.look(p, j, true):
		return "EEXIST"
	case m.files[n.file].dir:
		return "EPERM"
	case m.changesFile(p, n.file) == "EBUSY":
		return "EBUSY"
	}
	if got := m.makesRoom(p, j); got == "EIO" {
		return "EEXIST"
	} else if got != "" {
		return got
	}
	to.there, to.file = true, n.file
	m.owned(j, p, n.file)
	return "granted"
}

// renames moves one name to another that is free.
func (m *model) renames(p, i, j int) string {
	shown := m.look(p, i, false)
	n, to := m.names[i], m.names[j]
	switch {
	case !shown:
		return "ENOENT"
	case m.look(p, j, true):
		return "EEXIST"
	}
	got, then := m.mayRemove(p, i)
	if got != "" {
		return got
	}
	if got := m.makesRoom(p, j); got == "EIO" {
		return "EEXIST"
	} else if got != "" {
		return got
	}
	file := n.file
	then()
	to.there, to.file = true, file
	m.owned(j, p, file)
	return "granted"
}

// puts is an open for writing that creates, but not exclusively.
func (m *model) puts(p, i, file int, text string, pid int) string {
	n := m.names[i]
	switch {
	case m.look(p, i, false):
		if m.files[n.file].dir {
			return "EISDIR"
		}
		if m.changesFile(p, n.file) == "EBUSY" {
			return "EBUSY"
		}
	case n.held():
		return "EEXIST"
	case n.state == "leaving":
		if got := m.clears(n); got != "" {
			return got
		}
		fallthrough
	default:
		n.there, n.file = true, file
		m.files[file] = &modelFile{}
	}
	m.files[n.file].text, m.files[n.file].pid = text, pid
	return "ok"
}

func (m *model) removes(p, i int) string {
	n := m.names[i]
	if !m.look(p, i, false) {
		return "ENOENT"
	}
	got, then := m.mayRemove(p, i)
	switch {
	case got != "":
		return got
	case len(m.files[n.file].inside) > 0:
		return "ENOTEMPTY"
	}
	then()
	return "ok"
}

// mayRemove answers the errno, or what is to be done along with it.
func (m *model) mayRemove(p, i int) (errno string, then func()) {
	n := m.names[i]
	late := n.late(p) && !n.git
	defer n.used(p)
	done := func() { n.there = false; n.free() }
	switch {
	case n.state == "held" && n.owner == p:
		first := n.doubled[p] // the first caller's, come late: this lock is its neighbour's
		if m.mayBeSecond(n, first) {
			n.second = true
			if first {
				return "ENOENT", nil
			}
			return "EBUSY", nil
		}
	case n.state == "unknown_owner" && p == 0, n.state == "free", n.git:
	case late:
		return "ENOENT", nil
	case m.overdue(n):
		return "", func() {
			m.fence[[2]int{n.owner, i}], n.doubled[n.owner] = true, true
			done()
		}
	case n.held():
		return "EBUSY", nil
	}
	return "", done
}

// late is rule 3's exception, and rule 6's.
func (n *modelName) late(p int) bool {
	grant, looked := n.looked[p]
	return looked && grant != n.grant || n.doubled[p]
}

func (n *modelName) used(p int) { delete(n.looked, p); delete(n.doubled, p) }

// mayBeSecond is rule 6: the handle is open, and the lock is of a client that keeps it
// so. One that is not written yet may be, if its neighbour's removal is still to come.
func (m *model) mayBeSecond(n *modelName, first bool) bool {
	if !n.asItWas() || n.git {
		return false
	}
	limit := 7 * time.Minute
	f := m.files[n.file]
	if f.text == "hold:60" {
		limit = 3 * time.Minute
	}
	shape := n.keepsOpen(f) || first && f.text == "nothing"
	return shape && len(n.open) > 0 && !n.closed && m.now.Sub(n.since) < limit
}

// replaces is a rename of a file of data over the name.
func (m *model) replaces(p, i, file int) string {
	m.look(p, i, false)
	n := m.names[i]
	switch {
	case !m.mayReplace(p, n):
		return "EBUSY"
	case n.there && m.files[n.file].dir:
		return "EISDIR"
	}
	m.files[file] = &modelFile{text: "data"}
	m.replaced(n, file)
	return "ok"
}

func (m *model) mayReplace(p int, n *modelName) bool { return !n.keeps() || n.owner == p }

func (m *model) replaced(n *modelName, file int) {
	if n.held() {
		m.turns++
		n.mine, n.turn, n.second = file, m.turns, false
	} else {
		n.free()
	}
	n.there, n.file = true, file
}

// moves is a rename of one name over another.
func (m *model) moves(p, i, j int) string {
	shown := m.look(p, i, false)
	if !shown {
		return "ENOENT"
	}
	m.look(p, j, false)
	n, to := m.names[i], m.names[j]
	got, then := m.mayRemove(p, i)
	switch {
	case got != "":
		return got
	case !m.mayReplace(p, to):
		return "EBUSY"
	case to.there && to.file == n.file:
		return "ok" // and nothing is done
	case to.there && m.files[to.file].dir && !m.files[n.file].dir:
		return "EISDIR"
	case to.there && !m.files[to.file].dir && m.files[n.file].dir:
		return "ENOTDIR"
	case to.there && len(m.files[to.file].inside) > 0:
		return "ENOTEMPTY"
	}
	file := n.file
	then()
	m.replaced(to, file)
	return "ok"
}

// exchanges swaps two names.
func (m *model) exchanges(p, i, j int) string {
	n, to := m.names[i], m.names[j]
	if a, b := m.look(p, i, false), m.look(p, j, false); !a || !b {
		return "ENOENT"
	}
	if !m.mayReplace(p, n) || !m.mayReplace(p, to) {
		return "EBUSY"
	}
	a, b := n.file, to.file
	m.replaced(n, b)
	m.replaced(to, a)
	return "ok"
}

func (m *model) changes(p, i int) string {
	if !m.look(p, i, false) {
		return "ENOENT"
	}
	return m.changesFile(p, m.names[i].file)
}

// of settles the names of a file and gives the one that speaks for it: of those that are
// held the one that was granted last, else the last that got it.
func (m *model) of(file, p int) (speaks *modelName) {
	var all []int
	for i, n := range m.names {
		if n.state != "free" && n.mine == file {
			all = append(all, i)
		}
	}
	if len(all) > 1 {
		for _, i := range all {
			m.settle(i, 0)
		}
	}
	best := -1
	for _, i := range all {
		n := m.names[i]
		switch {
		case n.state == "free" || n.mine != file:
		case best < 0:
			best = i
		case n.keeps() != m.names[best].keeps():
			if n.keeps() {
				best = i
			}
		case n.keeps() && n.grant > m.names[best].grant, !n.keeps() && n.turn > m.names[best].turn:
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	m.settle(best, p)
	if n := m.names[best]; n.state != "free" {
		return n
	}
	return nil
}

// keepers tells whether p, and whether others, hold the file by any of its names.
func (m *model) keepers(file, p int) (mine, others bool) {
	for _, n := range m.names {
		if n.keeps() && n.mine == file {
			mine, others = mine || n.owner == p, others || n.owner != p
		}
	}
	return mine, others
}

func (m *model) changesFile(p, file int) string {
	m.of(file, p)
	if _, others := m.keepers(file, p); others {
		return "EBUSY"
	}
	return "ok"
}

func (m *model) sees(p, i int, opens bool) string {
	if !m.look(p, i, false) {
		return "ENOENT"
	}
	file := m.names[i].file
	n := m.of(file, p)
	if n == nil {
		return "exact"
	}
	if n.held() && n.owner == p {
		return "exact"
	}
	mine, others := m.keepers(file, p)
	if others && m.overdue(n) && n.owner != p { // it is there to be judged, unless another name is held
		others = false
		for _, o := range m.names {
			others = others || o != n && o.keeps() && o.mine == file && o.owner != p
		}
	}
	switch {
	case mine:
		return "exact"
	case others:
		if opens {
			delete(n.looked, p)
		}
		return "fresh"
	case !n.git && p != 0:
		n.looked[p] = n.grant
	}
	return "exact"
}

// inside answers what comes of an act in a directory that is, or may be, a lock.
func (m *model) inside(p, i int, takes bool) string {
	n := m.of(m.names[i].file, p)
	switch {
	case n == nil || n.git:
	case n.held() && n.owner != p && !(takes && m.overdue(n) && !(n.late(p) && p != 0)):
		return "EBUSY"
	case !takes && (n.state == "orphan" || n.state == "leaving"):
		return "ENOENT"
	}
	return ""
}

func (m *model) putsInto(p, i int, name, text string, pid int) string {
	if got := m.inside(p, i, false); got != "" {
		return got
	}
	m.files[m.names[i].file].inside[name] = &modelFile{text: text, pid: pid}
	return "ok"
}

func (m *model) takesFrom(p, i int, name string) string {
	f := m.files[m.names[i].file]
	if f.inside[name] == nil {
		return "ENOENT"
	}
	if got := m.inside(p, i, true); got != "" {
		return got
	}
	delete(f.inside, name)
	return "ok"
}

func (m *model) lists(p int) string {
	var b strings.Builder
	for _, n := range m.names {
		shown := n.there && n.state != "leaving" && (!n.keeps() || n.owner == p || m.overdue(n))
		fmt.Fprintf(&b, "%t ", shown)
	}
	return b.String()
}

// tracked is how many locks there are to show.
func (m *model) tracked() (count int) {
	for i, n := range m.names {
		if m.settle(i, 0); n.state != "free" && n.state != "leaving" {
			count++
		}
	}
	return count
}

func (m *model) flushes(p, i, grant int) {
	n := m.names[i]
	if n.state == "held" && n.grant == grant && n.owner == p {
		m.closed(i)
	}
}

// releases is the end of a process's hold of the creating handle.
func (m *model) releases(p, i, grant int) {
	n := m.names[i]
	if !n.held() || n.grant != grant {
		return
	}
	if delete(n.open, p); len(n.open) > 0 {
		return
	}
	if n.told && !n.second {
		m.orphaned(i)
		return
	}
	m.closed(i)
}

func (m *model) closed(i int) {
	n := m.names[i]
	n.closed = true
	if n.second {
		n.doubled[n.owner] = true
		m.departs(i)
		return
	}
	if n.asItWas() {
		m.delegates(i)
	}
}

// died is the news of a death.
func (m *model) died(p int) {
	for i := range m.names {
		delete(m.fence, [2]int{p, i})
	}
	for i, n := range m.names {
		if n.state == "held" && n.owner == p && !n.told {
			m.learns(i)
		}
	}
}

// reaped is the reaper on its errand: through the mount, or past it if the mount is out
// of reach or won't do it. What it can't remove lingers.
func (m *model) reaped(e errand, away bool) string {
	n := m.names[e.i]
	if !away {
		switch {
		case !m.look(reaper, e.i, false):
			return "ENOENT"
		case n.state != "leaving":
			return "stays"
		}
	}
	if n.state != "leaving" || away && n.grant != e.grant {
		return "stays"
	}
	if n.asItWas() {
		switch m.clears(n) {
		case "EEXIST":
			return "stays"
		case "EIO":
			if n.grant == e.grant {
				n.state = "orphan"
				if n.sure { // a person's word was not enough
					n.state, n.sure = "abandoned", false
				}
			}
			return "EIO"
		}
	}
	n.free()
	return "ok"
}

func (m *model) forces(i int, force bool) string {
	n := m.names[i]
	m.settle(i, 0)
	switch {
	case n.state == "free" || n.state == "leaving":
		return "gone"
	case n.state != "orphan" && !force:
		return n.state
	case n.state == "held":
		m.fence[[2]int{n.owner, i}] = true
	}
	if n.owner != 0 {
		n.doubled[n.owner] = true
	}
	n.sure = true
	m.departs(i)
	return "ok"
}

// judged is a verdict on a file. Who is alive must be known to be protected.
func (m *model) judged(e errand, verdict string, owner int, about shape) {
	i, n := e.i, m.names[e.i]
	switch {
	case n.state != "untracked" || n.mine != e.file:
	case verdict == "alive" && owner != 0 && !n.asItWas():
		n.free()
	case verdict == "alive" && owner != 0:
		turn, looked := n.turn, n.looked
		n.looked = map[int]int{}
		m.owned(i, owner, n.mine)
		n.adopted, n.turn, n.looked = true, turn, looked
	case verdict != "dead":
	case !n.asItWas():
		n.free()
	default:
		n.about = about
		switch {
		case !m.recognised(n): // it changed since
		case n.evidence:
			n.state = "orphan"
		default:
			m.departs(i)
		}
	}
}
