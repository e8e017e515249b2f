package lockmgr

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var modelSteps = flag.Int("model.steps", 1_000_000, "random steps to compare with the model")

// Where the code is known to differ from the law (bugs_test.go has each as a test), the
// model follows the code, or random histories stay out of the way, so that they still
// find what is new. To mend one is to set it to false.
const (
	bugMarksAreOneKind  = false // a look or a grant of its own uses up rule 6's ENOENT
	bugReapsWhatStays   = false // a late reap removes what is not leaving
	bugTrustsInodes     = true // a new file with an old number passes for the orphan
	bugIntegersStay     = true // a bare integer can't be judged dead
	bugAliveUnprotected = true // alive without an owner is not protected
	bugMarksAreDropped  = false // a polled name drops its own late marks (TestConcurrent only)
	bugReplacedGoes     = false // a remembered removal takes what its owner moved over the lock since
)

// model is the law of design.md for three names, written from its text: what is known
// of each name, and what comes of each act. Processes are numbers; 0 is the unnamed.
type model struct {
	names []*modelName
	procs map[int]*modelProc
	now   time.Time
	grant int // grants so far
	reaps []int
}

type modelProc struct {
	pids  []int // what it may call itself
	dead  bool
	blind bool // nobody tells of its death: it is noticed when somebody comes by
}

type modelName struct {
	evidence bool

	there bool // on disk
	file  int  // which file, to tell it from one that took its place
	text  string
	pid   int // in the text

	state   string // free, held, unknown_owner, orphan, leaving, abandoned, untracked
	mine    int    // the file that the state is about
	owner   int
	grant   int
	since   time.Time
	open    map[int]bool // who has the creating handle open
	closed  bool
	second  bool
	told    bool        // the owner's death was noticed
	looked  map[int]int // which grant's orphan a process looked into
	doubled map[int]bool
}

func newModel(now time.Time) *model {
	m := &model{procs: map[int]*modelProc{}, now: now}
	for _, evidence := range []bool{true, false, false} {
		m.names = append(m.names, &modelName{
			evidence: evidence, state: "free", looked: map[int]int{}, doubled: map[int]bool{},
		})
	}
	return m
}

func (n *modelName) free() {
	n.state, n.owner, n.grant, n.open = "free", 0, 0, nil
	n.closed, n.second, n.told = false, false, false
}

func (n *modelName) held() bool { return n.state == "held" || n.state == "unknown_owner" }

// notice is the death of an owner that can't be watched, found by whoever comes by.
func (m *model) notice(i int) {
	n := m.names[i]
	if n.state == "held" && !n.told && m.procs[n.owner].blind && m.procs[n.owner].dead {
		n.told = true
		m.orphaned(i)
	}
}

// orphaned is rule 4, for a held lock whose owner's death was noticed.
func (m *model) orphaned(i int) {
	n := m.names[i]
	switch {
	case len(n.open) > 0:
	case !n.there || n.file != n.mine:
		n.free()
	case n.text != "nothing" && !slices.Contains(m.procs[n.owner].pids, n.pid):
		n.state = "abandoned"
	case n.evidence:
		n.state = "orphan"
	default:
		m.departs(i)
	}
}

func (m *model) departs(i int) {
	m.names[i].state = "leaving"
	m.reaps = append(m.reaps, i)
}

// look is a LOOKUP: whether the name is shown.
func (m *model) look(i int, reaper, creating bool) bool {
	m.notice(i)
	n := m.names[i]
	if n.state != "free" && !n.held() && (!n.there || n.file != n.mine) {
		n.free()
	}
	if n.state == "free" && n.there && creating {
		n.state, n.mine, n.since = "untracked", n.file, m.now
	}
	return n.there && !(n.state == "leaving" && !reaper) && !(n.state == "orphan" && creating)
}

func (m *model) creates(p, i, file int, open bool) string {
	n := m.names[i]
	if m.look(i, false, true) {
		return "EEXIST"
	}
	m.notice(i)
	switch n.state {
	case "orphan", "leaving":
		n.there = false
		n.free()
	case "free":
	default:
		return "EEXIST"
	}
	if n.there {
		return "EEXIST"
	}
	m.grant++
	n.there, n.file, n.text, n.pid = true, file, "nothing", 0
	n.state, n.mine, n.owner, n.grant, n.since = "held", file, p, m.grant, m.now
	if open {
		n.open = map[int]bool{p: true}
	}
	delete(n.looked, p)
	if bugMarksAreOneKind {
		delete(n.doubled, p)
	}
	if p == 0 {
		n.state = "unknown_owner"
	}
	return "granted"
}

func (m *model) removes(p, i int) string {
	n := m.names[i]
	if !m.look(i, false, false) {
		return "ENOENT"
	}
	late := n.late(p)
	defer n.used(p)
	switch {
	case n.state == "held" && n.owner == p:
		first := n.doubled[p] && !bugMarksAreOneKind // the first caller's, come late: this lock is its neighbour's
		unwritten := n.text == "nothing" && len(n.open) > 0 && !n.closed
		if m.mayBeSecond(n) || first && unwritten {
			n.second = true
			if first {
				return "ENOENT"
			}
			return "EBUSY"
		}
	case n.state == "unknown_owner" && p == 0, n.state == "free":
	case late:
		return "ENOENT"
	case n.held():
		return "EBUSY"
	}
	n.there = false
	n.free()
	return "ok"
}

// late is rule 3's exception, and rule 6's.
func (n *modelName) late(p int) bool {
	grant, looked := n.looked[p]
	return looked && grant != n.grant || n.doubled[p]
}

func (n *modelName) used(p int) { delete(n.looked, p); delete(n.doubled, p) }

func (m *model) mayBeSecond(n *modelName) bool {
	limit, ok := map[string]time.Duration{"session": 7 * time.Minute, "foreign": 7 * time.Minute, "hold:60": 3 * time.Minute}[n.text]
	return ok && n.there && n.file == n.mine && len(n.open) > 0 && !n.closed && m.now.Sub(n.since) < limit
}

// replaces is a rename of a file of data over the name.
func (m *model) replaces(p, i, file int) string {
	m.look(i, false, false)
	n := m.names[i]
	switch {
	case n.held() && n.owner != p:
		return "EBUSY"
	case n.held():
		n.mine = file
		n.second = n.second && bugReplacedGoes
	default:
		n.free()
	}
	n.there, n.file, n.text, n.pid = true, file, "data", 0
	return "ok"
}

func (m *model) changes(p, i int) string {
	n := m.names[i]
	switch {
	case !m.look(i, false, false):
		return "ENOENT"
	case n.held() && n.owner != p:
		return "EBUSY"
	}
	return "ok"
}

func (m *model) sees(p, i int, opens bool) string {
	n := m.names[i]
	switch {
	case !m.look(i, false, false):
		return "ENOENT"
	case n.held() && (n.owner != p || p == 0):
		if opens {
			delete(n.looked, p)
			if bugMarksAreOneKind {
				delete(n.doubled, p)
			}
		}
		return "fresh"
	case !n.held() && n.state != "free" && p != 0:
		n.looked[p] = n.grant
		if bugMarksAreOneKind {
			delete(n.doubled, p)
		}
	}
	return "exact"
}

func (m *model) lists(p int) string {
	var b strings.Builder
	for i, n := range m.names {
		m.notice(i)
		shown := n.there && n.state != "leaving" && (!n.held() || n.owner == p && p != 0)
		fmt.Fprintf(&b, "%t ", shown)
	}
	return b.String()
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
	if n.told {
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
	}
}

// died is the news of a death.
func (m *model) died(p int) {
	for i, n := range m.names {
		if n.state == "held" && n.owner == p && !n.told {
			n.told = true
			m.orphaned(i)
		}
	}
}

// reaped is the reaper at a name. It must have been asked to go there; of several
// locks of one dead process it doesn't matter which goes first.
func (m *model) reaped(i int) string {
	at := slices.Index(m.reaps, i)
	if at < 0 {
		return "was never asked for"
	}
	m.reaps = slices.Delete(m.reaps, at, at+1)
	n := m.names[i]
	if !m.look(i, true, false) {
		return "ENOENT"
	}
	if n.state == "leaving" {
		n.there = false
		n.free()
		return "ok"
	}
	return "stays"
}

func (m *model) forces(i int, force bool) string {
	n := m.names[i]
	m.notice(i)
	switch {
	case n.state == "free" || n.state == "leaving":
		return "gone"
	case n.state != "orphan" && !force:
		return n.state
	}
	if n.owner != 0 {
		n.doubled[n.owner] = true
	}
	m.departs(i)
	return "ok"
}

func (m *model) judged(i int, verdict string, owner int) {
	n := m.names[i]
	if n.state != "untracked" || !n.there || n.file != n.mine {
		if n.state == "untracked" && verdict == "dead" && (!n.there || n.file != n.mine) {
			n.free()
		}
		return
	}
	if verdict == "alive" {
		m.grant++
		n.state, n.owner, n.grant, n.since = "held", owner, m.grant, m.now
		return
	}
	keepsOpen := n.text == "session" || n.text == "foreign" || n.text == "hold:60" || n.text == "nothing" && n.evidence
	integer := n.text == "pid" || n.text == "started"
	if verdict != "dead" || !keepsOpen && (!integer || bugIntegersStay) {
		return
	}
	if n.state = "orphan"; !n.evidence {
		m.departs(i)
	}
}

// trial is a random history, played in a world and by the model.
type trial struct {
	t     *testing.T
	r     *rand.Rand
	w     *world
	s     *stage
	m     *model
	keys  []Key
	slots []int           // the process in each of five slots
	procs map[int]Process // by number
	born  int
	files map[*node]int // the model's number of each file
	step  int
	said  []string
	token Token
	hold  [3]int // who believes to hold each name, 0 for nobody: kept apart from the model
}

func newTrial(t *testing.T, seed uint64) *trial {
	w := newWorld(t)
	w.quiet, w.fresh = true, bugTrustsInodes
	x := &trial{
		t: t, r: rand.New(rand.NewPCG(seed, 7)), w: w, s: &stage{world: w}, m: newModel(w.now),
		keys:  []Key{key("x.jsonl.lock"), key("y.lock"), key("d2/z.lock")},
		slots: make([]int, 5), procs: map[int]Process{0: {}}, files: map[*node]int{},
	}
	x.m.procs[0] = &modelProc{}
	for slot := range x.slots {
		x.birth(slot)
	}
	return x
}

// birth puts a new process into a slot: with the PIDs of the one before.
func (x *trial) birth(slot int) {
	x.born++
	p := testProcess(int32(201+slot), uint64(x.born), int32(11+slot))
	blind := x.r.IntN(4) == 0
	x.procs[x.born] = p
	x.m.procs[x.born] = &modelProc{pids: []int{201 + slot, 11 + slot}, blind: blind}
	if blind {
		x.w.blind[p.Identity] = true
	}
	x.slots[slot] = x.born
}

func (x *trial) check(what, got, want string) {
	x.said = append(x.said, fmt.Sprintf("%d. %s: %s", x.step, what, got))
	if len(x.said) > 40 {
		x.said = x.said[1:]
	}
	if got != want {
		x.fatal("got %q, the law says %q", got, want)
	}
}

func (x *trial) fatal(format string, a ...any) {
	x.t.Helper()
	x.t.Fatalf(format+"\n%s", append(a, strings.Join(x.said, "\n"))...)
}

// file numbers the file that is under a name.
func (x *trial) file(k Key) int {
	n := x.w.disk[k]
	if n == nil {
		return 0
	}
	if x.files[n] == 0 {
		x.files[n] = len(x.files) + 1
	}
	return x.files[n]
}

func (x *trial) one() {
	x.step++
	r, w, m := x.r, x.w, x.m
	slot, i := r.IntN(5), r.IntN(3)
	p := x.slots[slot]
	if r.IntN(12) == 0 {
		p = 0
	}
	pr, k, n := x.procs[p], x.keys[i], m.names[i]
	actor := fmt.Sprint("P", p)
	say := func(verb string) string { return fmt.Sprintf("P%d %s %s", p, verb, k.Name) }
	before := x.protected()
	mayGo := -1 // the name whose lock this step may take from its holder
	switch d := r.IntN(100); {
	case d < 25:
		open := r.IntN(3) > 0
		next := len(x.files) + 1
		want := m.creates(p, i, next, open)
		got := w.creates(actor, pr, k, file(""), open)
		if got == "granted" {
			x.file(k)
			x.wins(i, p)
			if r.IntN(4) > 0 {
				x.writes(p, i)
			}
		}
		x.check(say("creates"), got, want)
	case d < 40:
		want, got := m.removes(p, i), w.removes(pr, k)
		if got == "ok" {
			x.givesUp(i, p)
		}
		x.check(say("removes"), got, want)
	case d < 44:
		tmp := key(fmt.Sprint("tmp", x.step))
		w.puts(pr, tmp, payload("data", pr, w.now))
		next := x.file(tmp)
		want, got := m.replaces(p, i, next), w.moves(pr, tmp, k)
		w.outsiderRemoves(tmp)
		if got == "ok" && n.owner == p {
			mayGo = i
		}
		x.check(say("replaces"), got, want)
	case d < 48:
		x.check(say("changes"), w.changes(pr, k, nil), m.changes(p, i))
	case d < 53:
		x.check(say("stats"), w.stats(pr, k), m.sees(p, i, false))
	case d < 58:
		got, _ := w.reads(pr, k)
		x.check(say("reads"), got, m.sees(p, i, true))
	case d < 61:
		var b strings.Builder
		for _, k := range x.keys {
			shown := w.m.Listed(k, func() Identity { return pr.Identity }) && w.disk[k] != nil
			fmt.Fprintf(&b, "%t ", shown)
		}
		x.check(say("lists"), b.String(), m.lists(p))
	case d < 72:
		mayGo = x.closes(p, i, r.IntN(4))
	case d < 75:
		x.inherits(p, x.slots[r.IntN(5)], i)
	case d < 80:
		x.dies(slot)
	case d < 87:
		x.reaps()
	case d < 90:
		m.now = m.now.Add(time.Duration(r.IntN(100)) * time.Second)
		w.now = m.now
	case d < 94:
		x.outsider(i)
	case d < 98:
		x.judges(i, p)
	default:
		force := r.IntN(2) == 0
		want, got := m.forces(i, force), x.s.force(nameOf(k), force)
		if got == "ok" {
			x.hold[i] = 0
			mayGo = i
		}
		x.check(say(fmt.Sprintf("is asked to release (force %t)", force)), got, want)
	}
	x.compare()
	x.stillThere(before, mayGo)
}

func nameOf(k Key) string {
	if k.Dir != dirOne {
		return "d2/" + k.Name
	}
	return k.Name
}

// wins checks that there are never two holders, and that tokens strictly grow.
func (x *trial) wins(i, p int) {
	if h := x.hold[i]; h != 0 {
		x.fatal("two holders of %s: P%d and P%d", x.keys[i].Name, h, p)
	}
	x.hold[i] = p
	if p == 0 {
		x.hold[i] = -1
	}
	x.grows(x.keys[i])
}

func (x *trial) grows(k Key) {
	token := x.w.m.names[k].token
	if token <= x.token {
		x.fatal("token %d comes after %d", token, x.token)
	}
	x.token = token
}

func (x *trial) writes(p, i int) {
	kinds := []string{"nothing", "session", "session", "hold:60", "pid", "started", "foreign", "data"}
	kind := kinds[x.r.IntN(len(kinds))]
	pr, n := x.procs[p], x.m.names[i]
	if p == 0 {
		kind = "nothing"
	}
	x.w.disk[x.keys[i]].c.Data = payload(kind, pr, x.w.now)
	n.text, n.pid = kind, int(pr.PID)
	switch kind {
	case "foreign":
		n.pid = 4242
	case "data":
		n.pid = 0
	}
	x.said = append(x.said, fmt.Sprintf("   P%d writes %s", p, kind))
}

// closes plays FLUSH, RELEASE or both. It answers the name that may go, -1 if none.
func (x *trial) closes(p, i, how int) int {
	actor, k := fmt.Sprint("P", p), x.keys[i]
	h := x.w.handleOf(actor, k)
	if h == nil {
		return -1
	}
	x.said = append(x.said, fmt.Sprintf("%d. P%d closes %s, way %d", x.step, p, k.Name, how))
	grant := int(h.token)
	mine := x.m.names[i].grant == grant
	if how != 0 {
		x.w.flushes(actor, x.procs[p], k)
		x.m.flushes(p, i, grant)
	}
	if how != 1 {
		x.w.releases(actor, k)
		x.m.releases(p, i, grant)
	}
	if mine && x.m.names[i].state == "leaving" {
		x.hold[i] = 0
		return i
	}
	return -1
}

func (x *trial) inherits(p, child, i int) {
	h := x.w.handleOf(fmt.Sprint("P", p), x.keys[i])
	if h == nil || p == 0 {
		return
	}
	x.w.inherits(fmt.Sprint("P", child), x.procs[child], fmt.Sprint("P", p), x.keys[i])
	if n := x.m.names[i]; n.grant == int(h.token) && n.open != nil && n.held() {
		n.open[child] = true
	}
	x.said = append(x.said, fmt.Sprintf("%d. P%d inherits %s from P%d", x.step, child, x.keys[i].Name, p))
}

func (x *trial) dies(slot int) {
	p := x.slots[slot]
	x.said = append(x.said, fmt.Sprintf("%d. P%d dies (blind %t)", x.step, p, x.m.procs[p].blind))
	var handles []*handle
	for _, h := range x.w.handles {
		if _, ok := h.holders[fmt.Sprint("P", p)]; ok {
			handles = append(handles, h)
		}
	}
	for i, o := range x.hold {
		if o == p {
			x.hold[i] = 0
		}
	}
	x.m.procs[p].dead = true
	for _, h := range handles {
		i := slices.Index(x.keys, h.k)
		x.m.flushes(p, i, int(h.token))
		x.m.releases(p, i, int(h.token))
		if x.m.names[i].state == "leaving" { // it was the last to have it open, and rule 6 says it goes
			x.hold[i] = 0
		}
	}
	x.w.dies(x.procs[p], false)
	if !x.m.procs[p].blind {
		x.m.died(p)
	}
	x.birth(slot)
}

func (x *trial) reaps() {
	if len(x.w.reaps) != len(x.m.reaps) {
		x.fatal("%d reaps are queued, the law says %d", len(x.w.reaps), len(x.m.reaps))
	}
	if len(x.w.reaps) == 0 {
		return
	}
	k := x.w.reaps[0].k
	i := slices.Index(x.keys, k)
	n := x.m.names[i]
	x.m.look(i, true, false)
	x.w.looks(x.w.self, k, false)
	if bugReapsWhatStays && !n.held() && (n.state != "leaving" || n.file != n.mine) {
		x.w.reaps = x.w.reaps[1:]
		x.m.reaped(i)
		return
	}
	want, got := x.m.reaped(i), x.w.reap()
	got, _, _ = strings.Cut(got, ",") // past the mount or through it
	if want == "stays" && (got == "EBUSY" || got == "ENOENT") {
		got = want
	}
	x.check("the reaper at "+k.Name, got, want)
}

// outsider removes or makes files past the mount, but not under a holder.
func (x *trial) outsider(i int) {
	k, n := x.keys[i], x.m.names[i]
	switch {
	case n.held():
		return
	case n.there:
		x.w.outsiderRemoves(k)
		n.there = false
		x.said = append(x.said, fmt.Sprintf("%d. an outsider removes %s", x.step, k.Name))
		return
	}
	kind := []string{"nothing", "session", "pid", "data"}[x.r.IntN(4)]
	maker := x.procs[x.slots[x.r.IntN(5)]]
	x.w.outsiderMakes(k, Content{Data: payload(kind, maker, x.w.now)})
	n.there, n.file, n.text, n.pid = true, x.file(k), kind, int(maker.PID)
	if kind == "data" {
		n.pid = 0
	}
	x.said = append(x.said, fmt.Sprintf("%d. an outsider makes %s with %s", x.step, k.Name, kind))
}

func (x *trial) judges(i, p int) {
	k, n := x.keys[i], x.m.names[i]
	if p == 0 && bugAliveUnprotected {
		return
	}
	verdict, f := "unknown", Finding{}
	switch x.r.IntN(3) {
	case 0:
		verdict, f.Verdict = "dead", Dead
	case 1:
		if n.state == "untracked" && !(n.there && n.file == n.mine) {
			return // the judge would not have found it
		}
		verdict, f.Verdict, f.Owner = "alive", Alive, x.procs[p]
	}
	x.said = append(x.said, fmt.Sprintf("%d. %s is judged %s (P%d)", x.step, k.Name, verdict, p))
	x.w.judging = nil
	e := x.w.m.names[k]
	if e == nil {
		return
	}
	was := n.state
	x.w.m.Judged(k, e.inode, f)
	x.m.judged(i, verdict, p)
	if was == "untracked" && n.state == "held" {
		x.hold[i] = p
		x.grows(k)
	}
}

// compare holds what the Manager knows against the model.
func (x *trial) compare() {
	for i, k := range x.keys {
		n, got, token := x.m.names[i], "free", Token(0)
		e := x.w.m.names[k]
		if e != nil {
			if got, token = e.state.String(), e.token; e.leaving {
				got = "leaving"
			}
			if e.state == Held && e.owner.Identity != x.procs[n.owner].Identity {
				x.fatal("%s is held by %v, the law says P%d", k.Name, e.owner.Identity, n.owner)
			}
		}
		if got != n.state {
			x.fatal("%s is %s, the law says %s", k.Name, got, n.state)
		}
		if int(token) != n.grant {
			x.fatal("%s has token %d, the law says %d", k.Name, token, n.grant)
		}
		if there := x.w.disk[k] != nil; there != n.there {
			x.fatal("%s on disk: %t, the law says %t", k.Name, there, n.there)
		}
		if !n.held() && x.hold[i] > 0 {
			x.fatal("P%d holds %s and its state is %s", x.hold[i], k.Name, got)
		}
	}
	for _, l := range x.w.lost {
		x.lost(l)
	}
	x.w.lost = x.w.lost[:0]
}

// lost checks that what we removed was surely a lock (or was given up by its owner or
// by a person, which is when the model let it leave).
func (x *trial) lost(l lostFile) {
	if _, ok := ParsePayload(l.c); !ok && !bugReplacedGoes && l.by == "create" && l.k.Name == "x.jsonl.lock" {
		x.fatal("a create removed %q: %q", l.k.Name, l.c.Data)
	}
}

// givesUp is the end of a hold by its holder's own removal: nobody else's may succeed.
func (x *trial) givesUp(i, p int) {
	if h := x.hold[i]; h > 0 && h != p || h < 0 && p != 0 {
		x.fatal("P%d removed %s, which P%d holds", p, x.keys[i].Name, h)
	}
	x.hold[i] = 0
}

// protected lists the files that somebody holds.
func (x *trial) protected() (files [3]*node) {
	for i, k := range x.keys {
		if x.hold[i] != 0 {
			files[i] = x.w.disk[k]
		}
	}
	return files
}

// stillThere checks that a step took nothing from a holder, but what it gave itself.
func (x *trial) stillThere(before [3]*node, mayGo int) {
	for i, n := range before {
		if n != nil && i != mayGo && x.hold[i] != 0 && x.w.disk[x.keys[i]] != n {
			x.fatal("%s was taken from its holder P%d", x.keys[i].Name, x.hold[i])
		}
	}
}

// end lets everything go and checks that nothing is remembered.
func (x *trial) end() {
	for slot := range x.slots {
		x.dies(slot)
	}
	for i, k := range x.keys {
		x.m.look(i, false, false)
		x.w.looks(x.procs[x.slots[0]].Identity, k, false)
	}
	for i, k := range x.keys {
		if x.s.force(nameOf(k), true) == "ok" {
			x.m.forces(i, true)
		}
	}
	for len(x.w.reaps) > 0 {
		x.reaps()
	}
	x.compare()
	x.w.noLeaks()
	if m := x.w.m; len(m.owners)+len(m.inodes)+len(m.dirs) > 0 {
		x.fatal("left over: %d owners, %d inodes, %d directories", len(m.owners), len(m.inodes), len(m.dirs))
	}
}

func TestModel(t *testing.T) {
	const length = 1000
	for seed := range uint64(max(*modelSteps/length, 1)) {
		x := newTrial(t, seed)
		for range length {
			x.one()
			if t.Failed() {
				t.Fatalf("seed %d\n%s", seed, strings.Join(x.said, "\n"))
			}
		}
		x.end()
		if t.Failed() {
			t.Fatalf("seed %d\n%s", seed, strings.Join(x.said, "\n"))
		}
	}
}
