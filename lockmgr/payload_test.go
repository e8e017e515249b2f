package lockmgr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParsePayload(t *testing.T) {
	spaces := strings.Repeat(" ", MaxPayload)
	for _, row := range []struct {
		name string
		c    Content
		want Payload
		ok   bool
	}{
		{"empty file", file(""), Payload{Empty: true}, true},
		{"empty directory", Content{Kind: KindDir}, Payload{Empty: true}, true},
		{"full directory", Content{Kind: KindDir, Full: true}, Payload{}, false},
		{"directory of locks", dirOf(file("7"), file(""), file(`{"pid":7,"createdAt":"x"}`)), Payload{PID: 7}, true},
		{"directory of empty files", dirOf(file(""), file("")), Payload{Empty: true}, true},
		{"directory of two makers' locks", dirOf(file("7"), file("8")), Payload{}, true},
		{"directory with data", dirOf(file("7"), file("data")), Payload{}, false},
		{"directory with a symlink", dirOf(Content{Kind: KindSymlink, Data: []byte("7")}), Payload{}, false},
		{"directory of too many", dirOf(make([]Content, MaxFiles+1)...), Payload{}, false},
		{"fifo", Content{Kind: KindOther}, Payload{}, false},
		{"integer", file("123"), Payload{PID: 123}, true},
		{"integer and newline", file("123\n"), Payload{PID: 123}, true},
		{"integer, padded as in HDB UUCP locks", file("       123\n"), Payload{PID: 123}, true},
		{"negative integer", file("-1"), Payload{PID: -1}, true},
		{"integer with a plus", file("+12"), Payload{}, false},
		{"integer with blanks of other scripts", file("\u00a012\u2003"), Payload{}, false},
		{"two integers", file("123 456"), Payload{}, false},
		{"too large an integer", file("99999999999999999999"), Payload{}, false},
		{"hexadecimal", file("0x10"), Payload{}, false},
		{"white space", file(" \n"), Payload{}, false},
		{"symlink to an integer", Content{Kind: KindSymlink, Data: []byte("123")}, Payload{PID: 123}, true},
		{"symlink to host:pid", Content{Kind: KindSymlink, Data: []byte("host:123")}, Payload{}, false},
		{"symlink to JSON", Content{Kind: KindSymlink, Data: []byte(`{"pid":1}`)}, Payload{}, false},
		{"OpenClaw up to 2026.3.1", file("{\n  \"pid\": 7,\n  \"createdAt\": \"2026-03-01T12:00:00.000Z\"\n}"), Payload{PID: 7, CreatedAt: true}, true},
		{"OpenClaw from 2026.5 on", file("{\n  \"pid\": 7,\n  \"createdAt\": \"2026-03-01T12:00:00.000Z\",\n  \"starttime\": 88,\n  \"maxHoldMs\": 600000\n}\n"),
			Payload{PID: 7, CreatedAt: true, MaxHold: 10 * time.Minute}, true},
		{"the early store", file(`{"pid":7,"startedAt":1772366400000}`), Payload{PID: 7}, true},
		{"a token as trailing blanks", file("{\"pid\":7,\"createdAt\":\"x\"} \t \t\t  \n"), Payload{PID: 7, CreatedAt: true}, true},
		{"half written", file(`{"pid":7,"cre`), Payload{}, false},
		{"no pid", file(`{"createdAt":"x"}`), Payload{}, false},
		{"pid is a string", file(`{"pid":"7"}`), Payload{}, false},
		{"pid is a fraction", file(`{"pid":7.5}`), Payload{}, false},
		{"pid is null", file(`{"pid":null}`), Payload{}, false},
		{"pid deeper down", file(`{"owner":{"pid":7}}`), Payload{}, false},
		{"two pids, the last counts", file(`{"pid":7,"pid":8}`), Payload{PID: 8}, true},
		{"Pid is not pid", file(`{"Pid":7}`), Payload{}, false},
		{"array", file(`[{"pid":7}]`), Payload{}, false},
		{"two objects", file(`{"pid":7}{"pid":7}`), Payload{}, false},
		{"YAML", file("version: 1\n"), Payload{}, false},
		{"limit of nothing", file(`{"pid":7,"maxHoldMs":0}`), Payload{PID: 7}, true},
		{"negative limit", file(`{"pid":7,"maxHoldMs":-5}`), Payload{PID: 7}, true},
		{"the longest limit", file(`{"pid":7,"maxHoldMs":2147000000}`), Payload{PID: 7, MaxHold: 2147000 * time.Second}, true},
		{"limit beyond belief", file(`{"pid":7,"maxHoldMs":9223372036854775807}`), Payload{PID: 7}, true},
		{"64 KiB", file(`{"pid":7}` + spaces[:MaxPayload-9]), Payload{PID: 7}, true},
		{"a byte more", file(`{"pid":7}` + spaces[:MaxPayload-8]), Payload{}, false},
	} {
		t.Run(strings.ReplaceAll(row.name, " ", "_"), func(t *testing.T) {
			if got, ok := ParsePayload(row.c); got != row.want || ok != row.ok {
				t.Errorf("got %+v %t, want %+v %t", got, ok, row.want, row.ok)
			}
		})
	}
}

func TestRecognise(t *testing.T) {
	maker := []int32{123, 1}
	for _, row := range []struct {
		name string
		c    Content
		want bool
	}{
		{"its PID", file("123\n"), true},
		{"its PID in its own namespace", file("1\n"), true},
		{"another PID", file("124\n"), false},
		{"its PID, 32 bits too long", file("4294967419"), false},
		{"zero", file("0"), false},
		{"negative", file("-123"), false},
		{"JSON", file(`{"pid":123,"createdAt":"x"}`), true},
		{"JSON without more", file(`{"pid":1}`), true},
		{"JSON with another PID", file(`{"pid":2}`), false},
		{"empty", file(""), true},
		{"empty directory", Content{Kind: KindDir}, true},
		{"full directory", Content{Kind: KindDir, Full: true}, false},
		{"directory of its locks", dirOf(file("123"), file("1"), file("")), true},
		{"directory with another's", dirOf(file("123"), file("2")), false},
		{"directory with data", dirOf(file("data")), false},
		{"symlink", Content{Kind: KindSymlink, Data: []byte("123")}, true},
		{"symlink elsewhere", Content{Kind: KindSymlink, Data: []byte("124")}, false},
		{"socket", Content{Kind: KindOther}, false},
		{"data", file("# lock file\n"), false},
	} {
		if got := Recognise(row.c, maker); got != row.want {
			t.Errorf("%s: got %t, want %t", row.name, got, row.want)
		}
	}
	if Recognise(file("1"), nil) {
		t.Error("recognised the lock of nobody")
	}
}

func dirOf(files ...Content) Content { return Content{Kind: KindDir, Files: files} }

func TestNamesMaker(t *testing.T) {
	for _, row := range []struct {
		c    Content
		want int32
		ok   bool
	}{
		{file("123\n"), 123, true},
		{file(`{"pid":123}`), 123, true},
		{Content{Kind: KindSymlink, Data: []byte("123")}, 123, true},
		{file("0"), 0, false},
		{file("-5"), -5, false},
		{file("4294967419"), 123, false}, // 123 and 32 bits more
		{file(""), 0, false},
		{file("data"), 0, false},
		{dirOf(file("123")), 0, false},
	} {
		if got, ok := NamesMaker(row.c); ok != row.ok || ok && got != row.want {
			t.Errorf("%q: got %d %t", row.c.Data, got, ok)
		}
	}
	if !Names(dirOf(file(""), file("7")), []int32{7}) || Names(dirOf(file("")), []int32{0}) {
		t.Error("the files of a directory do not name its maker")
	}
}

func TestKeepsOpen(t *testing.T) {
	for _, row := range []struct {
		name string
		c    Content
		want bool
	}{
		{"x.lock", file(`{"pid":7,"createdAt":"x"}`), true},
		{"x.lock", file(`{"pid":7,"startedAt":1}`), false},
		{"x.lock", file("7"), false},
		{"x.lock", file(""), false},
		{"x.jsonl.lock", file(""), true},
		{"x.jsonl.lock", Content{Kind: KindDir}, false},
		{"x.jsonl.lock", file("data"), false},
	} {
		if got := KeepsOpen(row.c, row.name); got != row.want {
			t.Errorf("%s %q: got %t, want %t", row.name, row.c.Data, got, row.want)
		}
	}
}

func FuzzParsePayload(f *testing.F) {
	for _, s := range []string{"", "1", " 7\n", `{"pid":7}`, `{"pid":7,"createdAt":"x","maxHoldMs":5}`, "{", "null", "[1]", `{"pid":1e3}`} {
		for kind := range uint8(4) {
			f.Add([]byte(s), kind, false)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, full bool) {
		c := Content{Kind: Kind(kind % 4), Data: data, Full: full}
		before := bytes.Clone(data)
		p, ok := ParsePayload(c)
		if !bytes.Equal(before, data) {
			t.Error("the data was changed")
		}
		if !ok && p != (Payload{}) {
			t.Errorf("not a payload, and %+v", p)
		}
		if ok != plainlyLock(c) {
			t.Errorf("%s %q: recognised %t", c.Kind, data, ok)
		}
		if p.MaxHold < 0 || p.MaxHold > 25*24*time.Hour {
			t.Errorf("hold limit of %s", p.MaxHold)
		}
		for _, maker := range [][]int32{nil, {0}, {7, 1}} {
			if Recognise(c, maker) && !ok {
				t.Error("recognised what is no payload")
			}
		}
		if KeepsOpen(c, "x.jsonl.lock") && (!ok || c.Kind != KindFile) {
			t.Error("kept open, but no payload")
		}
	})
}

// plainlyLock is the word "recognised" again, by other means.
func plainlyLock(c Content) bool {
	text := strings.TrimSpace(string(c.Data))
	_, notInteger := strconv.ParseInt(text, 10, 64)
	switch {
	case c.Kind == KindDir:
		return !c.Full
	case c.Kind == KindOther, len(c.Data) > 65536:
		return false
	case c.Kind == KindSymlink:
		return notInteger == nil
	case len(c.Data) == 0 || notInteger == nil:
		return true
	}
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(c.Data))
	d.UseNumber()
	if !json.Valid(c.Data) || d.Decode(&object) != nil || object == nil {
		return false
	}
	n, isNumber := object["pid"].(json.Number)
	_, err := n.Int64()
	return isNumber && err == nil
}

func TestPolicy(t *testing.T) {
	p := DefaultPolicy()
	for _, row := range []struct {
		name           string
		lock, evidence bool
	}{
		{"a.jsonl.lock", true, true},
		{".jsonl.lock", true, true},
		{"sessions.json.lock", true, false},
		{"x.lock", true, false},
		{".lock", true, false},
		{"x.lock.reclaim", true, false},
		{"x.jsonl.lock.reclaim", true, false},
		{"index.lock", true, false},
		{"a.jsonl", false, false},
		{"x.lock.201.17", false, false},
		{"x.LOCK", false, false},
		{"lock", false, false},
		{"", false, false},
		{"xlock", false, false},
		{"a b\n.lock", true, false},
		{"MyCargo.lock", true, false},
		{"cargo.lock", true, false},
	} {
		if got := p.IsLock(row.name); got != row.lock {
			t.Errorf("%q is a lock: got %t", row.name, got)
		}
		if got := p.IsEvidence(row.name); got != row.evidence {
			t.Errorf("%q is evidence: got %t", row.name, got)
		}
	}
	for _, name := range p.Data {
		if p.IsLock(name) {
			t.Errorf("%q is data", name)
		}
	}
	if n := len(p.Data); n != 19 { // as many as rule 9 names
		t.Errorf("%d names of data", n)
	}
}

func FuzzMatch(f *testing.F) {
	for _, pattern := range []string{"*.lock", "x.lock", "*", "", "a*b", "[a-c].lock", `\*.lock`, "?.lock", "[", "**.lock"} {
		for _, name := range []string{"x.lock", "b.lock", "", ".lock", "*.lock", "ab", "é.lock"} {
			f.Add(pattern, name)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.Contains(name, "/") { // never in the name of an entry
			return
		}
		ok, err := path.Match(pattern, name)
		m := newMatcher(pattern)
		if got, want := m.matches(name), ok && err == nil; got != want {
			t.Errorf("%q on %q: got %t, want %t", pattern, name, got, want)
		}
	})
}

// TestWords prints every constant once: a word that is missing panics.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	say := func(s fmt.Stringer) {
		word := fmt.Sprintf("%T %s", s, s)
		if seen[word] || strings.HasSuffix(word, " ") {
			t.Errorf("%s: said twice, or nothing", word)
		}
		seen[word] = true
	}
	for s := range states {
		say(s)
	}
	for a := range acts {
		say(a)
	}
	for r := range relations {
		say(r)
	}
	for o := range Expire + 1 {
		say(o)
	}
	for w := range Expired + 1 {
		say(w)
	}
	for k := range KindOther + 1 {
		say(k)
	}
	for v := range Recycled + 1 {
		say(v)
	}
}
