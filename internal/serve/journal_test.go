package serve

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"sessionlockfs/internal/events"
	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// journalOf is one whose log says nothing of what is ordinary, as by default.
func journalOf(t testing.TB, path string) *journal {
	t.Helper()
	j := &journal{
		log:       zerolog.Nop(),
		processes: reclaim.New(reclaim.Options{Features: reclaim.Probe()}),
		events:    events.Open(path, func(err error) { t.Error(err) }),
		metrics:   newMetrics(prometheus.NewRegistry()),
		places:    newPlaces(func(id lockmgr.InodeID) (string, bool) { return "main/", true }),
	}
	t.Cleanup(j.events.Close)
	return j
}

func recorded(t testing.TB, j *journal) (all []events.Event) {
	t.Helper()
	for line := range strings.Lines(string(j.events.Recent())) {
		var ev events.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		all = append(all, ev)
	}
	return all
}

// A client that is refused in a tight loop must not push everything else out of the history.
func TestRefusalsAreToldLessAndLess(t *testing.T) {
	j := journalOf(t, "")
	for n := 1; n <= 100_000; n++ {
		j.record(lockmgr.Event{What: lockmgr.Refused, Refused: n})
	}
	var last []int
	for _, ev := range recorded(t, j) {
		last = append(last, ev.Refused)
	}
	if got, want := fmt.Sprint(last[18:]), "[19 20 40 80 160 320 640 1280 2560 5120 10240 20480 40960 81920]"; got != want {
		t.Errorf("told at last of %s, want %s", got, want)
	}
}

// Nor must a hundred thousand grants that are taken over.
func TestGrantsTakenOverAreCounted(t *testing.T) {
	for taken, missing := range map[int]uint64{0: 0, mostRestored: 0, mostRestored + 5: 5} {
		j := journalOf(t, "")
		for range taken {
			j.record(lockmgr.Event{What: lockmgr.Restored})
		}
		j.allRestored()
		all := recorded(t, j)
		last := events.Event{}
		if len(all) > mostRestored {
			last = all[mostRestored]
		}
		if len(all) > mostRestored+1 || last.Missing != missing || missing > 0 && last.Event != events.Lost {
			t.Errorf("%d grants: %d events, the last %+v, want %d missing", taken, len(all), last, missing)
		}
	}
}

// Who did it is looked at while it waits for us, and as far as that can be without waiting for it.
func TestWhoDidIt(t *testing.T) {
	j := journalOf(t, "")
	self := lockmgr.Process{Identity: lockmgr.Identity{PID: int32(os.Getpid()), StartTime: 1}}
	other := lockmgr.Process{Identity: lockmgr.Identity{PID: 1 << 22, StartTime: 1}} // above every PID
	now := time.Now()
	j.record(lockmgr.Event{What: lockmgr.Refused, Refused: 1, Owner: other, By: self.Identity, Time: now, Act: lockmgr.Remove})
	j.record(lockmgr.Event{What: lockmgr.Refused, Refused: 1, Owner: self, By: other.Identity})
	j.record(lockmgr.Event{What: lockmgr.Released, Owner: self, By: self.Identity, Since: now.Add(-time.Second), Time: now})
	all := recorded(t, j)
	if by := all[0].By; by == nil || by.PID != int32(os.Getpid()) || by.Comm == "" || int(by.UID) != os.Getuid() || len(by.NSPIDs) == 0 {
		t.Errorf("refused to %+v, want this process", by)
	}
	if by := all[1].By; by == nil || by.PID != 1<<22 || by.Comm != "" {
		t.Errorf("refused to %+v, want the one of which nothing is known", by)
	}
	if all[2].By != nil || all[2].Held != 1 {
		t.Errorf("%+v, want that it was held for a second, and nobody else", all[2])
	}
}

// granted is an event of the kind that there are most of.
func granted() lockmgr.Event {
	return lockmgr.Event{
		What: lockmgr.GrantedTo, Time: time.Now(), Key: lockmgr.Key{Dir: lockmgr.InodeID{Dev: 1, Ino: 7}, Name: "a.jsonl.lock"}, Token: 1795476986250336,
		Owner: lockmgr.Process{Identity: lockmgr.Identity{PID: 12345, StartTime: 1}, NSPIDs: []int32{12345}, UID: 1000, Comm: "node"},
	}
}

// What it costs while the turn of a lock is taken. To take and to release a lock makes two events.
func BenchmarkRecord(b *testing.B) {
	j, ev := journalOf(b, ""), granted()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		j.record(ev)
		if n%1024 == 0 {
			b.StopTimer()
			j.events.Flush()
			b.StartTimer()
		}
	}
}

// The same of what somebody else did, which is looked at once in a second.
func BenchmarkRecordBy(b *testing.B) {
	j, ev := journalOf(b, ""), granted()
	ev.What, ev.By = lockmgr.Contended, lockmgr.Identity{PID: int32(os.Getpid()), StartTime: 1}
	for n := 0; b.Loop(); n++ {
		j.record(ev)
		if n%1024 == 0 {
			b.StopTimer()
			j.events.Flush()
			b.StartTimer()
		}
	}
}

// What an event costs in all, most of it in the background.
func BenchmarkRecordAndWrite(b *testing.B) {
	j, ev := journalOf(b, filepath.Join(b.TempDir(), "x.events")), granted()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		j.record(ev)
		if n%256 == 0 {
			j.events.Flush()
		}
	}
}
