package integration

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const kib64 = 64 << 10

// badPayload is what somebody wrote into a lock before it was killed.
type badPayload struct {
	text string // $$ is the maker's PID, $SERVER the server's
	lock bool   // it is recognised all the same, and goes
}

// badPayloads are what could confuse who reads it: none but the recognised may ever be removed.
var badPayloads = map[string]badPayload{
	"nothing":                   {"", true},
	"not JSON at all":           {"\xff\xfe\xfd\x80", false},
	"invalid UTF-8 with a PID":  {"\"pid\":$$\xff", false},
	"100,000 arrays":            {strings.Repeat("[", 100_000), false},
	"100,000 objects":           {`{"pid":$$,"a":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + "}", false},
	"30,000 arrays":             {`{"pid":$$,"a":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + "}", false},
	"9,000 arrays":              {`{"pid":$$,"a":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}", true},
	"a huge number":             {strings.Repeat("9", 60_000), false},
	"a huge number as PID":      {`{"pid":` + strings.Repeat("9", 60_000) + `}`, false},
	"a huge exponent":           {`{"pid":1e999999999}`, false},
	"a huge hold limit":         {`{"pid":$$,"createdAt":1,"maxHoldMs":` + strings.Repeat("9", 40_000) + `}`, true},
	"a hold limit of 1e999":     {`{"pid":$$,"maxHoldMs":1e999}`, true},
	"the PID and 2^32":          {`{"pid":$$+2^32}`, false},
	"the PID and 2^64":          {"$$+2^64", false},
	"the PID as a fraction":     {`{"pid":$$.0}`, false},
	"the PID negative":          {"-$$", false},
	"the PID negative in JSON":  {`{"pid":-$$}`, false},
	"PID -1":                    {`{"pid":-1}`, false},
	"PID 0":                     {`{"pid":0}`, false},
	"PID 0, bare":               {"0\n", false},
	"init":                      {`{"pid":1,"createdAt":"2026-01-01T00:00:00.000Z"}`, false},
	"init, bare":                {"1\n", false},
	"the server":                {`{"pid":$SERVER,"createdAt":"2026-01-01T00:00:00.000Z"}`, false},
	"the server, bare":          {"$SERVER\n", false},
	"the PID and a NUL":         {"$$\x00", false},
	"JSON and a NUL":            {"{\"pid\":$$}\x00", false},
	"a NUL in JSON":             {"{\"pid\":$$,\"a\":\"\x00\"}", false},
	"the PID as a string":       {`{"pid":"$$"}`, false},
	"the PID under another key": {`{"PID":$$}`, false},
	"the PID deeper down":       {`{"a":{"pid":$$}}`, false},
	"an array":                  {`[{"pid":$$}]`, false},
	"an array of the PID":       {`[$$]`, false},
	"null":                      {`null`, false},
	"a byte order mark":         {"\ufeff{\"pid\":$$}", false},
	"a byte order mark, bare":   {"\ufeff$$", false},
	"two objects":               {`{"pid":$$}{"pid":$$}`, false},
	"half an object":            {`{"pid":$$`, false},
	"64 KiB of blanks":          {strings.Repeat(" ", kib64), false},
	"64 KiB":                    {"$PAD64K" + `{"pid":$$}`, true},
	"64 KiB and one more":       {" $PAD64K" + `{"pid":$$}`, false},
}

// written is a payload as its maker writes it.
func (p badPayload) written(maker, server int) string {
	text := strings.NewReplacer(
		"$$+2^32", strconv.Itoa(maker+1<<32), "$$+2^64", new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(int64(maker))).String(),
		"$$", strconv.Itoa(maker), "$SERVER", strconv.Itoa(server),
	).Replace(p.text)
	if before, after, ok := strings.Cut(text, "$PAD64K"); ok {
		text = before + strings.Repeat(" ", kib64-len(after)) + after
	}
	return text
}

// helpPay makes a lock and, when it is told a file, writes what is in that; or a lock of so many bytes of nothing, or one
// that is a link.
func helpPay(arguments []string) error {
	how, path := arguments[0], arguments[1]
	if how == "symlink" {
		if err := os.Symlink(strings.ReplaceAll(arguments[2], "$$", strconv.Itoa(os.Getpid())), path); err != nil {
			return err
		}
		return untilTold("held")
	}
	lock, err := createExclusively(path)
	if err != nil {
		return err
	}
	fmt.Println("made")
	if how == "sparse" {
		size, err := strconv.ParseInt(arguments[2], 10, 64)
		if err := errors.Join(err, lock.Truncate(size)); err != nil {
			return err
		}
		return untilTold("held")
	}
	var source string
	if _, err := fmt.Scanln(&source); err != nil {
		return err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if _, err := lock.Write(text); err != nil {
		return err
	}
	return untilTold("held")
}

func TestBadPayloads(t *testing.T) {
	m := newMount(t)
	source := filepath.Join(m.parent, "payload")
	server := m.serverPID(t)
	number := 0
	for title, bad := range badPayloads {
		for _, suffix := range []string{".lock", ".jsonl.lock"} {
			number++
			name := fmt.Sprint("p", number, suffix)
			h := startHelper(t, nil, "pay", "text", m.path(name))
			h.line(t)
			text := bad.written(h.cmd.Process.Pid, server)
			writeFile(t, source, text)
			h.ask(t, source)
			mustReadAtLength(t, m, title, name, int64(len(text)))
			mustBeLeftRight(t, m, title, name, bad.lock, h)
			if now, err := os.ReadFile(m.pathBelow(name)); !bad.lock && string(now) != text {
				t.Errorf("%s: it was changed (%v)", title, err)
			}
		}
	}
}

func TestSparsePayload(t *testing.T) {
	m := newMount(t)
	const size = 1 << 30
	h := startHelper(t, nil, "pay", "sparse", m.path("x.lock"), strconv.Itoa(size))
	h.line(t)
	h.line(t)
	mustReadAtLength(t, m, "1 GiB", "x.lock", size)
	before, read := stat(t, m.pathBelow("x.lock")), bytesRead(t, m)
	mustBeLeftRight(t, m, "1 GiB", "x.lock", false, h)
	if now := stat(t, m.pathBelow("x.lock")); now.Size != size || now.Ino != before.Ino || now.Mtim != before.Mtim || now.Blocks != before.Blocks {
		t.Errorf("it was %+v and is %+v", before, now)
	}
	if read = bytesRead(t, m) - read; read > 8*kib64 { // the content three times, and requests
		t.Errorf("%d bytes were read", read)
	}
}

// bytesRead is how much the server has read so far, of whatever.
func bytesRead(t testing.TB, m *mount) (count int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", m.serverPID(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &count); err != nil {
		t.Fatal(err)
	}
	return count
}

// mustReadAtLength looks at a held lock as somebody else.
func mustReadAtLength(t testing.TB, m *mount, title, name string, size int64) {
	t.Helper()
	f, err := os.Open(m.path(name))
	if err != nil {
		t.Fatalf("%s: %v", title, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != size {
		t.Errorf("%s: %d bytes long (%v), want %d", title, info.Size(), err, size)
	}
	from := max(size-1<<20, 0)
	n, err := io.Copy(io.Discard, io.NewSectionReader(f, from, size-from+1))
	if err != nil || from+n != size {
		t.Errorf("%s: read to %d (%v), want %d", title, from+n, err, size)
	}
}

// mustBeLeftRight kills the maker of a lock: what is recognised goes, everything else stays and is in the way.
func mustBeLeftRight(t testing.TB, m *mount, title, name string, lock bool, maker *helper) {
	t.Helper()
	if state := m.lock(t, name).State; state != "held" {
		t.Errorf("%s: %q before its maker's death", title, state)
	}
	maker.kill()
	if lock {
		waitFor(t, title+" in "+name+" goes", waitDeadline, func() bool {
			return strings.HasSuffix(name, ".jsonl.lock") && m.lock(t, name).State == "orphan" || !m.exists(name)
		})
		return
	}
	waitFor(t, title+" in "+name+" is abandoned", waitDeadline, func() bool { return m.lock(t, name).State == "abandoned" })
	if _, err := createExclusively(m.path(name)); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("%s: a create: %v", title, err)
	}
	if err := os.Mkdir(m.path(name), 0o777); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("%s: mkdir: %v", title, err)
	}
	asked := time.Now()
	if state := m.lock(t, name).State; state != "abandoned" {
		t.Errorf("%s: %q after a create", title, state)
	}
	if took := time.Since(asked); took > time.Second {
		t.Errorf("%s: the locks are told after %v", title, took)
	}
	if !m.exists(name) {
		t.Errorf("%s: it is gone", title)
	}
}

// A link is a lock by what it says. What it points to is nobody's business.
func TestLinkOutOfTheTree(t *testing.T) {
	m := newMount(t)
	outside := makeOutside(t, m)
	target := filepath.Join(outside, "file")
	fifo := filepath.Join(outside, "fifo") // to open it would wait
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	for title, row := range map[string]struct {
		target string
		goes   bool
	}{
		"a file":           {target, false},
		"relative":         {"../outside/file", false},
		"through the root": {"/proc/self/root" + target, false},
		"a fifo":           {fifo, false},
		"a directory":      {outside, false},
		"nowhere":          {outside + "/none", false},
		"itself":           {"x.lock", false},
		"the PID outside":  {outside + "/$$", false},
		"the PID":          {"$$", true},
		"init":             {"1", false},
		"long":             {strings.Repeat("1", 4095), false},
	} {
		for _, name := range []string{"x.lock", "y.jsonl.lock"} {
			h := startHelper(t, nil, "pay", "symlink", m.path(name), row.target)
			h.line(t)
			pid := strconv.Itoa(h.cmd.Process.Pid)
			writeFile(t, target, `{"pid":`+pid+`}`) // it would be recognised
			writeFile(t, filepath.Join(outside, pid), "")
			mustBeUntouched(t, target, func() { mustBeALinkLock(t, m, title, name, row.goes, h) })
			if err := os.Remove(m.path(name)); err != nil && !errors.Is(err, syscall.ENOENT) {
				t.Errorf("%s: remove: %v", title, err)
			}
		}
	}
}

func mustBeALinkLock(t *testing.T, m *mount, title, name string, goes bool, h *helper) {
	t.Helper()
	said, err := os.Readlink(m.pathBelow(name))
	if err != nil {
		t.Fatal(err)
	}
	if kind := m.lock(t, name).Kind; kind != "symlink" {
		t.Errorf("%s: a lock of kind %q", title, kind)
	}
	own := filepath.Join(m.dir, "own")
	writeFile(t, own, "")
	for what, act := range map[string]func() error{
		"unlink": func() error { return unix.Unlink(m.path(name)) },
		"away":   func() error { return unix.Rename(m.path(name), own+".away") },
		"over":   func() error { return unix.Rename(own, m.path(name)) },
		"link":   func() error { return unix.Link(m.path(name), own+".link") },
		"owner":  func() error { return unix.Lchown(m.path(name), 1, 1) },
		"times":  func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, m.path(name), nil, unix.AT_SYMLINK_NOFOLLOW) },
	} {
		if err := act(); err != syscall.EBUSY {
			t.Errorf("%s: %s by somebody else: %v", title, what, err)
		}
	}
	if shown, err := os.Readlink(m.path(name)); err != nil || len(shown) != len(said) {
		t.Errorf("%s: others read %q (%v) for %q", title, shown, err, said)
	}
	mustBeLeftRight(t, m, title, name, goes, h)
	if now, _ := os.Readlink(m.pathBelow(name)); !goes && now != said {
		t.Errorf("%s: it said %q and says %q", title, said, now)
	}
}

// mustBeUntouched checks that nobody opens, reads or changes a file meanwhile.
func mustBeUntouched(t *testing.T, path string, meanwhile func()) {
	t.Helper()
	events, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	if _, err := unix.InotifyAddWatch(events, path, unix.IN_ALL_EVENTS); err != nil {
		t.Fatal(err)
	}
	before := stat(t, path)
	meanwhile()
	if now := stat(t, path); *now != *before {
		t.Errorf("what it points to was %+v and is %+v", *before, *now)
	}
	if n, err := unix.Read(events, make([]byte, 4096)); err != unix.EAGAIN {
		t.Errorf("somebody came by what it points to: %d bytes of events, %v", n, err)
	}
}
