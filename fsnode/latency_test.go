package fsnode

import (
	"testing"
	"time"
)

func lookupRequest() Request {
	r := make(Request, inHeaderSize)
	r.header().Opcode = opLookup
	return r
}

func TestDurations(t *testing.T) {
	var d durations
	for _, took := range []time.Duration{-time.Second, 0, 5 * time.Microsecond, 6 * time.Microsecond, time.Second, time.Hour} {
		d.add(&latencyBounds, took)
	}
	count, seconds, upTo := d.load(&latencyBounds)
	if want := 3601.000011; count != 6 || seconds < want-1e-6 || seconds > want+1e-6 {
		t.Errorf("%d durations of %v s, want 6 of %v s", count, seconds, want)
	}
	for bound, want := range map[float64]uint64{5e-6: 3, 1e-5: 4, 0.1: 4, 1: 5, 10: 5} {
		if upTo[bound] != want {
			t.Errorf("%d took up to %v s, want %d", upTo[bound], bound, want)
		}
	}
}

func TestLatencyMakesNothing(t *testing.T) {
	l, r := newLatency(), lookupRequest()
	if n := testing.AllocsPerRun(100, func() { l.Answered(r, l.Now()) }); n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
}

// BenchmarkLatency is what is added to each request, and beside it what a single time.Now would add.
func BenchmarkLatency(b *testing.B) {
	r := lookupRequest()
	b.Run("request", func(b *testing.B) {
		l := newLatency()
		for range b.N {
			l.Answered(r, l.Now())
		}
	})
	b.Run("request on every processor", func(b *testing.B) {
		l := newLatency()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				l.Answered(r, l.Now())
			}
		})
	})
	b.Run("time.Now", func(b *testing.B) {
		var last time.Time
		for range b.N {
			last = time.Now()
		}
		_ = last
	})
}
