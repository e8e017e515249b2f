package events

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// at is a moment in the history of the tests.
func at(second int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
}

// tell adds an event that happened so many seconds into the history.
func tell(l *Log, second int) {
	l.Add(func() Event {
		return Event{Time: at(second), Event: "granted", Lock: fmt.Sprintf("%d.lock", second), Token: uint64(second)}
	})
}

// open opens a log that is closed when the test ends.
func open(t testing.TB, path string) *Log {
	t.Helper()
	l := Open(path, func(err error) { t.Errorf("the file: %v", err) })
	t.Cleanup(l.Close)
	return l
}

func parse(t testing.TB, text []byte) (all []Event) {
	t.Helper()
	for line := range strings.Lines(string(text)) {
		var ev Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		all = append(all, ev)
	}
	return all
}

// read reads what there is.
func read(t testing.TB, l *Log, from From) []Event {
	t.Helper()
	r := l.Read(from)
	defer r.Close()
	return parse(t, drain(r))
}

func drain(r *Reader) (all []byte) {
	for {
		text, _ := r.Next()
		if len(text) == 0 {
			return all
		}
		all = append(all, text...)
	}
}

// tokens are those of events, which tell in the tests when they happened.
func tokens(all []Event) (tokens []int) {
	for _, ev := range all {
		tokens = append(tokens, int(ev.Token))
	}
	return tokens
}

func upTo(first, last int) (all []int) {
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

func mustTell(t testing.TB, what string, all []Event, want []int) {
	t.Helper()
	if got := tokens(all); !slices.Equal(got, want) {
		t.Errorf("%s: %s, want %s", what, briefly(got), briefly(want))
	}
}

func briefly(all []int) string {
	if len(all) <= 8 {
		return fmt.Sprint(all)
	}
	return fmt.Sprintf("%d from %v to %v", len(all), all[:4], all[len(all)-4:])
}

// mustCount requires that each number is one more than the one before.
func mustCount(t testing.TB, all []Event, first uint64) {
	t.Helper()
	for i, ev := range all {
		if ev.Seq != first+uint64(i) {
			t.Fatalf("event %d has number %d, want %d", i, ev.Seq, first+uint64(i))
		}
	}
}

func TestOrder(t *testing.T) {
	for _, path := range []string{"", filepath.Join(t.TempDir(), "deep", "x.events")} {
		l := open(t, path)
		for n := 1; n <= 1000; n++ {
			tell(l, n)
		}
		all := read(t, l, From{})
		mustTell(t, "all of "+path, all, upTo(1, 1000))
		mustCount(t, all, 1)
		mustTell(t, "recent ones of "+path, parse(t, l.Recent()), upTo(1, 1000))
	}
}

// What is told is written soon, without anybody asking for it.
func TestWrittenSoon(t *testing.T) {
	l := open(t, "")
	r := l.Read(From{})
	defer r.Close()
	_, more := r.Next()
	tell(l, 1)
	select {
	case <-more:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was written")
	}
	text, _ := r.Next()
	mustTell(t, "then", parse(t, text), []int{1})
}

func TestMemoryIsBounded(t *testing.T) {
	l := open(t, "")
	for n := 1; n <= kept+100; n++ {
		tell(l, n)
		if n%1000 == 0 {
			l.Flush()
		}
	}
	mustTell(t, "the last", parse(t, l.Recent()), upTo(101, kept+100))

	big := strings.Repeat("\x00", 4<<10) // six times that as JSON
	for n := 1; n <= 800; n++ {
		l.Add(func() Event { return Event{Time: at(n), Payload: big} })
	}
	l.Flush()
	if text := l.Recent(); len(text) > keptSize || len(text) < keptSize-30<<10 {
		t.Errorf("%d bytes in memory, want nearly %d", len(text), keptSize)
	}
	if m := &l.memory; m.size > keptSize {
		t.Errorf("%d bytes counted", m.size)
	}
}

func TestOverflow(t *testing.T) {
	l := open(t, "")
	l.writing.Lock() // as a disk that hangs would
	for n := 1; n <= maxQueue+10; n++ {
		tell(l, n)
	}
	l.writing.Unlock()
	l.Flush()
	all := read(t, l, From{})
	last := all[len(all)-1]
	if last.Event != Lost || last.Missing != 10 || last.Seq != maxQueue+1 || last.Time.IsZero() {
		t.Errorf("the last event is %+v, want that 10 are lost", last)
	}
	if before := all[len(all)-2]; before.Token != maxQueue {
		t.Errorf("the one before is %d, want %d", before.Token, maxQueue)
	}
	if lost := l.Lost(); lost != 10 {
		t.Errorf("%d lost, want 10", lost)
	}
	tell(l, maxQueue+11)
	mustTell(t, "afterwards", read(t, l, From{After: last.Seq, Since: last.Time}), []int{maxQueue + 11})
}

// Nobody who tells of an event may wait for what becomes of it, nor any reader for another.
func TestConcurrent(t *testing.T) {
	const tellers, each = 8, 500
	l := open(t, filepath.Join(t.TempDir(), "x.events"))
	stop := make(chan struct{})
	var telling, asking sync.WaitGroup
	for teller := range tellers {
		telling.Go(func() {
			for n := range each {
				tell(l, teller*each+n+1)
			}
		})
	}
	for range 2 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					l.Flush()
					l.Recent()
					drainAndClose(l.Read(From{}))
				}
			}
		})
	}
	followed := follow(l, From{}, tellers*each)
	telling.Wait()
	all := parse(t, <-followed)
	close(stop)
	asking.Wait()
	mustCount(t, all, 1)
	got := tokens(all)
	slices.Sort(got)
	if !slices.Equal(got, upTo(1, tellers*each)) {
		t.Errorf("%d events, want %d", len(got), tellers*each)
	}
}

func drainAndClose(r *Reader) {
	drain(r)
	r.Close()
}

// follow reads until it has so many events, or the log ends.
func follow(l *Log, from From, count int) <-chan []byte {
	all := make(chan []byte, 1)
	go func() {
		r := l.Read(from)
		defer r.Close()
		var text []byte
		for strings.Count(string(text), "\n") < count {
			next, more := r.Next()
			text = append(text, next...)
			if len(next) == 0 {
				if more == nil {
					break
				}
				<-more
			}
		}
		all <- text
	}()
	return all
}

// Who follows hears all that was told before the end, and then the end.
func TestClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	l := Open(path, nil)
	followed := follow(l, From{}, 100)
	tell(l, 1)
	l.Flush()
	tell(l, 2)
	l.Close()
	select {
	case text := <-followed:
		mustTell(t, "the follower", parse(t, text), []int{1, 2})
	case <-time.After(10 * time.Second):
		t.Fatal("the follower does not end")
	}
	tell(l, 3) // nobody is to fall over it
	l.Flush()
	mustTell(t, "afterwards", read(t, open(t, path), From{}), []int{1, 2})
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain":              "plain",
		"\u00e9 \u4e16":      "\u00e9 \u4e16",
		"\u009b2J":           `\u009b2J`,
		"\u007f\u0080\u00a0": `\u007f\u0080` + "\u00a0",
		"\xc2":               "\xc2",
	} {
		if got := string(Escape([]byte(text))); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	l := open(t, "")
	l.Add(func() Event { return Event{Time: at(1), Lock: "\x1b[2J\u009b2J\x7f.lock"} })
	text := l.Recent()
	if strings.ContainsAny(string(text), "\x1b\u009b\x7f") {
		t.Errorf("%q has controls", text)
	}
	if all := parse(t, text); all[0].Lock != "\x1b[2J\u009b2J\x7f.lock" {
		t.Errorf("the name becomes %q", all[0].Lock)
	}
}

// What it costs whoever tells of an event, with the turn of a lock taken.
func BenchmarkAdd(b *testing.B) {
	l := open(b, "")
	ev := Event{Time: time.Now(), Event: "granted", Lock: "main/a.jsonl.lock", Token: 1, Owner: &Process{PID: 1, Comm: "node"}}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		l.Add(func() Event { return ev })
		if n%1024 == 0 {
			b.StopTimer()
			l.Flush()
			b.StartTimer()
		}
	}
}

// What it costs afterwards, in the background.
func BenchmarkFlush(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "x.events"))
	ev := Event{
		Time: time.Now(), Event: "granted", Lock: "main/a.jsonl.lock", Token: 1795476986250336,
		Owner: &Process{PID: 12345, NSPIDs: []int32{12345}, UID: 1000, Comm: "node"},
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		l.Add(func() Event { return ev })
		if n%256 == 0 {
			l.Flush()
		}
	}
}
