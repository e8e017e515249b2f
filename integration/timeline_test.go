package integration

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A holder that dies while another one waits, an orphan that nobody takes, and one who holds on.
func TestTimeline(t *testing.T) {
	m := newMount(t)
	if err := os.Mkdir(m.path("main"), 0o777); err != nil {
		t.Fatal(err)
	}
	holder := startHelper(t, nil, "hold", m.path("main/a.jsonl.lock"))
	holder.line(t)
	contender := startHelper(t, nil, "try", m.path("main/a.jsonl.lock"))
	contender.line(t)
	m.waitContender(t, "main/a.jsonl.lock", contender.cmd.Process.Pid)
	holder.kill()
	contender.line(t)
	dead := startHelper(t, nil, "hold", m.path("b.jsonl.lock"))
	dead.line(t)
	dead.kill()
	m.waitOrphan(t, "b.jsonl.lock")
	startHelper(t, nil, "hold", m.path("c.lock")).line(t)

	lanes := lanesOf(t, m.timeline(t, "--since=1h"))
	var locks []string
	for _, l := range lanes {
		locks = append(locks, l.Title)
	}
	slices.Sort(locks[1:]) // of those that nobody else wanted, it goes by how long they were held
	if want := []string{"main/a.jsonl.lock", "b.jsonl.lock", "c.lock"}; !slices.Equal(locks, want) {
		t.Fatalf("lanes are %q, want %q", locks, want)
	}
	a := lanes[0]
	a.must(t, fmt.Sprintf("helper %d, user 0", holder.cmd.Process.Pid), "then it died")
	a.must(t, fmt.Sprintf("helper %d, user 0", contender.cmd.Process.Pid), "and goes on")
	a.must(t, fmt.Sprintf("wanted by helper %d", contender.cmd.Process.Pid))
	a.must(t, fmt.Sprintf("death of helper %d", holder.cmd.Process.Pid))
	lanes[slices.IndexFunc(lanes, func(l drawn) bool { return l.Title == "b.jsonl.lock" })].must(t, fmt.Sprintf("orphan of helper %d", dead.cmd.Process.Pid), "and goes on")

	if only := lanesOf(t, m.timeline(t, "--lock=c.*")); len(only) != 1 || only[0].Title != "c.lock" {
		t.Errorf("with --lock there are %d lanes", len(only))
	}
	m.timelineFiles(t)
}

// timeline is what the command writes to standard output.
func (m *mount) timeline(t testing.TB, flags ...string) []byte {
	t.Helper()
	picture, err := exec.Command(suite.binary, append([]string{"timeline", m.dir}, flags...)...).Output()
	if err != nil {
		t.Fatalf("timeline: %v", err)
	}
	return picture
}

func (m *mount) timelineFiles(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	for name, begin := range map[string]string{"x.svg": "<svg ", "x.html": "<!DOCTYPE html>"} {
		m.timeline(t, "-o", filepath.Join(dir, name))
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(text), begin) {
			t.Errorf("%s: %v, %.40q", name, err, text)
		}
	}
	var exit *exec.ExitError
	if err := exec.Command(suite.binary, "timeline", m.dir, "-o", "x.png").Run(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("-o x.png: %v, want exit code 2", err)
	}
}

// drawn is a group of a picture: what is said when it is pointed at, and its parts.
type drawn struct {
	Class  string  `xml:"class,attr"`
	Title  string  `xml:"title"`
	Groups []drawn `xml:"g"`
	Bars   []drawn `xml:"path"`
	Marks  []drawn `xml:"use"`
}

func lanesOf(t testing.TB, picture []byte) (lanes []drawn) {
	t.Helper()
	var all drawn
	if err := xml.Unmarshal(picture, &all); err != nil {
		t.Fatalf("no SVG: %v", err)
	}
	for _, g := range all.Groups {
		if g.Class == "lane" {
			lanes = append(lanes, g)
		}
	}
	return lanes
}

// must find a bar or a mark of which all of that is said.
func (d drawn) must(t testing.TB, words ...string) {
	t.Helper()
	for _, part := range append(d.Bars, d.Marks...) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(part.Title, w) }) {
			return
		}
	}
	t.Errorf("%s: nothing says %q", d.Title, words)
}
