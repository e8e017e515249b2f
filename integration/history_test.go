package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	historySteps = flag.Int("history.steps", 10_000, "how many acts TestHistory has done")
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
	seen := map[string]int{}
	for left, seed := *historySteps, *historySeed; left > 0; left, seed = left-length, seed+1 {
		t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
			h := newHistory(t, seed)
			h.run(min(left, length))
			for what, times := range h.model.seen {
				seen[what] += times
			}
		})
	}
	t.Log(seen)
	if len(seen) < 6 && *historySteps >= 10_000 {
		t.Errorf("too little happened: %v", seen)
	}
}

func newHistory(t testing.TB, seed uint64) *lawTrial {
	options := []mountOption{withContent(gitDirectory)}
	if seed%4 == 0 {
		options = append(options, identifiedByProc())
	}
	h := &lawTrial{
		TB: t, seed: seed, r: rand.New(rand.NewPCG(seed, 11)), m: newMount(t, options...),
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
	if n := h.model.names[i]; (n.state == "abandoned" || n.state == "untracked") && h.r.IntN(3) == 0 { // else all would be, soon
		h.removes(a, i)
		return
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
