package fsnode

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durations is a histogram in plain memory, which may be shared with another process. To add to it costs two atomic
// additions, and no lock.
type durations struct {
	counts [steps + 1]uint64 // by the first bound that is not exceeded; the last is of those that exceed all
	nanos  uint64            // all together
}

// bounds are the upper bounds of a histogram, ascending. What is usual should be among the first: they are gone through in order.
type bounds [steps]time.Duration

const steps = 15

func (d *durations) add(b *bounds, took time.Duration) {
	took = max(took, 0) // clocks of two processes are compared, and somebody may have set one back
	i := 0
	for i < steps && took > b[i] {
		i++
	}
	atomic.AddUint64(&d.counts[i], 1)
	atomic.AddUint64(&d.nanos, uint64(took))
}

// count is how many there were.
func (d *durations) count() (n uint64) {
	for i := range d.counts {
		n += atomic.LoadUint64(&d.counts[i])
	}
	return n
}

// load is what a histogram of Prometheus consists of: how many there were, their sum in seconds, and how many there were up to each bound.
func (d *durations) load(b *bounds) (count uint64, seconds float64, upTo map[float64]uint64) {
	upTo = make(map[float64]uint64, steps)
	for i := range d.counts {
		count += atomic.LoadUint64(&d.counts[i])
		if i < steps {
			upTo[b[i].Seconds()] = count
		}
	}
	return count, time.Duration(atomic.LoadUint64(&d.nanos)).Seconds(), upTo
}

// metric is the histogram as it is now.
func (d *durations) metric(desc *prometheus.Desc, b *bounds, labels ...string) prometheus.Metric {
	count, seconds, upTo := d.load(b)
	return prometheus.MustNewConstHistogram(desc, count, seconds, upTo, labels...)
}
