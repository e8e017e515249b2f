package fsnode

import (
	"bytes"
	"os"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// newMetrics is what .sessionlockfs/metrics says: how much this mount has in use, and what the Go runtime and the
// kernel say of the process.
func (fs *FS) newMetrics() *prometheus.Registry {
	gauge := func(name, help string, count func() int) prometheus.Collector {
		opts := prometheus.GaugeOpts{Namespace: "sessionlockfs", Name: name, Help: help}
		return prometheus.NewGaugeFunc(opts, func() float64 { return float64(count()) })
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(
		gauge("inodes", "Inodes that the kernel remembers or that are kept for a lock; each is a descriptor.", fs.inodes.count),
		gauge("handles", "Files and directories that are open.", fs.handles.count),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{PidFn: ownPID}),
	)
	return metrics
}

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
