package timeline

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"sessionlockfs/internal/events"
)

func TestHostileNames(t *testing.T) {
	name := "<script>alert(1)</script>\x1b[2J\xff\u202e\x00&amp;\"'\n]]>.lock"
	b := NewBuilder(second(0), second(100), nil)
	owner := &events.Process{PID: 7, Comm: "<b onload=x>\x1b]0;", Container: "\"><img src=x>\xfe"}
	b.Add(events.Event{Seq: 1, Time: second(1), Event: "granted", Lock: name, Token: 1, Owner: owner, Reason: "</title><script>"})
	b.Add(events.Event{Seq: 2, Time: second(2), Event: "refused", Lock: name, Token: 1, Owner: owner, By: owner, Act: "<i>", Reason: "\x07"})
	b.Add(events.Event{Seq: 3, Time: second(3), Event: "guarded", Lock: name, Token: 1, Owner: owner, By: owner, Write: "<u>\x9b"})
	h := b.History(MostLanes)
	svg := SVG(h, "/srv/<script>\x1b")
	for _, e := range parse(t, svg).all(func(*element) bool { return true }) {
		if !strings.Contains(" svg title style defs linearGradient stop pattern path circle rect g use text ", " "+e.name+" ") {
			t.Errorf("there is an element %s", e.name)
		}
		for a := range e.attr {
			if strings.HasPrefix(a, "on") || a == "href" && !strings.HasPrefix(e.attr[a], "#") {
				t.Errorf("%s has %s", e.name, a)
			}
		}
	}
	page := HTML(h, "/srv/<script>\x1b")
	if got := bytes.Count(page, []byte("<script")); got != 1 {
		t.Errorf("the page has %d scripts, want its own", got)
	}
	for _, picture := range [][]byte{svg, page} {
		for _, r := range string(picture) {
			if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e || r == utf8.RuneError {
				t.Fatalf("%q is in it", r)
			}
		}
		if !bytes.Contains(picture, []byte(`&lt;script&gt;alert(1)&lt;/script&gt;\x1b[2J\xff\u202e\x00&amp;amp;`)) {
			t.Errorf("the name can't be read")
		}
	}
}

func TestNothingFromElsewhere(t *testing.T) {
	page := string(HTML(built(0, []happened{{1, "granted", "x.lock", 1, "A", nil}}), "Locks of /srv"))
	for _, link := range regexp.MustCompile(`(?:https?:)?//[\w.]+|@import|url\([^#]`).FindAllString(page, -1) {
		if link != "http://www.w3.org" { // what SVG is called
			t.Errorf("the page mentions %s", link)
		}
	}
}

// An hour in which a hundred locks were taken 300,000 times, and a second in which one was as often as a file of events has room for.
func TestBigHistories(t *testing.T) {
	for name, c := range map[string]struct{ locks, each, seconds int }{"an hour": {100, 1000, 3600}, "a second": {1, 100000, 1}, "many at once": {60, 1700, 1}} {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder(second(0), second(float64(c.seconds)), nil)
			seq := uint64(0)
			add := func(at float64, what, lock string, token uint64, owner, by string) {
				seq++
				b.Add(events.Event{Seq: seq, Time: second(at), Event: what, Lock: lock, Token: token, Owner: process(owner), By: process(by)})
			}
			began, slot := time.Now(), float64(c.seconds)/float64(c.each)
			for i := range c.each {
				for k := range c.locks {
					lock, token, at := fmt.Sprintf("main/%d/a-session-of-an-agent-%d.jsonl.lock", k%7, k), uint64(i*c.locks+k+1), slot*float64(i)
					owner, other := string(rune('A'+(i+k)%26)), string(rune('a'+i%26))
					add(at, "granted", lock, token, owner, "")
					add(at+slot*0.2, "contended", lock, token, owner, other)
					add(at+slot*float64(2+i%7)/10, "released", lock, token, owner, "")
				}
			}
			h := b.History(MostLanes)
			svg := SVG(h, "Locks of /srv")
			took := time.Since(began)
			t.Logf("%d events, %d bytes in %v", seq, len(svg), took)
			if len(svg) > maxSize || took > 30*time.Second {
				t.Errorf("%d bytes in %v", len(svg), took)
			}
			lanes := parse(t, svg).classed("lane")
			if len(lanes) != min(MostLanes, c.locks) {
				t.Fatalf("%d lanes", len(lanes))
			}
			if h.Totals.Holds != c.locks*c.each || len(lanes[0].used(Wanted)) < 10 {
				t.Errorf("%d holds, %d marks in the first lane", h.Totals.Holds, len(lanes[0].used(Wanted)))
			}
		})
	}
}
