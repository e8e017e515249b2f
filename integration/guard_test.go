package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helpWrite is a process that writes, told one system call a line on stdin, and prints what comes of each: the errno.
// "open" keeps the descriptor for those that name no file.
func helpWrite([]string) error {
	fd := -1
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(int(writerCall(&fd, strings.Fields(lines.Text()))))
	}
	return nil
}

func writerCall(fd *int, words []string) (errno syscall.Errno) {
	var err error
	switch words[0] {
	case "create":
		err = keepOpen(fd, words[1], unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	case "lock":
		var lock int
		if lock, err = unix.Open(words[1], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o666); err == nil {
			err = unix.Close(lock)
		}
	case "open":
		err = keepOpen(fd, words[1], unix.O_RDWR|unix.O_APPEND)
	case "read":
		var reading int
		if reading, err = unix.Open(words[1], unix.O_RDONLY, 0); err == nil {
			_, err = unix.Read(reading, make([]byte, 100))
			unix.Close(reading)
		}
	case "write":
		_, err = unix.Write(*fd, []byte(words[1]+"\n"))
	case "allocate":
		err = unix.Fallocate(*fd, 0, 0, 4096)
	case "shrink":
		err = unix.Ftruncate(*fd, 0)
	case "map":
		var page []byte
		if page, err = unix.Mmap(*fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			unix.Munmap(page)
		}
	case "truncate":
		err = unix.Truncate(words[1], 0)
	case "rename":
		err = unix.Rename(words[1], words[2])
	case "link":
		err = unix.Link(words[1], words[2])
	case "remove":
		err = unix.Unlink(words[1])
	default:
		return syscall.EINVAL
	}
	if err != nil {
		errno = err.(syscall.Errno)
	}
	return errno
}

// keepOpen opens a file in the place of the one that is open, if that can be done.
func keepOpen(fd *int, path string, flags int) error {
	next, err := unix.Open(path, flags, 0o666)
	if err != nil {
		return err
	}
	unix.Close(*fd)
	*fd = next
	return nil
}

// editor is such a process, in a directory of the mount.
type editor struct {
	*helper
	m *mount
}

func startEditor(t testing.TB, m *mount) *editor {
	w := &editor{startHelper(t, nil, "write"), m}
	w.line(t)
	return w
}

// call has the process make a system call; names are those of files in the mount.
func (w *editor) call(t testing.TB, call string, names ...string) syscall.Errno {
	t.Helper()
	words := []string{call}
	for _, name := range names {
		if call != "write" {
			name = w.m.path(name)
		}
		words = append(words, name)
	}
	if _, err := fmt.Fprintln(w.stdin, strings.Join(words, " ")); err != nil {
		t.Fatal(err)
	}
	errno, err := strconv.Atoi(w.line(t))
	if err != nil {
		t.Fatal(err)
	}
	return syscall.Errno(errno)
}

func (w *editor) must(t testing.TB, want syscall.Errno, call string, names ...string) {
	t.Helper()
	if got := w.call(t, call, names...); got != want {
		t.Errorf("%s %v: %v, want %v", call, names, got, want)
	}
}

const free = syscall.Errno(0)

// otherWrites are all ways in which another process may want to alter a session whose lock is held. Its descriptor is
// older than the lock.
var otherWrites = [][]string{
	{"write", "intruder"}, {"allocate"}, {"shrink"}, {"truncate", session}, {"rename", "other", session},
	{"rename", session, "away"}, {"remove", session}, {"open", session},
}

func newGuardedSession(t testing.TB, m *mount) (owner, other *editor) {
	writeFile(t, m.path(session), "turn 1\n")
	writeFile(t, m.path("other"), "something else\n")
	owner, other = startEditor(t, m), startEditor(t, m)
	other.must(t, free, "open", session)
	owner.must(t, free, "lock", sessionLock)
	return owner, other
}

func TestGuardDeny(t *testing.T) {
	m := newMount(t, withFlags("--guard=deny"))
	owner, other := newGuardedSession(t, m)
	before := m.stateBelow(t, session)
	for _, write := range otherWrites {
		other.must(t, syscall.EBUSY, write[0], write[1:]...)
		m.mustBeUnchanged(t, session, before, strings.Join(write, " "))
	}
	other.must(t, syscall.ENODEV, "map")
	other.must(t, free, "read", session)

	owner.must(t, free, "open", session)
	owner.must(t, free, "write", "turn-2")
	owner.must(t, free, "rename", session, "away")
	other.must(t, syscall.EBUSY, "create", session)
	other.must(t, syscall.EBUSY, "link", "other", session)
	owner.must(t, free, "rename", "away", session)
	owner.must(t, free, "remove", sessionLock)
	for _, write := range otherWrites[:5] {
		other.must(t, free, write[0], write[1:]...)
	}
}

// The guard follows the session through the way programs write atomically: beside it, then over it.
func TestGuardFollowsAnAtomicWrite(t *testing.T) {
	m := newMount(t, withFlags("--guard=deny"))
	owner, other := newGuardedSession(t, m)
	other.must(t, free, "open", "other")
	owner.must(t, free, "rename", "other", session)
	before := m.stateBelow(t, session)
	other.must(t, syscall.EBUSY, "write", "intruder")
	m.mustBeUnchanged(t, session, before, "a write through a handle of what is the session now")
	owner.must(t, free, "remove", sessionLock)
	other.must(t, free, "write", "no-intruder")
}

// A session that comes into being under its lock is guarded from then on.
func TestGuardOfANewSession(t *testing.T) {
	m := newMount(t, withFlags("--guard=deny"))
	owner, other := startEditor(t, m), startEditor(t, m)
	owner.must(t, free, "lock", sessionLock)
	other.must(t, syscall.EBUSY, "create", session)
	owner.must(t, free, "create", session)
	other.must(t, syscall.EBUSY, "open", session)
	owner.must(t, free, "write", "turn-1")
}

func TestGuardLog(t *testing.T) {
	m := newMount(t)
	_, other := newGuardedSession(t, m)
	for _, write := range otherWrites {
		if write[0] == "rename" && write[1] == session || write[0] == "open" {
			continue // the session is gone by then, or comes back
		}
		other.must(t, free, write[0], write[1:]...)
	}
	pid := fmt.Sprintf(`"by":%d`, other.cmd.Process.Pid)
	for _, what := range []string{"truncate", "replace", "remove"} {
		waitFor(t, "a report of "+what, waitDeadline, func() bool {
			for line := range strings.Lines(m.log.String()) {
				if strings.Contains(line, `"message":"guarded"`) && strings.Contains(line, pid) && strings.Contains(line, what) {
					return true
				}
			}
			return false
		})
	}
}

// A process whose lock a person took away can't write until it has the lock anew.
func TestGuardFencesAfterAForcedRelease(t *testing.T) {
	m := newMount(t, withFlags("--guard=deny"))
	owner, other := newGuardedSession(t, m)
	owner.must(t, free, "open", session)
	owner.must(t, free, "write", "turn-2")
	mustRelease(t, m, sessionLock)
	owner.must(t, syscall.EBUSY, "write", "late")
	owner.must(t, syscall.EBUSY, "open", session)
	other.must(t, free, "lock", sessionLock)
	owner.must(t, syscall.EBUSY, "write", "late")
	other.must(t, free, "remove", sessionLock)
	owner.must(t, free, "lock", sessionLock)
	owner.must(t, free, "open", session)
	owner.must(t, free, "write", "turn-3")
}

func mustRelease(t testing.TB, m *mount, lock string) {
	t.Helper()
	if out, err := m.command(suite.binary, "release", "--force", m.path(lock)).CombinedOutput(); err != nil {
		t.Fatalf("release: %v\n%s", err, out)
	}
}

// helpAppend takes the lock again and again, and writes turns of many lines through one handle that it never closes. It
// begins at the first byte from stdin.
// What becomes of its lock meanwhile it does not ask.
func helpAppend(arguments []string) error {
	path, name := arguments[0], arguments[1]
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND, 0)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	for turn := 0; ; turn++ {
		lock, err := createExclusively(path + ".lock")
		if err != nil {
			continue
		}
		for line := range 20 {
			if _, err := unix.Write(fd, fmt.Appendf(nil, "%s-%d %d\n", name, turn, line)); err != nil {
				break
			}
		}
		lock.Close()
		os.Remove(path + ".lock")
	}
}

// Two processes that write in turns, and a person who takes their locks away at random while they write: no line of a
// turn comes after the first one of the next.
func TestGuardKeepsTurnsApart(t *testing.T) {
	m := newMount(t, withFlags("--guard=deny"))
	writeFile(t, m.path(session), "")
	writers := []*helper{
		startHelper(t, nil, "append", m.path(session), "A"), startHelper(t, nil, "append", m.path(session), "B"),
	}
	for _, w := range writers {
		w.line(t)
	}
	for _, w := range writers { // both have the session open before there is a lock
		fmt.Fprintln(w.stdin, "go")
	}
	forced := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		time.Sleep(time.Duration(rand.IntN(10_000)) * time.Microsecond) // the moment is what is random here
		if err := os.WriteFile(m.path(".sessionlockfs/control"), []byte("release --force "+sessionLock), 0); err == nil {
			forced++
		}
	}
	for _, w := range writers {
		w.kill()
	}
	turns, cut := mustBeTurns(t, m)
	t.Logf("%d turns, %d locks taken away, %d turns cut short", turns, forced, cut)
	if turns < 10 || forced < 10 || cut == 0 {
		t.Errorf("too little happened: %d turns, %d locks taken away, %d turns cut short", turns, forced, cut)
	}
}

func mustBeTurns(t testing.TB, m *mount) (turns, cut int) {
	t.Helper()
	text, err := os.ReadFile(m.pathBelow(session))
	if err != nil {
		t.Fatal(err)
	}
	ended := map[string]bool{}
	var now string
	next := 0
	for line := range bytes.Lines(text) {
		turn, number, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if turn != now {
			if ended[turn] {
				t.Fatalf("%s goes on after another turn began", turn)
			}
			if now != "" && next != 20 {
				cut++
			}
			ended[now] = true
			now, next, turns = turn, 0, turns+1
		}
		if number != strconv.Itoa(next) {
			t.Fatalf("%s: line %s where %d should be", turn, number, next)
		}
		next++
	}
	return turns, cut
}
