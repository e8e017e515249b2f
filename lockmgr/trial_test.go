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

var modelSteps = flag.Int("model.steps", 200_000, "random steps to compare with the model")

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
	hold  [4]int         // who believes to hold each name, 0 for nobody: kept apart from the model
	sure  map[*node]bool // files that a person said are to go
	news  []int          // deaths that are not told yet
}

func newTrial(t *testing.T, seed uint64) *trial {
	w := newWorld(t)
	w.quiet = true
	x := &trial{
		t: t, r: rand.New(rand.NewPCG(seed, 7)), w: w, s: &stage{world: w}, m: newModel(w.now),
		keys:  []Key{key("x.jsonl.lock"), key("y.lock"), key("d2/z.lock"), key("g1/index.lock")},
		slots: make([]int, 5), procs: map[int]Process{0: {}}, files: map[*node]int{},
		sure: map[*node]bool{},
	}
	x.m.procs[0] = &modelProc{}
	x.m.limit = []HoldLimit{{}, {For: 90 * time.Second}, {Declared: true}}[seed%3]
	w.limitHolds(x.m.limit)
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
	born := &modelProc{pids: []int{201 + slot, 11 + slot}, blind: blind}
	for range x.r.IntN(3) { // shells above it
		if shell := x.slots[x.r.IntN(5)]; shell != 0 && shell != x.slots[slot] && !slices.Contains(born.shells, shell) {
			born.shells = append(born.shells, shell)
			of := x.procs[shell]
			of.Shells = nil
			p.Shells = append(p.Shells, of)
		}
	}
	x.procs[x.born], x.m.procs[x.born] = p, born
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
	slot, i := r.IntN(5), r.IntN(len(x.keys))
	j := (i + 1 + r.IntN(len(x.keys)-1)) % len(x.keys)
	p := x.slots[slot]
	if r.IntN(12) == 0 {
		p = 0
	}
	pr, k, n := x.procs[p], x.keys[i], m.names[i]
	say := func(verb string) string { return fmt.Sprintf("P%d %s %s", p, verb, k.Name) }
	two := func(verb string) string { return fmt.Sprintf("%s %s", say(verb), x.keys[j].Name) }
	before := x.protected()
	mayGo := set{} // the names whose lock this step may take from its holder
	x.sticks(r.IntN(16) == 0)
	switch d := r.IntN(130); {
	case d < 22:
		x.creates(p, i)
	case d < 24:
		c := []Content{file(""), {Kind: KindDir}}[r.IntN(2)]
		want := m.bears(p, i, len(x.files)+1, c.Kind == KindDir)
		got := w.bears(pr, k, c)
		x.file(k)
		x.check(say("bears"), got, want)
	case d < 26:
		kind := []string{"session", "pid", "data"}[r.IntN(3)]
		want := m.puts(p, i, len(x.files)+1, kind, x.pidIn(kind, p))
		got := w.puts(pr, k, payload(kind, pr, w.now))
		x.file(k)
		x.check(say("puts "+kind+" into"), got, want)
	case d < 40:
		lets := x.lets(i)
		want, got := m.removes(p, i), w.removes(pr, k)
		if got == "ok" {
			x.givesUp(i, p, lets)
		}
		x.check(say("removes"), got, want)
	case d < 44:
		tmp := key(fmt.Sprint("tmp", x.step))
		w.puts(pr, tmp, payload("data", pr, w.now))
		next := x.file(tmp)
		want, got := m.replaces(p, i, next), w.moves(pr, tmp, k)
		w.outsiderRemoves(tmp)
		if got == "ok" && (n.owner == p || n.git) {
			mayGo[i] = true
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
		x.lists(p)
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
	case d < 100:
		force := r.IntN(2) == 0
		want, got := m.forces(i, force), x.s.force(nameOf(k), force)
		if got == "ok" {
			x.hold[i] = 0
			x.sure[w.disk[k]] = true
			mayGo[i] = true
		}
		x.check(say(fmt.Sprintf("is asked to release (force %t)", force)), got, want)
	case d < 104:
		want, got := m.links(p, i, j), w.links(pr, k, x.keys[j])
		if got == "granted" {
			x.wins(j, p)
		}
		x.check(two("links"), got, want)
	case d < 108:
		lets := x.lets(i)
		want, got := m.renames(p, i, j), w.renames(pr, k, x.keys[j])
		if got == "granted" {
			x.givesUp(i, p, lets)
			x.wins(j, p)
		}
		x.check(two("renames"), got, want)
	case d < 111:
		lets := x.lets(i)
		want, got := m.moves(p, i, j), w.moves(pr, k, x.keys[j])
		if got == "ok" && w.disk[k] == nil {
			x.givesUp(i, p, lets)
			mayGo[j] = m.names[j].owner == p || m.names[j].git
		}
		x.check(two("moves"), got, want)
	case d < 113:
		x.check(two("exchanges"), w.exchanges(pr, k, x.keys[j]), m.exchanges(p, i, j))
		ours := func(n *modelName) bool { return n.owner == p || n.git }
		mayGo[i], mayGo[j] = ours(n), ours(m.names[j])
	default:
		x.inside(p, i)
	}
	x.inherit()
	x.compare()
	x.stillThere(before, mayGo)
}

// set is some of the names.
type set map[int]bool

// creates is one of the ways to make something new, by the process or a helper of its.
func (x *trial) creates(p, i int) {
	pr, k := x.procs[p], x.keys[i]
	open, dir := x.r.IntN(3) > 0, x.r.IntN(4) == 0
	c := file("")
	if dir {
		c, open = Content{Kind: KindDir}, false
	}
	pr.ByHelper = p != 0 && x.r.IntN(3) == 0
	want := x.m.creates(p, i, len(x.files)+1, dir, open, pr.ByHelper)
	got := x.w.creates(fmt.Sprint("P", p), pr, k, c, open)
	if got == "granted" {
		x.file(k)
		x.wins(i, p)
		if !dir && x.r.IntN(4) > 0 {
			x.writes(p, i)
		}
	}
	x.check(fmt.Sprintf("P%d creates %s (directory %t, for it %t)", p, k.Name, dir, pr.ByHelper), got, want)
}

// inside is an act in what may be a lock directory.
func (x *trial) inside(p, i int) {
	pr, n := x.procs[p], x.w.disk[x.keys[i]]
	if n == nil || n.c.Kind != KindDir {
		return
	}
	name := fmt.Sprint("f", x.r.IntN(2))
	k := Key{n.id, name}
	if x.r.IntN(3) == 0 {
		x.check(fmt.Sprintf("P%d takes %s from %s", p, name, x.keys[i].Name), x.w.removes(pr, k), x.m.takesFrom(p, i, name))
		return
	}
	kind := []string{"nothing", "pid", "pid", "session", "data"}[x.r.IntN(5)]
	by := p
	if shells := x.m.procs[p].shells; len(shells) > 0 && x.r.IntN(3) == 0 {
		by = shells[0]
	}
	want := x.m.putsInto(p, i, name, kind, x.pidIn(kind, by))
	x.check(fmt.Sprintf("P%d puts %s into %s/%s", p, kind, x.keys[i].Name, name), x.w.puts(pr, k, payload(kind, x.procs[by], x.w.now)), want)
}

func (x *trial) lists(p int) {
	var b strings.Builder
	for _, k := range x.keys {
		shown := x.w.m.Listed(k, x.procs[p].Identity) == Shown && x.w.disk[k] != nil
		fmt.Fprintf(&b, "%t ", shown)
	}
	x.check(fmt.Sprintf("P%d lists", p), b.String(), x.m.lists(p))
	x.check("the snapshot", fmt.Sprint(len(x.w.m.Snapshot())), fmt.Sprint(x.m.tracked()))
}

// lets reports whether others may take the lock from its holder: git never minds, and it
// may be held for too long.
func (x *trial) lets(i int) bool { return x.m.names[i].git || x.m.overdue(x.m.names[i]) }

// inherit has shells hold what was made for them, and tells of those that are dead.
func (x *trial) inherit() {
	for i, shell := range x.m.heirs {
		if x.hold[i] != 0 || !x.m.procs[shell].dead {
			x.hold[i] = shell
		}
		if n := x.m.names[i]; x.m.procs[shell].dead || n.owner != shell || n.state != "held" {
			x.hold[i] = 0
		}
		delete(x.m.heirs, i)
	}
	x.news = append(x.news, x.m.fresh...)
	x.m.fresh = nil
}

// pidIn is the PID in what a process writes.
func (x *trial) pidIn(kind string, p int) int {
	switch kind {
	case "foreign":
		return 4242
	case "data", "nothing":
		return 0
	}
	return int(x.procs[p].PID)
}

// sticks has the disk refuse to remove anything for a step, or not.
func (x *trial) sticks(stuck bool) {
	x.m.stuck, x.w.rmFail = stuck, nil
	if stuck {
		x.w.rmFail = errors.New("read-only file system")
	}
}

func nameOf(k Key) string {
	switch {
	case k.Dir == dirOne:
		return k.Name
	case k.Dir.Ino > gitDirs:
		return "g1/" + k.Name
	}
	return "d2/" + k.Name
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
	token := x.w.m.names.at(k).token
	if token <= x.token {
		x.fatal("token %d comes after %d", token, x.token)
	}
	x.token = token
}

func (x *trial) writes(p, i int) {
	kinds := []string{"nothing", "session", "session", "hold:60", "pid", "started", "data", "foreign"}
	kind, by := kinds[x.r.IntN(len(kinds))], p
	if shells := x.m.procs[p].shells; len(shells) > 0 && x.r.IntN(3) == 0 {
		by = shells[x.r.IntN(len(shells))]
	}
	if p == 0 {
		kind = "nothing"
	}
	x.w.disk[x.keys[i]].c.Data = payload(kind, x.procs[by], x.w.now)
	f := x.m.files[x.m.names[i].file]
	f.text, f.pid = kind, x.pidIn(kind, by)
	x.said = append(x.said, fmt.Sprintf("   P%d writes %s of P%d", p, kind, by))
}

// closes plays FLUSH, RELEASE or both. It answers the name that may go.
func (x *trial) closes(p, i, how int) set {
	actor, k := fmt.Sprint("P", p), x.keys[i]
	h := x.w.handleOf(actor, k)
	if h == nil {
		return nil
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
		return set{i: true}
	}
	return nil
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
	killed := x.r.IntN(2) == 0
	x.m.procs[p].dead, x.m.procs[p].killed = true, killed
	x.w.killed[x.procs[p].Identity] = killed
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
	x.inherit()
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
	news := x.news
	x.news = nil
	for _, p := range news {
		x.m.died(p)
	}
	x.inherit()
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
	if want == "EIO" && got == "EBUSY" { // it could not even be emptied
		got = want
	}
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
	maker := x.slots[x.r.IntN(5)]
	text := payload(kind, x.procs[maker], x.w.now)
	f := x.m.files[n.file]
	switch {
	case n.there && f.dir:
		return
	case n.there && x.free(n.file) && x.r.IntN(3) == 0:
		x.w.outsiderWrites(k, text)
		x.said = append(x.said, fmt.Sprintf("%d. an outsider writes %s into %s", x.step, kind, k.Name))
		f.text, f.pid = kind, x.pidIn(kind, maker)
	case n.there:
		x.w.outsiderRemoves(k)
		n.there, x.hold[i] = false, 0
		x.said = append(x.said, fmt.Sprintf("%d. an outsider removes %s", x.step, k.Name))
	case n.held() && !n.adopted:
	default:
		x.w.outsiderMakes(k, Content{Data: text})
		x.said = append(x.said, fmt.Sprintf("%d. an outsider makes %s with %s", x.step, k.Name, kind))
		n.there, n.file = true, x.file(k)
		x.m.files[n.file] = &modelFile{text: kind, pid: x.pidIn(kind, maker)}
	}
}

// free reports whether nobody holds the file by any name.
func (x *trial) free(file int) bool {
	for _, n := range x.m.names {
		if n.held() && n.mine == file {
			return false
		}
	}
	return true
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
	if e := x.w.m.names.at(k); n.state == "untracked" && n.mine != ask.file && e.inode == u.inode {
		return // the judge has the file open, so no other one gets its number meanwhile
	}
	about := ask.about
	if now := x.m.files[ask.file]; x.r.IntN(2) == 0 {
		about, _ = now.shape()
	}
	f.About = Payload{
		PID: int64(about.pid), CreatedAt: about.created, Empty: about.empty, MaxHold: time.Duration(about.hold) * time.Second,
	}
	x.said = append(x.said, fmt.Sprintf("%d. %s is judged %s (P%d), of %+v", x.step, k.Name, verdict, p, about))
	was := n.state
	x.w.m.Judged(k, u.inode, f)
	x.m.judged(ask, verdict, p, about)
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
		e := x.w.m.names.at(k)
		if e != nil {
			if got, token = e.state.String(), e.token; e.leaving {
				got = "leaving"
			}
			if e.state == Held && e.owner.Identity != x.procs[n.owner].Identity {
				x.fatal("%s is held by %v, the law says P%d", k.Name, e.owner.Identity, n.owner)
			}
		}
		for _, p := range x.slots {
			if fenced := x.w.m.Fenced(x.procs[p].Identity, k); fenced != x.m.fence[[2]int{p, i}] {
				x.fatal("P%d is fenced from %s: %t", p, k.Name, fenced)
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
	if _, ok := ParsePayload(l.c); !ok && !x.sure[l.n] && l.k.Dir.Ino < gitDirs && !x.emptied(l) {
		x.fatal("a %s removed %s: %q", l.by, l.k.Name, l.c.Data)
	}
}

// emptied reports whether it was in a directory that a person said is to go.
func (x *trial) emptied(l lostFile) bool {
	for n := range x.sure {
		if n != nil && n.id == l.k.Dir {
			return true
		}
	}
	return false
}

// givesUp is the end of a hold by its holder's own removal: nobody else's may succeed,
// unless others may take it.
func (x *trial) givesUp(i, p int, lets bool) {
	if p != 0 && x.m.heirs[i] == p { // it became its in this very step
		x.hold[i] = p
		delete(x.m.heirs, i)
	}
	if h := x.hold[i]; !lets && (h > 0 && h != p || h < 0 && p != 0) {
		x.fatal("P%d removed %s, which P%d holds", p, x.keys[i].Name, h)
	}
	x.hold[i] = 0
}

// protected lists the files that somebody holds.
func (x *trial) protected() (files [4]*node) {
	for i, k := range x.keys {
		if x.hold[i] != 0 {
			files[i] = x.w.disk[k]
		}
	}
	return files
}

// stillThere checks that a step took nothing from a holder, but what it gave itself.
func (x *trial) stillThere(before [4]*node, mayGo set) {
	for i, n := range before {
		if n != nil && !mayGo[i] && x.hold[i] != 0 && x.w.disk[x.keys[i]] != n {
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
