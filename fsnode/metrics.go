package fsnode

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"sessionlockfs/lockmgr"
)

// namespace is what the names of our metrics begin with.
const namespace = "sessionlockfs"

// newMetrics is what .sessionlockfs/metrics says: how much this mount has in use, how fast it answers, and what the Go
// runtime and the kernel say of the process. Others add to it.
func (fs *FS) newMetrics() *prometheus.Registry {
	gauge := func(name, help string, count func() int) prometheus.Collector {
		opts := prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}
		return prometheus.NewGaugeFunc(opts, func() float64 { return float64(count()) })
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(
		gauge("inodes", "Inodes that the kernel remembers or that are kept for a lock; each is a descriptor.", fs.inodes.count),
		gauge("handles", "Files and directories that are open.", fs.handles.count),
		lockCounts{fs}, fs.Latency, takeovers{fs.Remains},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{PidFn: ownPID}),
	)
	return metrics
}

// Metrics is where to register more of them.
func (fs *FS) Metrics() prometheus.Registerer { return fs.metrics }

// ownPID is ours in /proc, which may be that of another PID namespace.
func ownPID() (int, error) {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(self)
}

// Measure gives the metrics in the text format of Prometheus.
func (fs *FS) Measure() ([]byte, error) {
	families, err := fs.metrics.Gather()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// lockCounts tells of the locks as they are. It asks after nobody and waits for no turn, so that a mount that hangs can be asked.
type lockCounts struct{ fs *FS }

var (
	locksDesc = prometheus.NewDesc("sessionlockfs_locks",
		"Locks by what is known of them, as in .sessionlockfs/locks. An owner whose death nobody has heard of counts as alive.",
		[]string{"state"}, nil)
	contendersDesc = prometheus.NewDesc("sessionlockfs_contenders",
		"Processes that looked up a held lock of another's in the last 5 s, as those do that wait for it; counted once for each lock.",
		nil, nil)
	longestDesc = prometheus.NewDesc("sessionlockfs_longest_contended_hold_seconds",
		"For how long the lock has been held that has been held longest of those that have contenders; 0 if none has.",
		nil, nil)
)

// Describe is prometheus.Collector's.
func (lockCounts) Describe(out chan<- *prometheus.Desc) {
	out <- locksDesc
	out <- contendersDesc
	out <- longestDesc
}

// Collect is prometheus.Collector's.
func (c lockCounts) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	states := []lockmgr.State{lockmgr.Held, lockmgr.Orphan, lockmgr.Abandoned, lockmgr.UnknownOwner, lockmgr.Untracked}
	for _, state := range states {
		gauge(locksDesc, float64(c.fs.Locks.Count(state)), state.String())
	}
	contenders, since := c.fs.Locks.Contention()
	gauge(contendersDesc, float64(contenders))
	longest := time.Duration(0)
	if contenders > 0 {
		longest = max(0, time.Since(since))
	}
	gauge(longestDesc, longest.Seconds())
}

// takeovers tells how often a server took over, and how fast: by all servers of the mount, which share the memory.
type takeovers struct{ remains *Remains }

var (
	takeoversDesc = prometheus.NewDesc("sessionlockfs_takeovers_total",
		"Servers that went on where another one had ended, by a crash or an upgrade, since the mount was started.", nil, nil)
	vacancyDesc = prometheus.NewDesc("sessionlockfs_takeover_duration_seconds",
		"For how long nobody served, from the end of a server to when the next one answers, since the mount was started.", nil, nil)
)

// vacancyBounds begin with what it takes where a server stands by, and end with what it may take if servers die one after the other.
var vacancyBounds = bounds{
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
}

// Describe is prometheus.Collector's.
func (takeovers) Describe(out chan<- *prometheus.Desc) {
	out <- takeoversDesc
	out <- vacancyDesc
}

// Collect is prometheus.Collector's.
func (t takeovers) Collect(out chan<- prometheus.Metric) {
	vacant := &t.remains.head.vacant
	out <- prometheus.MustNewConstMetric(takeoversDesc, prometheus.CounterValue, float64(vacant.count()))
	out <- vacant.metric(vacancyDesc, &vacancyBounds)
}
