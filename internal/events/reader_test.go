package events

import (
	"path/filepath"
	"testing"
	"time"
)

func TestSince(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	before := Open(path, nil)
	for n := 1; n <= kept+500; n++ { // more than there are in memory
		tell(before, n)
	}
	before.Flush()
	before.Close()
	l := open(t, path)
	last := kept + 501
	tell(l, last)
	for _, since := range []int{0, 1, 2, 400, 501, 502, 600, last - 1, last} {
		mustTell(t, "from "+at(since).String(), read(t, l, From{Since: at(since)}), upTo(max(since, 1), last))
	}
	mustTell(t, "from between two", read(t, l, From{Since: at(9).Add(time.Nanosecond)}), upTo(10, last))
	mustTell(t, "from tomorrow", read(t, l, From{Since: at(last + 1)}), nil)
	for _, after := range []int{1, 2, 400, 501, 502, 600, last - 1, last} {
		mustTell(t, "after one", read(t, l, From{Since: at(after), After: uint64(after)}), upTo(after+1, last))
	}
}

// A server that could not write its last events gives their numbers again to others.
func TestGoesOnAlthoughNumbersBeginAnew(t *testing.T) {
	l := open(t, "")
	for n := 1; n <= 10; n++ {
		tell(l, n)
	}
	seen := From{Since: at(0), After: 500} // as another server said
	mustTell(t, "from another server's numbers", read(t, l, seen), upTo(1, 10))
	mustTell(t, "from later ones", read(t, l, From{Since: at(4), After: 500}), upTo(5, 10))
}

func TestFollow(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "x.events"))
	tell(l, 1)
	followed, late := follow(l, From{}, 100), follow(l, From{Since: at(51)}, 50)
	for n := 2; n <= 100; n++ {
		tell(l, n)
		if n%7 == 0 {
			l.Flush()
		}
	}
	l.Flush()
	mustTell(t, "the follower", parse(t, <-followed), upTo(1, 100))
	mustTell(t, "the late one", parse(t, <-late), upTo(51, 100))
}

// One that falls behind finds in the files what memory has forgotten, also where they were turned meanwhile.
func TestSlowFollower(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "x.events"))
	tell(l, 1)
	r := l.Read(From{})
	defer r.Close()
	text, _ := r.Next()
	last := 3*kept + 1
	for n := 2; n <= last; n++ {
		tell(l, n)
		if n%1000 == 0 {
			l.Flush()
		}
	}
	l.Flush()
	l.writing.Lock()
	l.file.turn()
	l.writing.Unlock()
	mustTell(t, "the slow one", parse(t, append(text, drain(r)...)), upTo(1, last))
}

// Without a file it is told what is left.
func TestSlowFollowerWithoutFile(t *testing.T) {
	l := open(t, "")
	tell(l, 1)
	r := l.Read(From{})
	defer r.Close()
	text, _ := r.Next()
	for n := 2; n <= kept+10; n++ {
		tell(l, n)
	}
	l.Flush()
	mustTell(t, "the slow one", parse(t, append(text, drain(r)...)), append([]int{1}, upTo(11, kept+10)...))
}

// A reader of all that is kept keeps nobody from writing.
func TestReaderKeepsNobodyWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.events")
	before := Open(path, nil)
	last := 2 * kept
	for n := 1; n <= last; n++ {
		tell(before, n)
	}
	before.Flush()
	before.Close()
	l := open(t, path)
	l.Flush()
	r := l.Read(From{})
	defer r.Close()
	text, _ := r.Next()
	tell(l, last+1)
	l.Flush() // while it is at the beginning
	mustTell(t, "all", parse(t, append(text, drain(r)...)), upTo(1, last+1))
}

// A disk that hangs keeps what is in memory from nobody.
func TestDiskThatHangs(t *testing.T) {
	l := open(t, "")
	tell(l, 1)
	l.Flush()
	l.writing.Lock()
	defer l.writing.Unlock()
	tell(l, 2)
	mustTell(t, "recent", parse(t, l.Recent()), []int{1})
	mustTell(t, "a reader", read(t, l, From{}), []int{1})
}
