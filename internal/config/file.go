// Package config reads what the user wants of a mount: a TOML file, and flags that say
// otherwise. Without either, every way of locking is treated as the README says.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"sessionlockfs/lockmgr"
)

// Settings are what a file or the flags say. What is nil is not said.
type Settings struct {
	Guard     *lockmgr.Guard     `toml:"guard"`
	HoldLimit *lockmgr.HoldLimit `toml:"hold_limit"`
	Grace     *Duration          `toml:"grace"`
	View      *View              `toml:"view"`
}

// File is a configuration file. Its own settings hold for every lock whose table says
// nothing else.
type File struct {
	Settings
	Locks   []Lock   `toml:"lock"`
	Data    []string `toml:"data"`
	Helpers []string `toml:"helpers"`
}

// Lock is a table [[lock]] of the file: what holds for the locks of one kind of names.
type Lock struct {
	Name     string `toml:"name"`
	Evidence bool   `toml:"evidence"`
	Settings
}

// Duration is a time.Duration in words like "5s".
type Duration time.Duration

// UnmarshalText reads a duration that is not negative.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	if err != nil || value < 0 {
		return fmt.Errorf("%q is no duration like \"5s\"", text)
	}
	*d = Duration(value)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// View is how a held lock is shown to others: true is raw, as it is.
type View bool

// UnmarshalText reads "rendered" or "raw".
func (v *View) UnmarshalText(text []byte) error {
	switch string(text) {
	case "rendered":
		*v = false
	case "raw":
		*v = true
	default:
		return fmt.Errorf(`a view is "rendered" or "raw", not %q`, text)
	}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (v View) MarshalText() ([]byte, error) {
	if v {
		return []byte("raw"), nil
	}
	return []byte("rendered"), nil
}

// DefaultFile is where the configuration is looked for if no file is named.
func DefaultFile() string {
	if os.Geteuid() == 0 {
		return "/etc/sessionlockfs/config.toml"
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "sessionlockfs", "config.toml")
}

// Read reads a file. For "" it reads the default one, which may be missing.
func Read(name string) (File, error) {
	named := name != ""
	if !named {
		name = DefaultFile()
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return File{}, nil
	}
	if err != nil {
		return File{}, err
	}
	f, err := Parse(string(text))
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// Parse reads a file's text. The error says which line and what is wrong there.
func Parse(text string) (f File, err error) {
	meta, err := toml.Decode(text, &f)
	if err != nil {
		return f, oneLine(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return f, fmt.Errorf("unknown setting %q; known are guard, hold_limit, grace, view, data, helpers, and in a [[lock]] table name and evidence", unknown[0])
	}
	for i, l := range f.Locks {
		if l.Name == "" {
			return f, fmt.Errorf("[[lock]] number %d has no name", i+1)
		}
	}
	return f, nil
}

func oneLine(err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d: %s", parse.Position.Line, strings.TrimSpace(parse.Message))
	}
	return err
}
