package integration

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	historySteps = flag.Int("history.steps", 10000, "how many acts TestHistory has done")
	historySeed  = flag.Uint64("history.seed", 1, "its first seed")
)

// lawTrial is a random history: processes act on locks of a mount, and the model says what must come of it.
type lawTrial struct {
	testing.TB
	seed   uint64
	r      *rand.Rand
	m      *mount
	model  *lawModel
	slots  []*performing
	born   int
	opened map[[2]int]int // the grant with which a process opened the creating handle of a name
	step   int
	said   []string
	about  string // the name that the last act was about
}

// TestHistory compares what every act of a random history comes to, who holds each lock after it and what is on disk
// with what the law says.
func TestHistory(t *testing.T) {
	const length = 1000
	for left, seed := *historySteps, *historySeed; left > 0; left, seed = left-length, seed+1 {
		t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) { newHistory(t, seed).run(min(left, length)) })
	}
}

func newHistory(t testing.TB, seed uint64) *lawTrial {
	h := &lawTrial{
		TB: t, seed: seed, r: rand.New(rand.NewPCG(seed, 11)), m: newMount(t, withContent(gitDirectory)),
		model: newLawModel("x.lock", "y.jsonl.lock", "z.lock", "w.lock.reclaim", "g/index.lock"), opened: map[[2]int]int{},
	}
	strict, err := os.ReadFile("/proc/sys/fs/protected_hardlinks")
	if err != nil {
		t.Fatal(err)
	}
	h.model.strict = strings.TrimSpace(string(strict)) != "0"
	h.slots = make([]*performing, 6)
	for slot := range h.slots {
		h.birth(slot)
	}
	return h
}

// gitDirectory makes what git takes for a repository of its own.
func gitDirectory(dir string) {
	for _, name := range []string{"g", "g/objects", "g/refs"} {
		os.Mkdir(filepath.Join(dir, name), 0o777)
	}
	os.WriteFile(filepath.Join(dir, "g/HEAD"), []byte("ref: refs/heads/main\n"), 0o666)
	os.Chmod(filepath.Join(dir, "g"), 0o777)
}

// birth starts a process: two are root's, two another user's, and two are children of the first.
func (h *lawTrial) birth(slot int) {
	var user *syscall.Credential
	var parent *performing
	switch slot {
	case 2, 3:
		user = nobody
	case 4, 5:
		parent = h.slots[h.r.IntN(2)]
	}
	h.born++
	a := startActor(h, h.born, user, parent)
	h.slots[slot] = a
	h.model.pids[a.number], h.model.uids[a.number] = a.pid, a.uid
}

func (h *lawTrial) run(steps int) {
	for h.step = 1; h.step <= steps; h.step++ {
		h.one()
	}
	for slot := range h.slots {
		h.dies(slot)
	}
	h.Logf("seed %d: %v", h.seed, h.model.seen)
}

// lawActs are what a step may be, with their weights.
var lawActs = []struct {
	weight int
	do     func(h *lawTrial, a *performing, i int)
}{
	{200, (*lawTrial).creates},
	{60, (*lawTrial).makes},
	{60, (*lawTrial).links},
	{110, (*lawTrial).removes},
	{60, (*lawTrial).closes},
	{40, (*lawTrial).replaces},
	{60, (*lawTrial).moves},
	{110, (*lawTrial).changes},
	{50, (*lawTrial).stats},
	{60, (*lawTrial).reads},
	{20, (*lawTrial).lists},
	{60, (*lawTrial).inside},
	{15, func(h *lawTrial, _ *performing, i int) { h.forces(i) }},
	{25, func(h *lawTrial, a *performing, _ int) { h.dies(slices.Index(h.slots, a)) }},
}

func (h *lawTrial) one() {
	a, i := h.slots[h.r.IntN(len(h.slots))], h.r.IntN(len(h.model.names))
	if n := h.model.names[i]; n.held() && h.r.IntN(3) == 0 { // else most of what is done is refused
		for _, owner := range h.slots {
			if owner.number == n.owner {
				a = owner
			}
		}
	}
	total := 0
	for _, act := range lawActs {
		total += act.weight
	}
	d := h.r.IntN(total)
	for _, act := range lawActs {
		if d -= act.weight; d < 0 {
			act.do(h, a, i)
			break
		}
	}
}

// has makes a process do something.
func (h *lawTrial) has(a *performing, act string, i int, text string) answer {
	n := h.model.names[i]
	h.about = n.path
	got := a.do(h, errand{Act: act, Lock: h.m.path(n.path), Text: text})
	h.says("P%d (%d, uid %d) %s %s %q: %s %q", a.number, a.pid, a.uid, act, n.path, text, errnoWord(got.Errno), got.Text)
	return got
}

func (h *lawTrial) says(format string, a ...any) {
	h.said = append(h.said, fmt.Sprintf("%4d  ", h.step)+fmt.Sprintf(format, a...))
}

func (h *lawTrial) fatal(format string, a ...any) {
	h.Helper()
	h.Fatalf("seed %d, step %d: %s\n%s", h.seed, h.step, fmt.Sprintf(format, a...), strings.Join(h.lastSaid(30), "\n"))
}

func errnoWord(errno syscall.Errno) string {
	if errno == 0 {
		return "ok"
	}
	return unix.ErrnoName(errno)
}

// lastSaid are the last steps, and of those before as many that are about the same name as the last.
func (h *lawTrial) lastSaid(count int) (lines []string) {
	from := max(len(h.said)-count, 0)
	for _, line := range slices.Backward(h.said[:from]) {
		if len(lines) < count && strings.Contains(line, " "+h.about) {
			lines = append(lines, line)
		}
	}
	slices.Reverse(lines)
	return append(append(lines, "..."), h.said[from:]...)
}

func (h *lawTrial) expect(got, want syscall.Errno) {
	h.Helper()
	if got != want {
		h.fatal("%s, the law says %s", errnoWord(got), errnoWord(want))
	}
	h.compare()
}

// writing is what a process may write into its lock.
func (h *lawTrial) writing(a *performing, kind byte) *lawFile {
	f := &lawFile{kind: kind, pid: a.pid}
	switch d := h.r.IntN(9); {
	case kind == 'd':
		return &lawFile{kind: kind, inside: map[string]*lawFile{}}
	case kind == 'l' && d < 6:
		f.text = fmt.Sprint(a.pid)
	case d == 0 && kind == 'f':
		f.pid = 0
	case d < 5 && kind == 'f':
		f.text, f.created = payload(a.pid, time.Now()), true
	case d == 5:
		f.text, f.data, f.pid = "data of the user's", true, 0
	case d == 6:
		f.text, f.pid = "4194305", 4194305 // there is none beyond pid_max
	case d == 7 && kind == 'f':
		f.text = fmt.Sprintf(`{"pid":%d}`, a.pid)
	default:
		f.text = fmt.Sprint(a.pid)
	}
	return f
}

func (h *lawTrial) creates(a *performing, i int) {
	f := h.writing(a, 'f')
	got := h.has(a, "create", i, f.text)
	want := h.model.creates(a.number, i, f, true)
	if want == 0 {
		h.opened[[2]int{a.number, i}] = h.model.names[i].grant
	}
	h.expect(got.Errno, want)
}

// makes is an exclusive act without a handle.
func (h *lawTrial) makes(a *performing, i int) {
	act, f := "mkdir", h.writing(a, 'd')
	switch h.r.IntN(3) {
	case 0:
		act, f = "symlink", h.writing(a, 'l')
	case 1:
		act, f = "mknod", &lawFile{kind: 'f'}
	}
	got := h.has(a, act, i, f.text)
	h.expect(got.Errno, h.model.creates(a.number, i, f, false))
}

// links is an exclusive act by which an older file gets the name.
func (h *lawTrial) links(a *performing, i int) {
	f := h.writing(a, 'f')
	got := h.has(a, []string{"link onto", "rename onto"}[h.r.IntN(2)], i, f.text)
	h.expect(got.Errno, h.model.creates(a.number, i, f, false))
}

func (h *lawTrial) removes(a *performing, i int) {
	how := "unlink"
	if f := h.model.names[i].file; f != nil && f.kind == 'd' != (h.r.IntN(8) == 0) {
		how = "rmdir"
	}
	if h.r.IntN(4) == 0 {
		how = "rename away"
	}
	got := h.has(a, how, i, "")
	h.expect(got.Errno, h.model.removes(a.number, i, how))
}

func (h *lawTrial) closes(a *performing, i int) {
	if h.r.IntN(2) == 0 { // else it would find none, most often
		for opened := range h.model.names {
			if h.opened[[2]int{a.number, opened}] != 0 {
				i = opened
			}
		}
	}
	grant := h.opened[[2]int{a.number, i}]
	got, want := h.has(a, "close", i, ""), syscall.Errno(0)
	if grant == 0 {
		want = syscall.EBADF
	}
	delete(h.opened, [2]int{a.number, i})
	h.model.closes(i, grant)
	h.settles("the close")
	h.expect(got.Errno, want)
}

func (h *lawTrial) replaces(a *performing, i int) {
	f := &lawFile{kind: 'f', text: fmt.Sprint("data of step ", h.step), data: true}
	got := h.has(a, "rename over", i, f.text)
	h.expect(got.Errno, h.model.replaces(a.number, i, f))
}

// moves is an act with two locks. What becomes nobody's must be data: else it is judged, which takes its time.
func (h *lawTrial) moves(a *performing, i int) {
	j := (i + 1 + h.r.IntN(len(h.model.names)-1)) % len(h.model.names)
	n, to := h.model.names[i], h.model.names[j]
	judged := func(f *lawFile, at *lawName) bool { return f != nil && !f.data && !at.held() }
	act, law := "move onto", h.model.movesOnto
	switch d := h.r.IntN(3); {
	case d == 0 && !judged(n.file, to):
		act, law = "move", h.model.moves
	case d == 1 && !judged(n.file, to) && !judged(to.file, n):
		act, law = "exchange", h.model.exchanges
	}
	got := h.has(a, act, i, h.m.path(to.path))
	h.expect(got.Errno, law(a.number, i, j))
}

func (h *lawTrial) changes(a *performing, i int) {
	ways := []string{"write", "write", "put", "truncate", "chmod", "touch", "setxattr", "link away"}
	act := ways[h.r.IntN(len(ways))]
	if f := h.model.names[i].file; act == "put" && f != nil && f.kind == 'l' {
		act = "write" // not to make what the link points to
	}
	text := fmt.Sprint("data of step ", h.step)
	got := h.has(a, act, i, text)
	h.expect(got.Errno, h.model.changes(a.number, i, act, text))
}

func (h *lawTrial) stats(a *performing, i int) {
	from := time.Now().UnixNano()
	got := h.has(a, "stat", i, "")
	to := time.Now().UnixNano()
	errno, exact := h.model.stats(a.number, i)
	h.expect(got.Errno, errno)
	if errno != 0 {
		return
	}
	st := stat(h, h.m.pathBelow(h.model.names[i].path))
	if got.Size != st.Size || got.Ino != st.Ino {
		h.fatal("size %d and inode %d, on disk %d and %d", got.Size, got.Ino, st.Size, st.Ino)
	}
	if now := from <= got.Mtime && got.Mtime <= to; exact && got.Mtime != st.Mtim.Nano() || !exact && !now {
		h.fatal("a time of %d, on disk %d; now is %d to %d", got.Mtime, st.Mtim.Nano(), from, to)
	}
}

// shownPID is what nobody but the owner may read, unless it is all that there is: see fsnode's rendered.
var shownPID = regexp.MustCompile(`"pid":\s*[0-9]`)

func (h *lawTrial) reads(a *performing, i int) {
	got := h.has(a, "read", i, "")
	errno, exact := h.model.reads(a.number, i)
	h.expect(got.Errno, errno)
	if errno != 0 {
		return
	}
	f := h.model.names[i].file
	want := f.text
	if f.kind == 'd' {
		want = strings.Join(f.insideNames(), " ")
	}
	if exact || !strings.HasPrefix(want, "{") {
		if got.Text != want {
			h.fatal("it reads as %q and is %q", got.Text, want)
		}
	} else if len(got.Text) != len(want) || shownPID.MatchString(got.Text) {
		h.fatal("somebody else reads %q as %q", want, got.Text)
	}
}

func (f *lawFile) insideNames() (names []string) {
	for name := range f.inside {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (h *lawTrial) lists(a *performing, i int) {
	got := h.has(a, "list", i, "")
	listed := slices.DeleteFunc(strings.Fields(got.Text), func(name string) bool { return !strings.Contains(name, ".lock") })
	if want := h.model.lists(a.number, i); strings.Join(listed, " ") != want {
		h.fatal("%q are listed, the law says %q", listed, want)
	}
	h.expect(got.Errno, 0)
}

func (h *lawTrial) inside(a *performing, i int) {
	if h.r.IntN(2) == 0 { // else there is none, most often
		for dir, n := range h.model.names {
			if n.file != nil && n.file.kind == 'd' {
				i = dir
			}
		}
	}
	name := fmt.Sprint("f", h.r.IntN(2))
	if h.r.IntN(3) == 0 {
		h.expect(h.has(a, "take from", i, name).Errno, h.model.takesFrom(a.number, i, name))
		return
	}
	f := h.writing(a, 'f')
	got := h.has(a, "put into", i, name+"="+f.text)
	h.expect(got.Errno, h.model.putsInto(a.number, i, name, f))
}

// forces is a person's word for a lock to go.
func (h *lawTrial) forces(i int) {
	path, force := h.model.names[i].path, h.r.IntN(3) > 0
	command := "release " + path
	if force {
		command = "release --force " + path
	}
	control, err := os.OpenFile(h.m.path(".sessionlockfs/control"), os.O_WRONLY, 0)
	if err != nil {
		h.Fatal(err)
	}
	var got syscall.Errno
	if _, err := control.WriteString(command); err != nil {
		got = err.(*os.PathError).Err.(syscall.Errno)
	}
	control.Close()
	h.says("a person says %q: %s", command, errnoWord(got))
	want := h.model.forces(i, force)
	h.settles("the release")
	h.expect(got, want)
}

// dies kills a process and puts another one into its place.
func (h *lawTrial) dies(slot int) {
	a := h.slots[slot]
	a.kill()
	h.says("P%d (%d) is killed", a.number, a.pid)
	for i := range h.model.names {
		delete(h.opened, [2]int{a.number, i})
	}
	h.model.dies(a.number)
	h.settles("the death")
	h.compare()
	h.birth(slot)
}

// settles waits for what takes its time: a death to be heard of, and what it left to go.
func (h *lawTrial) settles(after string) {
	h.Helper()
	for end := time.Now().Add(waitDeadline); h.difference() != ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.fatal("%v after %s: %s", waitDeadline, after, h.difference())
		}
	}
}

func (h *lawTrial) compare() {
	h.Helper()
	if d := h.difference(); d != "" {
		h.fatal("%s", d)
	}
}

// difference is the first between the law and what the server says and what is on disk.
func (h *lawTrial) difference() string {
	known := map[string]lockEntry{}
	for _, entry := range h.m.locks(h) {
		known[entry.Path] = entry
	}
	for _, n := range h.model.names {
		entry, is := known[n.path]
		if !is {
			entry.State = "free"
		}
		if entry.State != n.state || n.held() && entry.Owner.PID != h.model.pids[n.owner] {
			return fmt.Sprintf("%s is %s by %d, the law says %s by P%d", n.path, entry.State, entry.Owner.PID, n.state, n.owner)
		}
		if now, want := contentOf(h.m.pathBelow(n.path)), n.file.content(); now != want {
			return fmt.Sprintf("%s on disk: %q, the law says %q", n.path, now, want)
		}
	}
	return ""
}

// contentOf is what is under a path, in a word.
func contentOf(path string) string {
	if target, err := os.Readlink(path); err == nil {
		return "l:" + target
	}
	entries, err := os.ReadDir(path)
	if err == nil {
		text := "d:"
		for _, e := range entries {
			text += e.Name() + "=" + contentOf(filepath.Join(path, e.Name())) + ";"
		}
		return text
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return "f:" + string(content)
}

func (f *lawFile) content() string {
	if f == nil {
		return ""
	}
	text := string(f.kind) + ":" + f.text
	for _, name := range f.insideNames() {
		text += name + "=" + f.inside[name].content() + ";"
	}
	return text
}

// What a random history found: a name of git's that is remembered only for who had to give it up is git's all the same.
func TestGivenUpGitLockIsNotJudged(t *testing.T) {
	m := newMount(t, withContent(gitDirectory))
	const name = "g/index.lock"
	for _, force := range []string{"--force ", ""} {
		startHelper(t, nil, "hold", m.path(name)).line(t)
		mustRelease(t, m, name)
		waitFor(t, "it goes", waitDeadline, func() bool { return !m.exists(name) })
		writeFile(t, m.path(name), "not created exclusively\n")
		if _, err := createExclusively(m.path(name)); !os.IsExist(err) {
			t.Errorf("a create: %v", err)
		}
		if known := m.lock(t, name); known.State != "" {
			t.Errorf("%+v is known of it", known)
		}
		os.WriteFile(m.path(".sessionlockfs/control"), []byte("release "+force+name), 0)
		if reason := m.lock(t, name).Reason; force == "" && reason != "it is git's own, and git judges none" {
			t.Errorf("asked to release it: %q", reason)
		}
		if err := os.Remove(m.path(name)); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}

// What a random history found: a directory that becomes a lock by an exchange is its owner's inside, as any other.
func TestExchangedLockDirectoryIsProtectedInside(t *testing.T) {
	m := newMount(t)
	owner := startActor(t, 1, nil, nil)
	for _, e := range []errand{
		{Act: "create", Lock: m.path("x.lock")},
		{Act: "exchange", Lock: m.path("x.lock"), Text: m.path("directory")},
	} {
		if err := os.MkdirAll(m.path("directory"), 0o777); err != nil {
			t.Fatal(err)
		}
		if got := owner.do(t, e); got.Errno != 0 {
			t.Fatalf("%s: %v", e.Act, got.Errno)
		}
	}
	if known := m.lock(t, "x.lock"); known.Kind != "dir" || known.State != "held" {
		t.Errorf("known as %+v", known)
	}
	if _, err := createExclusively(m.path("x.lock/intruder")); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("somebody else puts something into it: %v", err)
	}
}
