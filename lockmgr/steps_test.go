package lockmgr

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// history is a row of the law's tables: what happens, in words, each with what must
// come of it after the colon ("ok" where nothing is said).
type history struct {
	name  string
	steps []string
}

func play(t *testing.T, rows []history) {
	t.Helper()
	for _, row := range rows {
		t.Run(strings.ReplaceAll(row.name, " ", "_"), func(t *testing.T) {
			s := &stage{world: newWorld(t), shells: map[string][]string{}, helping: map[string]bool{}}
			for i, step := range row.steps {
				what, want, ok := strings.Cut(step, ": ")
				if !ok {
					want = "ok"
				}
				if got := s.do(what); got != want {
					t.Fatalf("step %d, %s: got %q, want %q\nlog: %s", i+1, what, got, want, s.story())
				}
				s.tellDeaths()
				s.noLeaks()
			}
		})
	}
}

// stage is a world in which steps are played.
type stage struct {
	*world
	late []func() // RELEASEs under way
	seen int      // events that were looked at

	stale bool // a finding is about something else than what is there

	shells  map[string][]string // above each actor
	helping map[string]bool     // actors that are shells for which a helper acts
}

// process is the actor's, with what is known of the shells above it.
func (s *stage) process(actor string) Process {
	p := process(actor)
	for _, shell := range s.shells[actor] {
		p.Shells = append(p.Shells, process(shell))
	}
	p.ByHelper = s.helping[actor]
	return p
}

// verb is one form of a step. Its pattern's groups are do's arguments; in the pattern
// A stands for an actor and N for a name.
type verb struct {
	pattern string
	do      func(s *stage, a []string) string
}

var verbs = []verb{
	{`A creates N`, func(s *stage, a []string) string {
		return s.creates(a[0], s.process(a[0]), s.key(a[1]), file(""), true)
	}},
	{`A creates N with (\S+)`, func(s *stage, a []string) string {
		p, k := s.process(a[0]), s.key(a[1])
		got := s.creates(a[0], p, k, file(""), true)
		if got == "granted" {
			s.writes(a[0], k, payload(a[2], p, s.clock()))
		}
		return got
	}},
	{`A drops N with (\S+)`, func(s *stage, a []string) string { // as a shell does: create, write, close
		p, k := s.process(a[0]), s.key(a[1])
		got := s.creates(a[0], p, k, file(""), true)
		if got == "granted" {
			s.writes(a[0], k, payload(a[2], p, s.clock()))
			s.closes(a[0], p, k)
		}
		return got
	}},
	{`A writes (\S+) into N`, func(s *stage, a []string) string {
		return s.writes(a[0], s.key(a[2]), payload(a[1], s.process(a[0]), s.clock()))
	}},
	{`A makes directory N`, func(s *stage, a []string) string {
		return s.creates(a[0], s.process(a[0]), s.key(a[1]), Content{Kind: KindDir}, false)
	}},
	{`A makes symlink N to (\S+)`, func(s *stage, a []string) string {
		p := s.process(a[0])
		target := []byte(a[2])
		if a[2] == "itself" {
			target = strconv.AppendInt(nil, int64(p.PID), 10)
		}
		return s.creates(a[0], p, s.key(a[1]), Content{Kind: KindSymlink, Data: target}, false)
	}},
	{`A makes fifo N`, func(s *stage, a []string) string {
		return s.creates(a[0], s.process(a[0]), s.key(a[1]), Content{Kind: KindOther}, false)
	}},
	{`A bears directory N`, func(s *stage, a []string) string { // granted to nobody
		return s.bears(s.process(a[0]), s.key(a[1]), Content{Kind: KindDir})
	}},
	{`the mount can't be reached`, func(s *stage, _ []string) string { s.away = true; return "ok" }},
	{`A fills directory N`, func(s *stage, a []string) string {
		n := s.at(s.key(a[1]))
		s.mu.Lock()
		defer s.mu.Unlock()
		n.c.Full = true
		return "ok"
	}},
	{`A links N to N`, func(s *stage, a []string) string { return s.links(s.process(a[0]), s.key(a[1]), s.key(a[2])) }},
	{`A removes N`, func(s *stage, a []string) string { return s.removes(s.process(a[0]), s.key(a[1])) }},
	{`A moves N (?:to|over) N`, func(s *stage, a []string) string { return s.moves(s.process(a[0]), s.key(a[1]), s.key(a[2])) }},
	{`A changes N`, func(s *stage, a []string) string { return s.changes(s.process(a[0]), s.key(a[1]), nil) }},
	{`A overwrites N with (\S+)`, func(s *stage, a []string) string {
		p := s.process(a[0])
		return s.puts(p, s.key(a[1]), payload(a[2], p, s.clock()))
	}},
	{`A looks at N`, func(s *stage, a []string) string {
		if s.looks(s.process(a[0]).Identity, s.key(a[1]), false) {
			return "shown"
		}
		return "ENOENT"
	}},
	{`A stats N`, func(s *stage, a []string) string { return s.stats(s.process(a[0]), s.key(a[1])) }},
	{`A reads N`, func(s *stage, a []string) string {
		sight, _ := s.reads(s.process(a[0]), s.key(a[1]))
		return sight
	}},
	{`A puts (\d+) files into N`, func(s *stage, a []string) string {
		n, _ := strconv.Atoi(a[1])
		for i := range n {
			if got := s.puts(s.process(a[0]), s.key(fmt.Sprint(a[2], "/", i)), nil); got != "ok" {
				return got
			}
		}
		return "ok"
	}},
	{`an outsider comes when it is emptied`, func(s *stage, _ []string) string { s.barge = true; return "ok" }},
	{`A lists g1`, func(s *stage, a []string) string { return s.listsIn(s.process(a[0]), key("g1/x").Dir) }},
	{`A lists`, func(s *stage, a []string) string { return s.lists(s.process(a[0])) }},
	{`A closes N`, func(s *stage, a []string) string { return s.closes(a[0], s.process(a[0]), s.key(a[1])) }},
	{`A flushes N`, func(s *stage, a []string) string { return s.flushes(a[0], s.process(a[0]), s.key(a[1])) }},
	{`A's RELEASE of N comes`, func(s *stage, a []string) string { return s.releases(a[0], s.key(a[1])) }},
	{`A inherits N from A`, func(s *stage, a []string) string {
		return s.inherits(a[0], s.process(a[0]), a[2], s.key(a[1]))
	}},
	{`A is below A`, func(s *stage, a []string) string { // a shell, the nearest first
		s.shells[a[0]] = append(s.shells[a[0]], a[1])
		return "ok"
	}},
	{`A has a helper`, func(s *stage, a []string) string { s.helping[a[0]] = true; return "ok" }},
	{`A is killed`, func(s *stage, a []string) string {
		p := process(a[0])
		s.mu.Lock()
		s.killed[p.Identity] = true
		s.mu.Unlock()
		s.dies(p, false)
		return "ok"
	}},
	{`A renames N onto N`, func(s *stage, a []string) string { return s.renames(s.process(a[0]), s.key(a[1]), s.key(a[2])) }},
	{`A exchanges N with N`, func(s *stage, a []string) string {
		return s.exchanges(process(a[0]), s.key(a[1]), s.key(a[2]))
	}},
	{`A is fenced from N`, func(s *stage, a []string) string {
		if s.m.Fenced(process(a[0]).Identity, s.key(a[1])) {
			return "yes"
		}
		return "no"
	}},
	{`locks are held for (\S+) at most`, func(s *stage, a []string) string {
		if a[0] == "declared" {
			s.limitHolds(HoldLimit{Declared: true})
			return "ok"
		}
		d, err := time.ParseDuration(a[0])
		s.limitHolds(HoldLimit{For: d})
		return fmt.Sprint(map[bool]string{true: "ok", false: "no duration"}[err == nil])
	}},
	{`N is held by its inode`, func(s *stage, a []string) string {
		h, ok := s.m.Holder(s.inodeAt(s.key(a[0])))
		if !ok {
			return "nobody"
		}
		return fmt.Sprintf("%s by %d, token %d", h.Key.Name, h.Owner.PID, h.Token)
	}},
	{`A dies`, func(s *stage, a []string) string { s.dies(s.process(a[0]), false); return "ok" }},
	{`A dies, RELEASE comes late`, func(s *stage, a []string) string {
		s.late = s.dies(s.process(a[0]), true)
		return "ok"
	}},
	{`A dies without a FLUSH`, func(s *stage, a []string) string { // the kernel's caller could not be named
		id := s.process(a[0]).Identity
		s.mu.Lock()
		s.dead[id], s.news = true, append(s.news, id)
		s.mu.Unlock()
		s.tellDeaths()
		for h := s.handleOf(a[0], s.someKey(a[0])); h != nil; h = s.handleOf(a[0], s.someKey(a[0])) {
			s.releases(a[0], h.k)
		}
		return "ok"
	}},
	{`the late RELEASE comes`, func(s *stage, _ []string) string {
		for _, release := range s.late {
			release()
		}
		s.late = nil
		return "ok"
	}},
	{`A can't be watched`, func(s *stage, a []string) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.blind[s.process(a[0]).Identity] = true
		return "ok"
	}},
	{`(\S+) pass(?:es)?`, func(s *stage, a []string) string {
		d, err := time.ParseDuration(a[0])
		if err != nil {
			return err.Error()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now = s.now.Add(d)
		return "ok"
	}},
	{`the reaper comes`, func(s *stage, _ []string) string {
		got := s.reap()
		if got == "EBUSY" || got == "ENOENT" {
			return "in vain"
		}
		return got
	}},
	{`the mount meets N`, func(s *stage, a []string) string {
		s.m.Met(s.key(a[0]), s.inodeAt(s.key(a[0])))
		return "ok"
	}},
	{`N is judged (alive|dead|recycled|unknown)`, func(s *stage, a []string) string {
		v := map[string]Verdict{"alive": Alive, "dead": Dead, "recycled": Recycled, "unknown": Unknown}[a[1]]
		return s.judged(a[0], Finding{Verdict: v, Reason: a[1]})
	}},
	{`N is judged dead, of what it held before`, func(s *stage, a []string) string {
		s.stale = true
		defer func() { s.stale = false }()
		return s.judged(a[0], Finding{Verdict: Dead, Reason: "dead", About: Payload{PID: int64(process("Z").PID)}})
	}},
	{`N is judged held by A`, func(s *stage, a []string) string {
		return s.judged(a[0], Finding{Verdict: Alive, Reason: "has it open", Owner: s.process(a[1])})
	}},
	{`an outsider makes N with (\S+)`, func(s *stage, a []string) string {
		return s.outsiderMakes(s.key(a[0]), Content{Data: payload(a[1], process("Z"), s.clock())})
	}},
	{`an outsider writes (\S+) into N`, func(s *stage, a []string) string {
		return s.outsiderWrites(s.key(a[1]), payload(a[0], process("Z"), s.clock()))
	}},
	{`an outsider makes symlink N to (\S+)`, func(s *stage, a []string) string {
		return s.outsiderMakes(s.key(a[0]), Content{Kind: KindSymlink, Data: []byte(a[1])})
	}},
	{`an outsider makes directory N`, func(s *stage, a []string) string {
		return s.outsiderMakes(s.key(a[0]), Content{Kind: KindDir})
	}},
	{`an outsider removes N`, func(s *stage, a []string) string { return s.outsiderRemoves(s.key(a[0])) }},
	{`an outsider takes an inode number`, func(s *stage, _ []string) string {
		return s.outsiderMakes(Key{InodeID{Dev: 8, Ino: 3}, fmt.Sprint(len(s.disk))}, Content{})
	}},
	{`news of deaths is (late|on time)`, func(s *stage, a []string) string { s.slow = a[0] == "late"; return "ok" }},
	{`reading fails`, func(s *stage, _ []string) string { s.readFail = errors.New("input/output error"); return "ok" }},
	{`reading works`, func(s *stage, _ []string) string { s.readFail = nil; return "ok" }},
	{`removing fails`, func(s *stage, _ []string) string { s.rmFail = errors.New("read-only file system"); return "ok" }},
	{`removing works`, func(s *stage, _ []string) string { s.rmFail = nil; return "ok" }},
	{`a person releases N`, func(s *stage, a []string) string { return s.force(a[0], false) }},
	{`a person forces N`, func(s *stage, a []string) string { return s.force(a[0], true) }},
	{`N is (held|free|leaving|orphan|abandoned|untracked|unknown_owner)(?: by (\S+))?`, func(s *stage, a []string) string {
		want := a[1]
		if a[2] != "" {
			want += fmt.Sprint(" by ", s.process(a[2]).PID)
		}
		if got := s.state(s.key(a[0])); got != want {
			return "it is " + got
		}
		return "ok"
	}},
	{`N is on disk`, func(s *stage, a []string) string { return s.there(a[0]) }},
	{`N holds (\S+)`, func(s *stage, a []string) string {
		n := s.at(s.key(a[0]))
		if n == nil {
			return "nothing there"
		}
		if string(n.c.Data) != string(payload(a[1], process("Z"), s.now)) {
			return "it holds " + string(n.c.Data)
		}
		return "ok"
	}},
	{`the log says`, func(s *stage, _ []string) string { // what is new in it
		s.mu.Lock()
		defer s.mu.Unlock()
		var said []string
		for _, ev := range s.log[s.seen:] {
			word := ev.What.String()
			if len(ev.Payload) > 0 {
				word += "+payload"
			}
			said = append(said, word)
		}
		s.seen = len(s.log)
		return strings.Join(said, ", ")
	}},
}

func (s *stage) someKey(actor string) Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.handles {
		if _, ok := h.holders[actor]; ok {
			return h.k
		}
	}
	return Key{}
}

func (s *stage) there(name string) string {
	if s.at(s.key(name)) == nil {
		return "no"
	}
	return "ok"
}

func (s *stage) judged(name string, f Finding) string {
	s.mu.Lock()
	if len(s.judging) == 0 {
		s.mu.Unlock()
		return "nobody asked"
	}
	j := s.judging[len(s.judging)-1]
	s.judging = s.judging[:len(s.judging)-1]
	s.mu.Unlock()
	if j.k != s.key(name) {
		return "asked about " + j.k.Name
	}
	if n := s.at(j.k); !s.stale && n != nil && n.id == j.inode { // else the judge could not read it
		f.About, _ = ParsePayload(n.c)
	}
	s.m.Judged(j.k, j.inode, f)
	return "ok"
}

func (s *stage) force(name string, force bool) string {
	err := s.m.ForceRelease(s.key(name), force)
	var held *HeldError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrGone):
		return "gone"
	case errors.As(err, &held):
		return held.State.String()
	}
	return err.Error()
}

var compiled = func() (all []*regexp.Regexp) {
	for _, v := range verbs {
		p := regexp.MustCompile(`\bA\b`).ReplaceAllString(v.pattern, `([A-Z]\d*)`)
		p = regexp.MustCompile(`\bN\b`).ReplaceAllString(p, `(\S+)`)
		all = append(all, regexp.MustCompile("^"+p+"$"))
	}
	return all
}()

func (s *stage) do(step string) string {
	for i, re := range compiled {
		if m := re.FindStringSubmatch(step); m != nil {
			return verbs[i].do(s, m[1:])
		}
	}
	return "no such step"
}
