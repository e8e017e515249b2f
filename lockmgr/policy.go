package lockmgr

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Policy says which names the law is about, and how strictly. It is read-only once a
// Manager has it: Manager.SetPolicy puts another in its place.
type Policy struct {
	Locks []LockPattern // the first that matches a name says what holds for it
	Data  []string      // patterns (path.Match) of names that match a lock pattern and are known to be data

	matchers *matchers // set by prepare
}

// LockPattern says what holds for the locks of one kind of names.
type LockPattern struct {
	Name      string        // pattern (path.Match) of the entry's name
	Evidence  bool          // an orphan stays until somebody takes or removes it (rule 4)
	Grace     time.Duration // how old an untracked entry must be before it can be judged dead (rule 8)
	HoldLimit HoldLimit     // how long a living owner keeps its lock
	Guard     Guard         // what becomes of others' writes to the file that the lock is for
	Raw       bool          // everybody sees a held lock as it is (rule 5 is off)
}

// HoldLimit is how long a living owner keeps its lock. Past it others may remove the
// lock, see it as it is, and the former owner is fenced. The zero HoldLimit is for good.
type HoldLimit struct {
	Declared bool          // as long as the payload's maxHoldMs says; for good if it says nothing
	For      time.Duration // if not Declared: this long; 0 is for good
}

// UnmarshalText reads "never", "declared" or a duration.
func (l *HoldLimit) UnmarshalText(text []byte) error {
	switch string(text) {
	case "never":
		*l = HoldLimit{}
		return nil
	case "declared":
		*l = HoldLimit{Declared: true}
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf(`a hold limit is "never", "declared" or a duration like "30m", not %q`, text)
	}
	*l = HoldLimit{For: d}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (l HoldLimit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

func (l HoldLimit) String() string {
	switch {
	case l.Declared:
		return "declared"
	case l.For == 0:
		return "never"
	}
	return l.For.String()
}

// Guard is what becomes of a write to "a.jsonl" by another process than the one that
// holds "a.jsonl.lock".
type Guard uint8

// The guards.
const (
	GuardOff  Guard = iota // nothing
	GuardLog               // it is done and reported
	GuardDeny              // it is refused with EBUSY, also through a handle that is older than the lock
)

func (g Guard) String() string { return [...]string{"off", "log", "deny"}[g] }

// UnmarshalText reads "off", "log" or "deny".
func (g *Guard) UnmarshalText(text []byte) error {
	for one := GuardOff; one <= GuardDeny; one++ {
		if one.String() == string(text) {
			*g = one
			return nil
		}
	}
	return fmt.Errorf(`a guard is "off", "log" or "deny", not %q`, text)
}

// MarshalText writes what UnmarshalText reads.
func (g Guard) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// DefaultGrace is how old an untracked entry must be before it can be judged dead, unless configured.
const DefaultGrace = 5 * time.Second

// DefaultPolicy is the policy without configuration. The data names are lock files
// in the sense of package managers: they pin versions and are not locks at all.
func DefaultPolicy() Policy {
	return Policy{
		Locks: []LockPattern{
			{Name: "*.jsonl.lock", Evidence: true, Grace: DefaultGrace, Guard: GuardLog},
			{Name: "*.lock", Grace: DefaultGrace, Guard: GuardLog},
			{Name: "*.lock.reclaim", Grace: DefaultGrace, Guard: GuardLog},
		},
		Data: []string{
			"Cargo.lock", "yarn.lock", "poetry.lock", "uv.lock", "Gemfile.lock", "composer.lock",
			"flake.lock", "bun.lock", "deno.lock", "pdm.lock", "Pipfile.lock", "Podfile.lock",
			"mix.lock", "pubspec.lock", "Chart.lock", "renv.lock", "buf.lock", "packages.lock",
			"stack.yaml.lock",
		},
	}
}

// Check reports the first pattern that can match nothing.
func (p *Policy) Check() error {
	names := p.Data
	for _, l := range p.Locks {
		names = append(names[:len(names):len(names)], l.Name)
	}
	for _, name := range names {
		if _, err := path.Match(name, ""); err != nil || name == "" || strings.Contains(name, "/") {
			return fmt.Errorf("%q is no pattern of an entry's name", name)
		}
	}
	return nil
}

// prepare readies the policy to be asked about every name that is looked up. Nothing in it may change after that.
func (p *Policy) prepare() {
	p.matchers = nil
	p.matchers = p.matching()
}

// matchers are the patterns as matched.
type matchers struct {
	locks, data []matcher
	names       map[string]bool // plain names among the data
}

func (p *Policy) matching() *matchers {
	if p.matchers != nil {
		return p.matchers
	}
	m := &matchers{names: map[string]bool{}}
	for _, l := range p.Locks {
		m.locks = append(m.locks, newMatcher(l.Name))
	}
	for _, pattern := range p.Data {
		if d := newMatcher(pattern); d.how == whole {
			m.names[pattern] = true
		} else {
			m.data = append(m.data, d)
		}
	}
	return m
}

// Of gives what holds for the locks of this name; nil if an entry of this name is none.
func (p *Policy) Of(name string) *LockPattern {
	m := p.matching()
	for i := range m.locks {
		if m.locks[i].matches(name) {
			if m.isData(name) {
				return nil
			}
			return &p.Locks[i]
		}
	}
	return nil
}

// IsLock reports whether an entry of this name is a lock if it is made exclusively.
func (p *Policy) IsLock(name string) bool { return p.Of(name) != nil }

// IsEvidence reports whether an orphan of this name lingers (rule 4).
func (p *Policy) IsEvidence(name string) bool {
	l := p.Of(name)
	return l != nil && l.Evidence
}

// WithoutEvidence is the policy under which no orphan lingers.
func (p Policy) WithoutEvidence() Policy {
	p.Locks, p.matchers = slices.Clone(p.Locks), nil
	for i := range p.Locks {
		p.Locks[i].Evidence = false
	}
	return p
}

// WithoutDeny is the policy under which writes are reported where they would be refused.
func (p Policy) WithoutDeny() Policy {
	p.Locks, p.matchers = slices.Clone(p.Locks), nil
	for i := range p.Locks {
		if p.Locks[i].Guard == GuardDeny {
			p.Locks[i].Guard = GuardLog
		}
	}
	return p
}

// lockSuffix is what makes a lock's name out of the name of the file it is for.
const lockSuffix = ".lock"

// Guards gives the name of the file that a lock is for, "" if it is for none, and how
// writes to it are guarded.
func (p *Policy) Guards(lock string) (file string, level Guard) {
	file, ok := strings.CutSuffix(lock, lockSuffix)
	if !ok {
		return "", GuardOff
	}
	if l := p.Of(lock); l != nil {
		level = l.Guard
	}
	return file, level
}

// GuardOf is how writes to a file of this name are guarded while its lock is held.
func (p *Policy) GuardOf(file string) Guard {
	if l := p.Of(file + lockSuffix); l != nil {
		return l.Guard
	}
	return GuardOff
}

// Denies reports whether any pattern has the guard that refuses.
func (p *Policy) Denies() bool {
	for i := range p.Locks {
		if p.Locks[i].Guard == GuardDeny {
			return true
		}
	}
	return false
}

// DeniesNoMoreThan reports whether every pattern whose writes p refuses had its writes
// refused by the other policy.
func (p *Policy) DeniesNoMoreThan(other *Policy) bool {
	for _, l := range p.Locks {
		denied := func(o LockPattern) bool { return o.Name == l.Name && o.Guard == GuardDeny }
		if l.Guard == GuardDeny && !slices.ContainsFunc(other.Locks, denied) {
			return false
		}
	}
	return true
}

func (m *matchers) isData(name string) bool {
	return m.names[name] || slices.ContainsFunc(m.data, func(d matcher) bool { return d.matches(name) })
}

// matcher is path.Match with a short cut for the two forms nearly every pattern has, a plain name and "*.suffix".
type matcher struct {
	how  matching
	text string
}

type matching uint8

const (
	whole matching = iota
	suffix
	pattern
)

func newMatcher(text string) matcher {
	switch {
	case plain(text):
		return matcher{whole, text}
	case text[0] == '*' && plain(text[1:]):
		return matcher{suffix, text[1:]}
	}
	return matcher{pattern, text}
}

func (m *matcher) matches(name string) bool {
	switch m.how {
	case whole:
		return name == m.text
	case suffix:
		return strings.HasSuffix(name, m.text)
	}
	ok, err := path.Match(m.text, name)
	return err == nil && ok
}

func plain(pattern string) bool { return !strings.ContainsAny(pattern, `*?[\`) }
