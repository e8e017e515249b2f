package serve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionlockfs/lockmgr"
)

// metrics count what happened since this server started. Prometheus takes a count that begins anew for what it is.
//
// To count means atomic additions only: it is done while a name's turn is taken.
type metrics struct {
	events   counters // by lockmgr.What
	refusals counters // by lockmgr.Act
	reclaims counters // by lockmgr.Cause
	reported counters // by lockmgr.WriteKind
	denied   counters // the same
	held     prometheus.Histogram
}

// counters are found by a byte, whatever it is: what is not counted is nil.
type counters [256]prometheus.Counter

// plainly are the events of which nothing is told but their number.
var plainly = map[lockmgr.What]prometheus.CounterOpts{
	lockmgr.GrantedTo:   {Name: "grants_total", Help: "Locks granted: exclusive creates that won."},
	lockmgr.Released:    {Name: "releases_total", Help: "Locks that their owners removed, or that were found to be gone."},
	lockmgr.Orphaned:    {Name: "orphaned_total", Help: "Locks whose owner died that stay until somebody takes or removes them."},
	lockmgr.AbandonedBy: {Name: "abandoned_total", Help: "Locks whose owner died that stay because they could be data."},
	lockmgr.Forced:      {Name: "forced_releases_total", Help: "Locks that a person released."},
	lockmgr.Expired:     {Name: "expired_total", Help: "Locks that others removed because they were held for longer than the hold limit."},
	lockmgr.Adopted:     {Name: "adopted_total", Help: "Locks made past the mount, or before it, that a living process was found to hold."},
	lockmgr.Contended:   {Name: "contended_total", Help: "Processes that came to look up a lock that another one holds, as one does that is refused it."},
	lockmgr.Unrecorded:  {Name: "unrecorded_total", Help: "Changes of a grant that could not be recorded, so that a later server may not know of them."},
}

// holds are bounds of how long locks are held, in seconds: a shell's, an agent's turn, one that holds for as long as it lives.
var holds = []float64{.001, .005, .025, .1, .5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600}

const (
	namespace = "sessionlockfs"
	unguarded = "Writes of other processes to a file whose lock is held, one for each process, kind of write and grant."
)

func newMetrics(to prometheus.Registerer) *metrics {
	m := &metrics{held: prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "hold_duration_seconds", Buckets: holds, Help: "For how long locks were held, once they are no more.",
	})}
	to.MustRegister(m.held)
	for what, opts := range plainly {
		opts.Namespace = namespace
		m.events[what] = prometheus.NewCounter(opts)
		to.MustRegister(m.events[what])
	}
	refusals := vector(to, "refusals_total", "Acts on locks that were refused, by the act. An exclusive create that is refused is a look-up: see contended_total.", "act")
	for act := lockmgr.Remove; act <= lockmgr.Take; act++ {
		m.refusals[act] = refusals.WithLabelValues(act.String())
	}
	reclaims := vector(to, "reclaims_total", "Orphans that were removed, by what they were removed for.", "reason")
	for cause := lockmgr.OwnerDied; cause <= lockmgr.ByPerson; cause++ {
		m.reclaims[cause] = reclaims.WithLabelValues(cause.String())
	}
	guarded := vector(to, "guard_reports_total", unguarded, "write", "denied")
	for write := lockmgr.WriteOpen; write <= lockmgr.WriteRemove; write++ {
		m.reported[write] = guarded.WithLabelValues(write.String(), "false")
		m.denied[write] = guarded.WithLabelValues(write.String(), "true")
	}
	return m
}

// vector is a counter with labels. All its values are there from the start, or their first increase would not be seen.
func vector(to prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	to.MustRegister(v)
	return v
}

// count counts an event.
func (m *metrics) count(ev lockmgr.Event) {
	counter := m.events[ev.What]
	switch ev.What {
	case lockmgr.Refused:
		counter = m.refusals[ev.Act]
	case lockmgr.Reclaimed:
		counter = m.reclaims[ev.Cause]
	case lockmgr.Guarded:
		counter = m.reported[ev.Write]
		if ev.Denied {
			counter = m.denied[ev.Write]
		}
	}
	if counter != nil {
		counter.Inc()
	}
	if ev.Ended {
		m.held.Observe(max(0, ev.Time.Sub(ev.Since).Seconds()))
	}
}

// tellOfServer adds what is to be known of the server as such.
func (s *server) tellOfServer(to prometheus.Registerer) {
	info := func(name, help string, labels prometheus.Labels) prometheus.Collector {
		opts := prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}
		return prometheus.NewGaugeFunc(opts, func() float64 { return 1 })
	}
	started := float64(time.Now().UnixNano()) / 1e9
	to.MustRegister(
		info("build_info", "The program that serves. Always 1.", prometheus.Labels{"version": s.config.Version}),
		info("mount_info", "What is mounted where. Always 1.", prometheus.Labels{"mountpoint": s.end.Point, "source": s.end.Source.Name()}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Name: "start_time_seconds", Help: "When this server began to serve, in seconds since 1970.",
		}, func() float64 { return started }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace, Name: "events_lost_total", Help: "Events that were not kept, as more happened at once than is kept.",
		}, func() float64 { return float64(s.events.Lost()) }),
	)
}
