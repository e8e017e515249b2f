package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionlockfs/lockmgr"
)

const example = `
guard = "off"
grace = "10s"
helpers = ["mkdir"]

[[lock]]
name = "*.jsonl.lock"
evidence = true
guard = "deny"
hold_limit = "declared"

[[lock]]
name = "*.lck"
view = "raw"
hold_limit = "30m"
`

func mustParse(t *testing.T, text string) File {
	t.Helper()
	f, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A lock's own table is nearer than the file's settings, and the flags are before both.
func TestNearestSettingCounts(t *testing.T) {
	c := resolve(mustParse(t, example), Flags{Locks: []string{"*.pid"}, Data: []string{"my.lock"}, Helpers: []string{"take"}})
	want := []lockmgr.LockPattern{
		{Name: "*.jsonl.lock", Evidence: true, Guard: lockmgr.GuardDeny, Grace: 10 * time.Second, HoldLimit: lockmgr.HoldLimit{Declared: true}},
		{Name: "*.lck", Guard: lockmgr.GuardOff, Grace: 10 * time.Second, Raw: true, HoldLimit: lockmgr.HoldLimit{For: 30 * time.Minute}},
		{Name: "*.pid", Guard: lockmgr.GuardOff, Grace: 10 * time.Second},
	}
	for i, l := range c.Policy.Locks {
		if l != want[i] {
			t.Errorf("pattern %d: %+v, want %+v", i, l, want[i])
		}
	}
	if got := strings.Join(c.Helpers, " "); got != "mkdir take" {
		t.Errorf("helpers: %s", got)
	}
	if !c.Policy.IsLock("a.pid") || c.Policy.IsLock("my.lock") {
		t.Error("the flags' pattern is no lock, or the flags' data is one")
	}
	deny := lockmgr.GuardDeny
	for i, l := range resolve(mustParse(t, example), Flags{Settings: Settings{Guard: &deny}}).Policy.Locks {
		if l.Guard != lockmgr.GuardDeny {
			t.Errorf("pattern %d: guard %v, want that of the flag", i, l.Guard)
		}
	}
}

// Without a word from anybody the policy is the default one.
func TestNothingSaid(t *testing.T) {
	c := resolve(File{}, Flags{})
	for i, want := range lockmgr.DefaultPolicy().Locks {
		if c.Policy.Locks[i] != want {
			t.Errorf("%+v, want %+v", c.Policy.Locks[i], want)
		}
	}
}

// Whoever has made a mistake is told the line, or the name, and what is known.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"guard = \"dney\"":                          `line 1: a guard is "off", "log" or "deny", not "dney"`,
		"\ngrace = \"soon\"":                        `line 2: "soon" is no duration`,
		"hold_limit = \"-5s\"":                      `line 1: a hold limit is "never", "declared" or a duration`,
		"view = \"plain\"":                          `line 1: a view is "rendered" or "raw"`,
		"gaurd = \"log\"":                           `unknown setting "gaurd"; known are guard`,
		"guard = ":                                  "line 1: ",
		"[[lock]]\nevidence = true":                 "[[lock]] number 1 has no name",
		"[[lock]]\nname = \"*.lock\"\nclean = true": `unknown setting "lock.clean"`,
		"guard = 3":                                 "line 1: ",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

func TestBadPattern(t *testing.T) {
	for _, name := range []string{"[", "a/b.lock", ""} {
		if _, err := Load(Flags{File: fileWith(t, ""), Locks: []string{name}}); err == nil {
			t.Errorf("%q is taken for a pattern", name)
		}
	}
}

func TestNamedFileMustBeThere(t *testing.T) {
	if _, err := Load(Flags{File: filepath.Join(t.TempDir(), "missing.toml")}); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// What Show writes means the same when it is read.
func TestShownConfigurationMeansTheSame(t *testing.T) {
	for _, text := range []string{"", example} {
		c := resolve(mustParse(t, text), Flags{Data: []string{"my.lock"}})
		var shown strings.Builder
		if err := c.Show(&shown); err != nil {
			t.Fatal(err)
		}
		again := resolve(mustParse(t, shown.String()), Flags{})
		var twice strings.Builder
		if err := again.Show(&twice); err != nil {
			t.Fatal(err)
		}
		if shown.String() != twice.String() {
			t.Errorf("shown:\n%s\nread and shown again:\n%s", &shown, &twice)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Fuzz(func(t *testing.T, text string) {
		if file, err := Parse(text); err == nil {
			resolve(file, Flags{})
		}
	})
}

func fileWith(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
