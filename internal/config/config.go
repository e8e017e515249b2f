package config

import (
	"fmt"
	"io"
	"time"

	"github.com/BurntSushi/toml"

	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// Flags are what the command line says: more than a file has to, and before it.
type Flags struct {
	Settings
	File    string   // "" for the default file
	Locks   []string // patterns that are locks besides those of the file
	Data    []string // names that are data besides those of the file
	Helpers []string // programs that act for their shell besides those of the file
}

// Config is what a mount goes by.
type Config struct {
	Policy  lockmgr.Policy
	Helpers []string // programs that act for the shell that started them (rule 7)
}

// Load reads the file that the flags name, and applies the flags.
func Load(flags Flags) (Config, error) {
	file, err := Read(flags.File)
	if err != nil {
		return Config{}, err
	}
	c := resolve(file, flags)
	return c, c.Policy.Check()
}

// resolve gives each lock pattern all its settings: its own table's, before them the
// flags', else the file's, else the default.
func resolve(file File, flags Flags) Config {
	policy := lockmgr.DefaultPolicy()
	if len(file.Locks) > 0 {
		policy.Locks = patterns(file.Locks)
	}
	for _, name := range flags.Locks {
		policy.Locks = append(policy.Locks, defaultPattern(name))
	}
	for i := range policy.Locks {
		l := &policy.Locks[i]
		file.Settings.apply(l)
		if i < len(file.Locks) {
			file.Locks[i].Settings.apply(l)
		}
		flags.Settings.apply(l)
	}
	if file.Data != nil {
		policy.Data = file.Data
	}
	policy.Data = append(policy.Data, flags.Data...)
	helpers := reclaim.DefaultHelpers()
	if file.Helpers != nil {
		helpers = file.Helpers
	}
	return Config{Policy: policy, Helpers: append(helpers, flags.Helpers...)}
}

func patterns(tables []Lock) []lockmgr.LockPattern {
	all := make([]lockmgr.LockPattern, len(tables))
	for i, t := range tables {
		all[i] = defaultPattern(t.Name)
		all[i].Evidence = t.Evidence
	}
	return all
}

// defaultPattern is what holds for a pattern of which nothing more is said.
func defaultPattern(name string) lockmgr.LockPattern {
	return lockmgr.LockPattern{Name: name, Grace: lockmgr.DefaultGrace, Guard: lockmgr.GuardLog}
}

func (s *Settings) apply(l *lockmgr.LockPattern) {
	if s.Guard != nil {
		l.Guard = *s.Guard
	}
	if s.HoldLimit != nil {
		l.HoldLimit = *s.HoldLimit
	}
	if s.Grace != nil {
		l.Grace = time.Duration(*s.Grace)
	}
	if s.View != nil {
		l.Raw = bool(*s.View)
	}
}

// Show writes a configuration as a file that says all of it.
func (c *Config) Show(out io.Writer) error {
	f := File{Data: c.Policy.Data, Helpers: c.Helpers}
	for _, l := range c.Policy.Locks {
		grace, view := Duration(l.Grace), View(l.Raw)
		f.Locks = append(f.Locks, Lock{
			Name: l.Name, Evidence: l.Evidence,
			Settings: Settings{Guard: &l.Guard, HoldLimit: &l.HoldLimit, Grace: &grace, View: &view},
		})
	}
	if err := toml.NewEncoder(out).Encode(f); err != nil {
		return fmt.Errorf("show the configuration: %w", err)
	}
	return nil
}
