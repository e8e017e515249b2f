package lockmgr

import (
	"path"
	"time"
)

// Policy says which names the law is about. It is read-only once a Manager has it.
type Policy struct {
	Locks    []string      // patterns (path.Match) of lock names
	Evidence []string      // locks that stay when orphaned, until somebody takes or removes them
	Data     []string      // names that match a lock pattern and are known to be data
	Grace    time.Duration // how old an untracked entry must be before it can be judged dead
}

// DefaultPolicy is the policy without configuration. The data names are lock files
// in the sense of package managers: they pin versions and are not locks at all.
func DefaultPolicy() Policy {
	return Policy{
		Locks:    []string{"*.lock", "*.lock.reclaim"},
		Evidence: []string{"*.jsonl.lock"},
		Data: []string{
			"Cargo.lock", "yarn.lock", "poetry.lock", "uv.lock", "Gemfile.lock", "composer.lock",
			"flake.lock", "bun.lock", "deno.lock", "pdm.lock", "Pipfile.lock", "Podfile.lock",
			"mix.lock", "pubspec.lock", "Chart.lock", "renv.lock", "buf.lock", "packages.lock",
			"stack.yaml.lock",
		},
		Grace: 5 * time.Second,
	}
}

// IsLock reports whether an entry of this name is a lock if it is made exclusively.
func (p *Policy) IsLock(name string) bool {
	return matches(p.Locks, name) && !matches(p.Data, name)
}

// IsEvidence reports whether an orphan of this name lingers (rule 4).
func (p *Policy) IsEvidence(name string) bool { return matches(p.Evidence, name) }

func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if matchOne(pattern, name) {
			return true
		}
	}
	return false
}

// matchOne is path.Match with a short cut for the two forms nearly every pattern
// has, a plain name and "*.suffix": this runs for every name that is looked up.
func matchOne(pattern, name string) bool {
	if len(pattern) > 0 && pattern[0] == '*' && plain(pattern[1:]) {
		suffix := pattern[1:]
		return len(name) >= len(suffix) && name[len(name)-len(suffix):] == suffix
	}
	if plain(pattern) {
		return pattern == name
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

func plain(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '*', '?', '[', '\\':
			return false
		}
	}
	return true
}
