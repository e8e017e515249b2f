package events

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestGoesOnWhereTheFileEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	for start := range 3 {
		l := Open(path, nil)
		tell(l, 2*start+1)
		tell(l, 2*start+2)
		l.Close()
	}
	all := read(t, open(t, path), From{})
	mustTell(t, "all", all, upTo(1, 6))
	mustCount(t, all, 1)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v, want mode 0600", info.Mode(), err)
	}
}

// A server was killed, or the disk full, in the middle of a line.
func TestTornLine(t *testing.T) {
	for _, torn := range []string{`{"seq":3,"time":"2026-03-01T12:0`, `{"seq":3,"time":"2026-03-01T12:00:03Z","owner":{"pid":1}`, "\x00\x00\x00", "\n"} {
		path := filepath.Join(t.TempDir(), "x.events")
		l := Open(path, nil)
		tell(l, 1)
		tell(l, 2)
		l.Close()
		appendTo(t, path, torn)
		l = open(t, path)
		tell(l, 3)
		all := read(t, l, From{})
		mustTell(t, fmt.Sprintf("after %q", torn), all, upTo(1, 3))
		mustCount(t, all, 1)
		l.Close()
		mustTell(t, fmt.Sprintf("after %q, later", torn), read(t, open(t, path), From{}), upTo(1, 3))
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

const (
	small   = 64 << 10 // bytes of a file in the tests
	bigOnes = 64       // events that fill one
)

// openSmall opens a log whose files are small.
func openSmall(t testing.TB, path string) *Log {
	t.Helper()
	l := open(t, path)
	l.Flush()
	l.file.most = small
	return l
}

// big is an event that so many of fill a file.
func big(l *Log, second int) {
	l.Add(func() Event {
		return Event{Time: at(second), Token: uint64(second), Payload: strings.Repeat("x", small/bigOnes)}
	})
}

func TestTurnedAtSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	l := openSmall(t, path)
	const last = 3 * bigOnes
	for n := 1; n <= last; n++ {
		big(l, n)
		if n%10 == 0 {
			l.Flush()
		}
	}
	l.Flush()
	mustBeBounded(t, path)
	if names, _ := filepath.Glob(path + "*"); len(names) != 2 {
		t.Errorf("there are %v, want two files", names)
	}
	l.Close()
	again := open(t, path)
	tell(again, last+1)
	all := read(t, again, From{})
	if len(all) < bigOnes || tokens(all)[len(all)-1] != last+1 {
		t.Fatalf("%d events, to %d", len(all), tokens(all)[len(all)-1])
	}
	mustCount(t, all, all[0].Seq)
}

func mustBeBounded(t testing.TB, path string) {
	t.Helper()
	for _, path := range []string{path, path + ".1"} {
		if info, err := os.Stat(path); err != nil || info.Size() > small {
			t.Errorf("%s: %v, %v, want at most %d bytes", path, info.Size(), err, small)
		}
	}
}

// Many events at once do not make a file that is bigger than it may be.
func TestTurnedWithinABatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	l := openSmall(t, path)
	for n := 1; n <= 3*bigOnes; n++ {
		big(l, n)
	}
	l.Flush()
	mustBeBounded(t, path)
}

func TestOlderFileExpires(t *testing.T) {
	for age, stays := range map[time.Duration]bool{maxAge - time.Hour: true, maxAge + time.Hour: false} {
		path := filepath.Join(t.TempDir(), "x.events")
		l := Open(path, nil)
		tell(l, 1)
		l.Close()
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path+".1", then, then); err != nil {
			t.Fatal(err)
		}
		open(t, path).Flush()
		if _, err := os.Stat(path + ".1"); (err == nil) != stays {
			t.Errorf("after %v: %v, want that it stays: %v", age, err, stays)
		}
	}
}

// It also does while a mount lives.
func TestOlderFileExpiresMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	l := open(t, path)
	l.Flush()
	then := time.Now().Add(-maxAge - time.Hour)
	if err := errors.Join(os.WriteFile(path+".1", nil, 0o600), os.Chtimes(path+".1", then, then)); err != nil {
		t.Fatal(err)
	}
	tell(l, 1)
	l.Flush()
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Errorf("it was looked at at once: %v", err)
	}
	l.file.looked = time.Now().Add(-expires - time.Minute)
	tell(l, 2)
	l.Flush()
	if _, err := os.Stat(path + ".1"); err == nil {
		t.Error("it is still there")
	}
}

// failures opens a log, and hears why its file can't be written.
func failures(t *testing.T, path string) (l *Log, heard chan error) {
	heard = make(chan error, 100)
	l = Open(path, func(err error) { heard <- err })
	t.Cleanup(l.Close)
	return l, heard
}

// What can't be written is in memory, and what can later is in the file.
func TestFileThatCantBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	l, heard := failures(t, path)
	for n := 1; n <= 3; n++ {
		tell(l, n)
		l.Flush()
	}
	mustTell(t, "in memory", read(t, l, From{}), upTo(1, 3))
	if len(heard) != 1 {
		t.Errorf("%d errors are told, want one", len(heard))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	tell(l, 4)
	mustTell(t, "then", read(t, l, From{}), upTo(1, 4))
	l.Close()
	mustTell(t, "the file", read(t, open(t, path), From{}), []int{4})
}

// A disk that is full cuts lines, which spoil none that is written when there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("can't mount: ", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	path, ballast := filepath.Join(dir, "x.events"), filepath.Join(dir, "ballast")
	l, heard := failures(t, path)
	tell(l, 1)
	l.Flush()
	_ = os.WriteFile(ballast, bytes.Repeat([]byte("x"), 1<<20), 0o600) // until there is no room
	for n := 2; n <= 100; n++ {
		tell(l, n)
		l.Flush()
	}
	mustTell(t, "while it is full", read(t, l, From{}), upTo(1, 100))
	if len(heard) != 1 || !errors.Is(<-heard, unix.ENOSPC) {
		t.Error("that it is full is not told, or told again and again")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	tell(l, 101)
	mustTell(t, "with room again", read(t, l, From{}), upTo(1, 101))
	l.Close()
	after := tokens(read(t, open(t, path), From{}))
	if after[0] != 1 || after[len(after)-1] != 101 {
		t.Errorf("the file has %v, want 1 and 101", after)
	}
}

// Somebody takes the file away, as logrotate does.
func TestFileTakenAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	l := open(t, path)
	tell(l, 1)
	l.Flush()
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	tell(l, 2)
	mustTell(t, "all", read(t, l, From{}), upTo(1, 2))
	l.Close()
	all := read(t, open(t, path), From{})
	mustTell(t, "the file", all, []int{2})
	mustCount(t, all, 2)
}

// Where the file can't be turned it begins anew, and does not grow for ever.
func TestFileThatCantBeTurned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	if err := os.MkdirAll(filepath.Join(path+".1", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	l := openSmall(t, path)
	for n := 1; n <= 3*bigOnes; n++ {
		big(l, n)
	}
	l.Flush()
	if info, err := os.Stat(path); err != nil || info.Size() > small {
		t.Errorf("the file: %v, %v, want at most %d bytes", info.Size(), err, small)
	}
	if all := read(t, l, From{}); tokens(all)[len(all)-1] != 3*bigOnes {
		t.Error("the last event is not there")
	}
}

// Two servers never write one file: each would turn it under the other's hands.
func TestOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	one := open(t, path)
	tell(one, 1)
	one.Flush()
	two, heard := failures(t, path)
	tell(two, 100)
	two.Flush()
	if len(heard) != 1 || !strings.Contains((<-heard).Error(), "another") {
		t.Error("that somebody else writes it is not told")
	}
	tell(one, 2)
	mustTell(t, "the one", read(t, one, From{}), upTo(1, 2))
	one.Close()
	tell(two, 101)
	two.Close()
	all := read(t, open(t, path), From{})
	mustTell(t, "both", all, []int{1, 2, 101})
	if all[2].Seq <= all[1].Seq {
		t.Errorf("number %d comes after %d", all[2].Seq, all[1].Seq)
	}
}

// fillFiles makes both files as big as they get, and gives the number of their events.
func fillFiles(t testing.TB, path string) (events int) {
	t.Helper()
	for _, path := range []string{path + ".1", path} {
		var text bytes.Buffer
		for text.Len() < maxSize-1024 {
			events++
			l, err := encode(Event{
				Seq: uint64(events), Time: at(events), Event: "granted", Lock: "main/a.jsonl.lock", Token: uint64(events),
				Owner:   &Process{PID: 12345, NSPIDs: []int32{12345, 17}, UID: 1000, Comm: "node", Container: strings.Repeat("0123456789abcdef", 4)},
				Payload: strings.Repeat("x", 1<<10),
			})
			if err != nil {
				t.Fatal(err)
			}
			text.Write(l.text)
		}
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// A server that takes over must not keep anybody waiting for the history.
func TestStartWithMuchHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	last := fillFiles(t, path)
	fastest := time.Hour
	for range 5 { // others may have the processors
		started := time.Now()
		l := Open(path, nil)
		l.Add(func() Event { return Event{Time: time.Now(), Event: TookOver} })
		fastest = min(fastest, time.Since(started))
		l.Close()
	}
	if fastest > 20*time.Millisecond {
		t.Errorf("opened, and the first event told, after %v", fastest)
	}
	last += 5
	l := open(t, path)
	l.Flush()
	recent := parse(t, l.Recent())
	mustCount(t, recent, uint64(last+1-len(recent)))
	if len(recent) < tailSize/2048 || len(recent) > kept {
		t.Errorf("%d events in memory", len(recent))
	}
	r := l.Read(From{})
	defer r.Close()
	if all := bytes.Count(drain(r), []byte{'\n'}); all != last {
		t.Errorf("%d events are read, want %d", all, last)
	}
}

// What it costs to read all that is kept.
func BenchmarkReadAll(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.events")
	fillFiles(b, path)
	l := open(b, path)
	l.Flush()
	b.SetBytes(2 * maxSize)
	for b.Loop() {
		r := l.Read(From{Since: at(2)})
		for text, _ := r.Next(); len(text) > 0; text, _ = r.Next() {
		}
		r.Close()
	}
}
