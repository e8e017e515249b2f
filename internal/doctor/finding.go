package doctor

import (
	"encoding/json"
	"fmt"
	"io"
)

// Level says how well something is.
type Level uint8

// The levels.
const (
	OK   Level = iota
	Warn       // it works, and something about it is not as it should be
	Fail       // it does not work, or locks are taken past the mount
)

func (l Level) String() string { return [...]string{"ok", "warn", "fail"}[l] }

// MarshalText has JSON say what String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is what came of a check.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Found string `json:"found"`         // one line
	Fix   string `json:"fix,omitempty"` // one line: what to do; empty if all is well
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Found: fmt.Sprintf(format, args...)}
}

func warn(check, fix, format string, args ...any) Finding {
	return Finding{check, Warn, fmt.Sprintf(format, args...), fix}
}

func fail(check, fix, format string, args ...any) Finding {
	return Finding{check, Fail, fmt.Sprintf(format, args...), fix}
}

// Report is what the doctor has to say. As JSON it is an interface that programs rely on: fields are only ever added.
type Report struct {
	Version  int       `json:"version"` // of this format: 1
	Dir      string    `json:"dir,omitempty"`
	Well     bool      `json:"well"`  // every check is ok
	Fixed    []string  `json:"fixed"` // what was put right, before the checks
	Findings []Finding `json:"checks"`
}

func newReport(dir string, fixed []string, findings []Finding) Report {
	r := Report{Version: 1, Dir: dir, Well: true, Fixed: fixed, Findings: findings}
	for _, f := range findings {
		r.Well = r.Well && f.Level == OK
	}
	if r.Fixed == nil {
		r.Fixed = []string{}
	}
	return r
}

// Print writes it for a person, or as JSON.
func (r Report) Print(out io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	for _, what := range r.Fixed {
		fmt.Fprintf(out, "fixed %s\n", what)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(out, "%-5s %-14s  %s\n", f.Level, f.Check, f.Found)
		if f.Fix != "" {
			fmt.Fprintf(out, "%22s%s\n", "-> ", f.Fix)
		}
	}
	return nil
}
