package integration

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// grown is by how much metrics grew.
type grown struct {
	m      *mount
	before map[string]float64
}

func (m *mount) measure(t testing.TB) grown { return grown{m, m.metrics(t)} }

// must fails unless these grew by that much. What the mount hears of late may take a moment.
func (g grown) must(t testing.TB, what string, want map[string]float64) {
	t.Helper()
	for name, by := range want {
		var got float64
		for end := time.Now().Add(waitDeadline); ; time.Sleep(5 * time.Millisecond) {
			now, there := g.m.metrics(t)["sessionlockfs_"+name]
			if !there {
				t.Fatalf("sessionlockfs_%s is missing", name)
			}
			if got = now - g.before["sessionlockfs_"+name]; got == by || time.Now().After(end) {
				break
			}
		}
		if got != by {
			t.Errorf("%s: %s grew by %v, want %v", what, name, got, by)
		}
	}
}

func TestMetricsOfLocks(t *testing.T) {
	m := newMount(t)
	g := m.measure(t)
	holder := startHelper(t, nil, "hold", m.path("a.jsonl.lock"))
	holder.line(t)
	g.must(t, "held", map[string]float64{"grants_total": 1, `locks{state="held"}`: 1, "hold_duration_seconds_count": 0})

	mustNotBeFree(t, m.path("a.jsonl.lock"))
	now := m.metrics(t)
	if now["sessionlockfs_contenders"] != 1 || now["sessionlockfs_longest_contended_hold_seconds"] <= 0 {
		t.Errorf("contenders: %v, for a lock that is held for %v s", now["sessionlockfs_contenders"], now["sessionlockfs_longest_contended_hold_seconds"])
	}
	if errno := removeAs(t, nil, m.path("a.jsonl.lock")); errno != syscall.EBUSY {
		t.Errorf("a bystander removes it: %v", errno)
	}
	writeFile(t, m.path("a.jsonl"), "from another process")
	g.must(t, "bothered", map[string]float64{
		"contended_total": 2, `refusals_total{act="remove"}`: 1, `guard_reports_total{denied="false",write="create"}`: 1,
	})

	holder.kill()
	g.must(t, "orphaned", map[string]float64{
		`locks{state="held"}`: 0, `locks{state="orphan"}`: 1, "orphaned_total": 1, "hold_duration_seconds_count": 1,
	})
	next, err := createExclusively(m.path("a.jsonl.lock"))
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
	if err := os.Remove(m.path("a.jsonl.lock")); err != nil {
		t.Fatal(err)
	}
	g.must(t, "taken over and released", map[string]float64{
		`reclaims_total{reason="wanted"}`: 1, "grants_total": 2, "releases_total": 1, "hold_duration_seconds_count": 2,
		`locks{state="orphan"}`: 0, "unrecorded_total": 0, "events_lost_total": 0,
	})
}

func TestMetricsOfEnds(t *testing.T) {
	m := newMount(t)
	g := m.measure(t)
	dying := startHelper(t, nil, "hold", m.path("dying.lock"))
	forced := startHelper(t, nil, "hold", m.path("forced.lock"))
	dying.line(t)
	forced.line(t)
	dying.kill()
	mustRun(t, suite.binary, "release", "--force", m.path("forced.lock"))
	g.must(t, "one died, one is forced", map[string]float64{
		`reclaims_total{reason="owner_died"}`: 1, `reclaims_total{reason="forced"}`: 1, "forced_releases_total": 1,
		"hold_duration_seconds_count": 2, `locks{state="held"}`: 0,
	})
}

// What servers count begins anew with each, but how often one took over goes on.
func TestMetricsOfTakeovers(t *testing.T) {
	m := newMount(t)
	g := m.measure(t)
	holder := startHelper(t, nil, "hold", m.path("a.jsonl.lock"))
	holder.line(t)
	m.killServer(t)
	m.killServer(t)
	g.must(t, "two servers were killed", map[string]float64{
		"takeovers_total": 2, "takeover_duration_seconds_count": 2, `locks{state="held"}`: 1, "grants_total": 0,
	})
	now := m.metrics(t)
	if took := now["sessionlockfs_takeover_duration_seconds_sum"]; took <= 0 || took > waitDeadline.Seconds() {
		t.Errorf("two takeovers took %v s", took)
	}
	if started := now["sessionlockfs_start_time_seconds"]; started <= g.before["sessionlockfs_start_time_seconds"] {
		t.Errorf("the server began at %v, the one before at %v", started, g.before["sessionlockfs_start_time_seconds"])
	}
}

// busyMetrics are the metrics of a mount in which something happened, so that all are there.
func busyMetrics(t testing.TB) []byte {
	t.Helper()
	m := newMount(t)
	if err := takeAndRelease(m.path("a.jsonl.lock")); err != nil {
		t.Fatal(err)
	}
	text, err := m.readControl("metrics")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMetricsAreWellFormed(t *testing.T) {
	text := busyMetrics(t)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, family := range families {
		if strings.HasPrefix(name, "sessionlockfs_") && len(family.GetHelp()) < 10 {
			t.Errorf("%s: help %q", name, family.GetHelp())
		}
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	check := command(t, need(t, "promtool"), "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
