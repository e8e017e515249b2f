package integration

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// operations is how many the search for leaks does: -operations 1000000 takes some minutes.
var operations = flag.Int("operations", 30_000, "how many operations TestNothingLeaks does")

// metrics reads the control file of that name.
func (m *mount) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	text, err := m.readControl("metrics")
	if err != nil {
		t.Fatalf("read metrics: %v", err)
	}
	values := map[string]float64{}
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		name, value, _ := strings.Cut(scan.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = v
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	m := newMount(t, lasting(testDeadline+time.Duration(*operations)*time.Millisecond))
	before := m.metrics(t)
	for i := range 10 {
		f, err := os.Create(m.path(fmt.Sprint("file-", i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	after := m.metrics(t)
	for _, name := range []string{"sessionlockfs_inodes", "sessionlockfs_handles"} {
		if got := after[name] - before[name]; got != 10 {
			t.Errorf("%s grew by %v, want 10", name, got)
		}
	}
	if open := descriptors(t, m.serverPID(t)); after["process_open_fds"] < float64(open)-10 {
		t.Errorf("process_open_fds %v, there are %d", after["process_open_fds"], open)
	}
	if after["go_goroutines"] == 0 {
		t.Error("go_goroutines is missing")
	}
	if _, err := os.OpenFile(m.path(".sessionlockfs/metrics"), os.O_WRONLY, 0); !errors.Is(err, syscall.EACCES) {
		t.Errorf("opened for writing: %v, want EACCES", err)
	}
	if out, err := commandAs(nobody, "cat", m.path(".sessionlockfs/metrics")).CombinedOutput(); err == nil {
		t.Errorf("another user reads %.40q", out)
	}
}

// inUse are the counts that end where they started. The goroutines that read requests and the pipes they splice
// through are kept for the next burst, as many as there were at once: go-fuse has 16 readers at most.
var inUse = map[string]float64{
	"sessionlockfs_inodes": 0, "sessionlockfs_handles": 0, "process_open_fds": 2 * 16, "go_goroutines": 16,
}

func TestNothingLeaks(t *testing.T) {
	m := newMount(t, lasting(testDeadline+time.Duration(*operations)*time.Millisecond))
	const processes = 4
	churn := func(count int) {
		var all []*helper
		for i := range processes {
			all = append(all, startHelper(t, nil, "churn", m.dir, strconv.Itoa(i), strconv.Itoa(count/processes)))
		}
		for _, h := range all {
			h.lineWithin(t, time.Minute+time.Duration(count)*5*time.Millisecond)
			h.kill()
		}
		shell(t, m.dir, "rm -rf *")
	}
	churn(500)
	before := m.metrics(t)
	churn(*operations)
	var after map[string]float64
	enough := func() bool {
		after = m.metrics(t)
		for name, kept := range inUse {
			if after[name] > before[name]+kept {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(20 * time.Second); !enough() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	for name, kept := range inUse {
		t.Logf("%s: %v before, %v after %d operations", name, before[name], after[name], *operations)
		if after[name] > before[name]+kept {
			t.Errorf("%s: it leaks", name)
		}
	}
	if left := m.locks(t); len(left) > 0 {
		t.Errorf("%d locks are left, %+v among them", len(left), left[0])
	}
}

// lineWithin is line for helpers that take their time.
func (h *helper) lineWithin(t testing.TB, deadline time.Duration) string {
	t.Helper()
	select {
	case line, ok := <-h.lines:
		if !ok {
			t.Fatalf("helper ended: %s", h.log)
		}
		return line
	case <-time.After(deadline):
		t.Fatalf("no word of the helper within %v", deadline)
	}
	return ""
}

// helpChurn does so many random operations: arguments are the directory, a seed, and the count.
func helpChurn(arguments []string) error {
	seed, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	c := churner{dir: arguments[0], random: rand.New(rand.NewPCG(uint64(seed), 0))}
	for i := range count {
		act := churns[c.random.IntN(len(churns))]
		if err := act(&c); err != nil && !isAnAnswer(err) {
			return fmt.Errorf("operation %d: %w", i, err)
		}
	}
	fmt.Println("done")
	untilStdinEnds()
	return nil
}

// isAnAnswer tells what random operations run into from what nobody should.
func isAnAnswer(err error) bool {
	for _, answer := range []error{
		syscall.ENOENT, syscall.EEXIST, syscall.ENOTEMPTY, syscall.EBUSY, syscall.ENOTDIR, syscall.EISDIR, syscall.EAGAIN,
		syscall.ELOOP,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// churner works in a few directories with a few names, all of which others use at the same time.
type churner struct {
	dir    string
	random *rand.Rand
}

func (c *churner) inDir() string { return filepath.Join(c.dir, fmt.Sprint("dir-", c.random.IntN(8))) }
func (c *churner) path() string {
	return filepath.Join(c.inDir(), fmt.Sprint("file-", c.random.IntN(20)))
}
func (c *churner) lock() string {
	return filepath.Join(c.inDir(), fmt.Sprintf("%d.lock", c.random.IntN(20)))
}

var churns = []func(c *churner) error{
	func(c *churner) error { return os.Mkdir(c.inDir(), 0o755) },
	func(c *churner) error { return os.WriteFile(c.path(), make([]byte, c.random.IntN(20_000)), 0o644) },
	func(c *churner) error { _, err := os.ReadFile(c.path()); return err },
	func(c *churner) error { return os.Rename(c.path(), c.path()) },
	func(c *churner) error { return os.Link(c.path(), c.path()) },
	func(c *churner) error { return os.Symlink("file-1", c.path()) },
	func(c *churner) error { _, err := os.ReadDir(c.inDir()); return err },
	func(c *churner) error { return os.Truncate(c.path(), int64(c.random.IntN(10_000))) },
	func(c *churner) error { return os.Chmod(c.path(), fs.FileMode(0o600+c.random.IntN(64))) },
	func(c *churner) error { return os.Remove(c.path()) },
	func(c *churner) error { return os.RemoveAll(c.inDir()) },
	func(c *churner) error { return c.withFile(os.O_RDWR|syscall.O_DIRECT, lockedBothWays) },
	func(c *churner) error { return c.withFile(os.O_RDWR|os.O_CREATE, mappedAndWritten) },
	func(c *churner) error { return takeAndRelease(c.lock()) },
	func(c *churner) error { return takeAndRelease(c.lock()) },
}

func (c *churner) withFile(flags int, do func(f *os.File) error) error {
	f, err := os.OpenFile(c.path(), flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

func lockedBothWays(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 100}); err != nil {
		return err
	}
	_, err := f.ReadAt(alignedBuffer(4096, 0), 0)
	if err != nil && !errors.Is(err, syscall.EINVAL) && err.Error() != "EOF" {
		return err
	}
	return nil
}

func mappedAndWritten(f *os.File) error {
	if err := f.Truncate(8192); err != nil {
		return err
	}
	pages, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return unix.Munmap(pages)
}

func takeAndRelease(path string) error {
	f, err := makeLock(path)
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(path)
}
