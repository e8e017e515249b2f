package lockmgr

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var modelSteps = flag.Int("model.steps", 1_000_000, "random steps to compare with the model")

// model is the law for three names, written from its text: what is known
// of each name, and what comes of each act. Processes are numbers; 0 is the unnamed.
type model struct {
	names []*modelName
	procs map[int]*modelProc
	now   time.Time
	grant int // grants so far
	reaps []errand
	asks  []errand // of the judge
	stuck bool     // nothing can be removed from the disk for now
}

// errand is what the reaper or the judge is sent for.
type errand struct {
	i     int // the name
	grant int // of the lock that is to go
	file  int // to be judged
}

// reaper is the number of the mount process.
const reaper = -1

type modelProc struct {
	pids  []int // what it may call itself
	dead  bool
	blind bool // nobody tells of its death
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
	adopted bool        // it was made past the mount by its owner
	sure    bool        // a person said that it is to go
	asked   time.Time   // when it was last met as untracked
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
	n.closed, n.second, n.told, n.sure, n.adopted, n.asked = false, false, false, false, false, time.Time{}
}

func (n *modelName) held() bool { return n.state == "held" || n.state == "unknown_owner" }

// notice is a death of which no news came yet, or never will: found by whoever comes by.
func (m *model) notice(i int) {
	n := m.names[i]
	if n.state == "held" && !n.told && m.procs[n.owner].dead {
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
	case !m.recognised(n):
		n.state = "abandoned"
	case n.evidence:
		n.state = "orphan"
	default:
		m.departs(i)
	}
}

func (m *model) departs(i int) {
	n := m.names[i]
	n.state = "leaving"
	m.reaps = append(m.reaps, errand{i: i, grant: n.grant})
}

// recognised is what may be removed: what is surely its owner's lock, or what was
// judged by who has it open. On a person's word everything goes.
func (m *model) recognised(n *modelName) bool {
	switch {
	case n.sure || n.text == "nothing":
		return true
	case n.owner == 0, n.second && n.keepsOpen():
		return n.keepsOpen()
	}
	return slices.Contains(m.procs[n.owner].pids, n.pid)
}

// keepsOpen is the shape of locks whose makers keep them open: with createdAt, or an
// empty "*.jsonl.lock".
func (n *modelName) keepsOpen() bool {
	return n.text == "session" || n.text == "foreign" || n.text == "hold:60" || n.text == "nothing" && n.evidence
}

// look is a LOOKUP: whether the name is shown.
func (m *model) look(p, i int, creating bool) bool {
	m.notice(i)
	n := m.names[i]
	switch {
	case n.adopted && n.state == "held" && (!n.there || n.file != n.mine): // released past the mount
		n.free()
	case n.held() && n.owner == p && !n.there: // it finds its own lock gone
		n.free()
	case n.state != "free" && !n.held() && (!n.there || n.file != n.mine):
		n.free()
	}
	if creating && n.there && (n.state == "free" || n.state == "untracked") {
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
	n.state, n.mine, n.asked = "untracked", n.file, m.now
	if n.keepsOpen() {
		m.asks = append(m.asks, errand{i: i, file: n.file})
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

func (m *model) creates(p, i, file int, open bool) string {
	n := m.names[i]
	if got := m.bears(p, i, file); got != "ok" {
		return got
	}
	m.grant++
	n.state, n.mine, n.owner, n.grant, n.since = "held", file, p, m.grant, m.now
	if open {
		n.open = map[int]bool{p: true}
	}
	delete(n.looked, p)
	if p == 0 {
		n.state = "unknown_owner"
	}
	return "granted"
}

// bears is an exclusive act that is granted to nobody.
func (m *model) bears(p, i, file int) string {
	n := m.names[i]
	if m.look(p, i, true) || n.held() {
		return "EEXIST"
	}
	if n.state == "orphan" || n.state == "leaving" {
		if got := m.clears(n); got != "" {
			return got
		}
	}
	n.there, n.file, n.text, n.pid = true, file, "nothing", 0
	return "ok"
}

// puts is an open for writing that creates, but not exclusively.
func (m *model) puts(p, i, file int, text string, pid int) string {
	n := m.names[i]
	got := m.changes(p, i)
	if got == "ENOENT" { // or so it looks
		switch {
		case n.held():
			return "EEXIST"
		case n.state == "leaving":
			if got := m.clears(n); got != "" {
				return got
			}
		}
		n.there, n.file, got = true, file, "ok"
	}
	if got == "ok" {
		n.text, n.pid = text, pid
	}
	return got
}

func (m *model) removes(p, i int) string {
	n := m.names[i]
	if !m.look(p, i, false) {
		return "ENOENT"
	}
	late := n.late(p)
	defer n.used(p)
	switch {
	case n.state == "held" && n.owner == p:
		first := n.doubled[p] // the first caller's, come late: this lock is its neighbour's
		if m.mayBeSecond(n, first) {
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

// mayBeSecond is rule 6: the handle is open, and the lock is of a client that keeps it
// so. One that is not written yet may be, if its neighbour's removal is still to come.
func (m *model) mayBeSecond(n *modelName, first bool) bool {
	limit := 7 * time.Minute
	if n.text == "hold:60" {
		limit = 3 * time.Minute
	}
	shape := n.keepsOpen() || first && n.text == "nothing"
	return shape && len(n.open) > 0 && !n.closed && m.now.Sub(n.since) < limit
}

// replaces is a rename of a file of data over the name.
func (m *model) replaces(p, i, file int) string {
	m.look(p, i, false)
	n := m.names[i]
	switch {
	case n.held() && n.owner != p:
		return "EBUSY"
	case n.held():
		n.mine, n.second = file, false
	default:
		n.free()
	}
	n.there, n.file, n.text, n.pid = true, file, "data", 0
	return "ok"
}

func (m *model) changes(p, i int) string {
	n := m.names[i]
	switch {
	case !m.look(p, i, false):
		return "ENOENT"
	case n.held() && n.owner != p:
		return "EBUSY"
	}
	return "ok"
}

func (m *model) sees(p, i int, opens bool) string {
	n := m.names[i]
	switch {
	case !m.look(p, i, false):
		return "ENOENT"
	case n.held() && n.owner != p:
		if opens {
			delete(n.looked, p)
		}
		return "fresh"
	case !n.held() && n.state != "free" && p != 0:
		n.looked[p] = n.grant
	}
	return "exact"
}

func (m *model) lists(p int) string {
	var b strings.Builder
	for _, n := range m.names {
		shown := n.there && n.state != "leaving" && (!n.held() || n.owner == p)
		fmt.Fprintf(&b, "%t ", shown)
	}
	return b.String()
}

// tracked is how many locks there are to show.
func (m *model) tracked() (count int) {
	for i, n := range m.names {
		if m.notice(i); n.state != "free" && n.state != "leaving" {
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
	if n.there && n.file == n.mine {
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
	n.sure = true
	m.departs(i)
	return "ok"
}

// judged is a verdict on a file. Who is alive must be known to be protected.
func (m *model) judged(e errand, verdict string, owner int) {
	i, n := e.i, m.names[e.i]
	switch {
	case n.state != "untracked" || n.mine != e.file:
	case verdict == "alive" && owner != 0 && (!n.there || n.file != n.mine):
		n.free()
	case verdict == "alive" && owner != 0:
		n.adopted = true
		m.grant++
		n.state, n.owner, n.grant, n.since = "held", owner, m.grant, m.now
	case verdict != "dead":
	case !n.there || n.file != n.mine:
		n.free()
	case !n.keepsOpen(): // it changed since
	case n.evidence:
		n.state = "orphan"
	default:
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
	hold  [3]int         // who believes to hold each name, 0 for nobody: kept apart from the model
	sure  map[*node]bool // files that a person said are to go
	news  []int          // deaths that are not told yet
}

func newTrial(t *testing.T, seed uint64) *trial {
	w := newWorld(t)
	w.quiet = true
	x := &trial{
		t: t, r: rand.New(rand.NewPCG(seed, 7)), w: w, s: &stage{world: w}, m: newModel(w.now),
		keys:  []Key{key("x.jsonl.lock"), key("y.lock"), key("d2/z.lock")},
		slots: make([]int, 5), procs: map[int]Process{0: {}}, files: map[*node]int{},
		sure: map[*node]bool{},
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
	x.sticks(r.IntN(16) == 0)
	switch d := r.IntN(100); {
	case d < 22:
		open := r.IntN(3) > 0
		next := len(x.files) + 1
		want := m.creates(p, i, next, open)
		got := w.creates(actor, pr, k, file(""), open)
		if got == "granted" {
			x.file(k)
			x.wins(i, p)
			if r.IntN(4) > 0 {
				x.writes(p, i, open)
			}
		}
		x.check(say("creates"), got, want)
	case d < 24:
		want := m.bears(p, i, len(x.files)+1)
		got := w.bears(pr, k, file(""))
		x.file(k)
		x.check(say("bears"), got, want)
	case d < 26:
		kind, pid := []string{"session", "pid", "data"}[r.IntN(3)], int(pr.PID)
		if kind == "data" {
			pid = 0
		}
		want := m.puts(p, i, len(x.files)+1, kind, pid)
		got := w.puts(pr, k, payload(kind, pr, w.now))
		x.file(k)
		x.check(say("puts "+kind+" into"), got, want)
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
			shown := w.m.Listed(k, pr.Identity) == Shown && w.disk[k] != nil
			fmt.Fprintf(&b, "%t ", shown)
		}
		x.check(say("lists"), b.String(), m.lists(p))
		x.check("the snapshot", fmt.Sprint(len(w.m.Snapshot())), fmt.Sprint(m.tracked()))
	case d < 72:
		mayGo = x.closes(p, i, r.IntN(4))
	case d < 75:
		x.inherits(p, x.slots[r.IntN(5)], i)
	case d < 80:
		x.dies(slot)
	case d < 87:
		x.reaps()
	case d < 88:
		x.tells()
	case d < 90:
		m.now = m.now.Add(time.Duration(r.IntN(100)) * time.Second)
		w.now = m.now
	case d < 94:
		x.outsider(i)
	case d < 98:
		x.judges(p)
	default:
		force := r.IntN(2) == 0
		want, got := m.forces(i, force), x.s.force(nameOf(k), force)
		if got == "ok" {
			x.hold[i] = 0
			x.sure[w.disk[k]] = true
			mayGo = i
		}
		x.check(say(fmt.Sprintf("is asked to release (force %t)", force)), got, want)
	}
	x.compare()
	x.stillThere(before, mayGo)
}

// sticks has the disk refuse to remove anything for a step, or not.
func (x *trial) sticks(stuck bool) {
	x.m.stuck, x.w.rmFail = stuck, nil
	if stuck {
		x.w.rmFail = errors.New("read-only file system")
	}
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

func (x *trial) writes(p, i int, open bool) {
	kinds := []string{"nothing", "session", "session", "hold:60", "pid", "started", "data", "foreign"}
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
	x.w.slow = true
	x.w.dies(x.procs[p], false)
	if !x.m.procs[p].blind {
		x.news = append(x.news, p)
	}
	if x.r.IntN(3) > 0 {
		x.tells()
	}
	x.birth(slot)
}

// tells tells the news of deaths that are on their way.
func (x *trial) tells() {
	x.said = append(x.said, fmt.Sprintf("%d. the news of deaths comes: %v", x.step, x.news))
	x.w.slow = false
	x.w.tellDeaths()
	for _, p := range x.news {
		x.m.died(p)
	}
	x.news = nil
}

func (x *trial) reaps() {
	if len(x.w.reaps) != len(x.m.reaps) {
		x.fatal("%d reaps are queued, the law says %d", len(x.w.reaps), len(x.m.reaps))
	}
	if len(x.w.reaps) == 0 {
		return
	}
	at := x.w.reaps[0]
	i := slices.Index(x.keys, at.k)
	mine := slices.Index(x.m.reaps, errand{i: i, grant: int(at.token)})
	if mine < 0 {
		x.fatal("a reap of %v was never asked for", at)
	}
	x.m.reaps = slices.Delete(x.m.reaps, mine, mine+1)
	x.w.away = x.r.IntN(4) == 0
	want, got := x.m.reaped(errand{i: i, grant: int(at.token)}, x.w.away), x.w.reap()
	got, _, _ = strings.Cut(got, ",") // past the mount or through it
	if want == "stays" && (got == "EBUSY" || got == "ENOENT" || got == "ESTALE") {
		got = want
	}
	x.check(fmt.Sprintf("the reaper at %s (away %t, stuck %t)", at.k.Name, x.w.away, x.m.stuck), got, want)
}

// outsider removes, makes or writes files past the mount. It makes none where one is
// held and gone: then the mount can't tell them apart by name.
func (x *trial) outsider(i int) {
	k, n := x.keys[i], x.m.names[i]
	kind := []string{"nothing", "session", "session", "pid", "data"}[x.r.IntN(5)]
	maker := x.procs[x.slots[x.r.IntN(5)]]
	switch {
	case n.there && !n.held() && x.r.IntN(3) == 0:
		x.w.outsiderWrites(k, payload(kind, maker, x.w.now))
		x.said = append(x.said, fmt.Sprintf("%d. an outsider writes %s into %s", x.step, kind, k.Name))
	case n.there:
		x.w.outsiderRemoves(k)
		n.there, x.hold[i] = false, 0
		x.said = append(x.said, fmt.Sprintf("%d. an outsider removes %s", x.step, k.Name))
		return
	case n.held() && !n.adopted:
		return
	default:
		x.w.outsiderMakes(k, Content{Data: payload(kind, maker, x.w.now)})
		x.said = append(x.said, fmt.Sprintf("%d. an outsider makes %s with %s", x.step, k.Name, kind))
	}
	n.there, n.file, n.text, n.pid = true, x.file(k), kind, int(maker.PID)
	if kind == "data" {
		n.pid = 0
	}
}

// judges plays the judge on one of its errands.
func (x *trial) judges(p int) {
	if len(x.w.judging) != len(x.m.asks) {
		x.fatal("%d judgements are asked for, the law says %d", len(x.w.judging), len(x.m.asks))
	}
	if len(x.m.asks) == 0 {
		return
	}
	at := x.r.IntN(len(x.m.asks))
	if x.r.IntN(2) == 0 {
		at = len(x.m.asks) - 1
	}
	ask, u := x.m.asks[at], x.w.judging[at]
	x.m.asks, x.w.judging = slices.Delete(x.m.asks, at, at+1), slices.Delete(x.w.judging, at, at+1)
	i := ask.i
	n, k := x.m.names[i], x.keys[i]
	if u.k != k {
		x.fatal("a judgement of %s is asked for, the law says %s", u.k.Name, k.Name)
	}
	verdict, f := "unknown", Finding{}
	switch x.r.IntN(5) {
	case 0, 1:
		verdict, f.Verdict = "dead", []Verdict{Dead, Recycled}[x.r.IntN(2)]
	case 2, 3:
		verdict, f.Verdict, f.Owner = "alive", Alive, x.procs[p]
	}
	if e := x.w.m.names[k]; n.state == "untracked" && n.mine != ask.file && e.inode == u.inode {
		return // the judge has the file open, so no other one gets its number meanwhile
	}
	x.said = append(x.said, fmt.Sprintf("%d. %s is judged %s (P%d)", x.step, k.Name, verdict, p))
	was := n.state
	x.w.m.Judged(k, u.inode, f)
	x.m.judged(ask, verdict, p)
	if was == "untracked" && n.state == "held" {
		if x.hold[i] = p; x.w.disk[k] == nil {
			x.hold[i] = 0
		}
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

// lost checks that what we removed was surely a lock, or that a person said so.
func (x *trial) lost(l lostFile) {
	if _, ok := ParsePayload(l.c); !ok && !x.sure[l.n] {
		x.fatal("a %s removed %s: %q", l.by, l.k.Name, l.c.Data)
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
	x.tells()
	for i, k := range x.keys {
		x.m.look(x.slots[0], i, false)
		x.w.looks(x.procs[x.slots[0]].Identity, k, false)
	}
	x.sticks(false)
	for len(x.w.reaps) > 0 {
		x.reaps()
	}
	for i, k := range x.keys { // the abandoned among them
		if x.s.force(nameOf(k), true) == "ok" {
			x.sure[x.w.disk[k]] = true
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
