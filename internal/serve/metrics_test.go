package serve

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionlockfs/lockmgr"
)

// values are the counters of a registry by name and labels, and the counts of its histograms.
func values(t *testing.T, from prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			all[name] = metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func TestEventsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	before := values(t, registry)
	now := time.Now()
	for _, ev := range []lockmgr.Event{
		{What: lockmgr.GrantedTo},
		{What: lockmgr.Released, Ended: true, Since: now.Add(-time.Minute), Time: now},
		{What: lockmgr.Refused, Act: lockmgr.Remove},
		{What: lockmgr.Refused, Act: lockmgr.Create}, // none that we know of
		{What: lockmgr.Reclaimed, Cause: lockmgr.Wanted},
		{What: lockmgr.Guarded, Write: lockmgr.WriteTruncate, Denied: true},
		{What: lockmgr.Guarded, Write: lockmgr.WriteBytes},
		{What: lockmgr.Restored},
		{What: lockmgr.Contended + 1}, // of another version of the law
	} {
		m.count(ev)
	}
	want := map[string]float64{
		"sessionlockfs_grants_total": 1, "sessionlockfs_releases_total": 1, "sessionlockfs_hold_duration_seconds": 1,
		"sessionlockfs_refusals_total remove": 1, "sessionlockfs_reclaims_total wanted": 1,
		"sessionlockfs_guard_reports_total true truncate": 1, "sessionlockfs_guard_reports_total false write": 1,
	}
	for name, value := range values(t, registry) {
		if value-before[name] != want[name] {
			t.Errorf("%s grew by %v, want %v", name, value-before[name], want[name])
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

func TestCountingMakesNothing(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	ended := lockmgr.Event{What: lockmgr.Released, Ended: true, Since: time.Now(), Time: time.Now()}
	refused := lockmgr.Event{What: lockmgr.Refused, Act: lockmgr.Change}
	if n := testing.AllocsPerRun(100, func() { m.count(ended); m.count(refused) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCount(b *testing.B) {
	m := newMetrics(prometheus.NewRegistry())
	ended := lockmgr.Event{What: lockmgr.Released, Ended: true, Since: time.Now(), Time: time.Now()}
	for range b.N {
		m.count(ended)
	}
}
