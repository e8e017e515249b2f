package reclaim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

const grace = 5 * time.Second

func subject(t testing.TB, path string) Subject {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return Subject{
		Inode:     lockmgr.InodeID{Dev: st.Dev, Ino: st.Ino},
		Name:      filepath.Base(path),
		UID:       st.Uid,
		Age:       time.Hour,
		KeepsOpen: true,
		Grace:     grace,
	}
}

func lockFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.jsonl.lock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // whose processes we can all look into, there being none
		if err := os.Chown(path, 4711, 4711); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// holder is a cat that has a file open as descriptor 3; holding is by inheritance, so
// it holds from the start.
func holder(t testing.TB, path string) child {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil { // a directory
		f, err = os.Open(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/cat")
	cmd.ExtraFiles = []*os.File{f}
	return start(t, cmd)
}

func TestJudgeByWhoKeepsItOpen(t *testing.T) {
	for name, f := range ways() {
		t.Run(name, func(t *testing.T) {
			p, path := New(Options{Features: f}), lockFile(t)
			s := subject(t, path)
			expect(t, p, s, lockmgr.Dead, "nobody has it open")

			young := s
			young.Age = grace - 1
			expect(t, p, young, lockmgr.Unknown, "younger than 5s")
			young.Age = -time.Hour // the clock was set back
			expect(t, p, young, lockmgr.Unknown, "younger than 5s")

			other := s
			other.KeepsOpen = false
			expect(t, p, other, lockmgr.Unknown, "nothing tells")

			first := holder(t, path)
			until(t, "the next clock tick", func() func() bool {
				now := ticks()
				return func() bool { return ticks() > now+1 }
			}())
			second := holder(t, path)
			got := expect(t, p, s, lockmgr.Alive, fmt.Sprintf("cat (PID %d) keeps it open", first.pid()))
			if got.Owner.Identity != identify(t, p, first.pid()) || got.Owner.Comm != "cat" {
				t.Errorf("owner %+v", got.Owner)
			}
			expect(t, p, young, lockmgr.Alive, "keeps it open")

			first.kill(t)
			expect(t, p, s, lockmgr.Alive, fmt.Sprintf("cat (PID %d) keeps it open", second.pid()))
			second.kill(t)
			expect(t, p, s, lockmgr.Dead, "nobody has it open")
		})
	}
}

func expect(t *testing.T, p *Processes, s Subject, v lockmgr.Verdict, reason string) lockmgr.Finding {
	t.Helper()
	got := p.Judge(s)
	if got.Verdict != v || !strings.Contains(got.Reason, reason) {
		t.Errorf("%v: %s; want %v: %s", got.Verdict, got.Reason, v, reason)
	}
	return got
}

func TestJudgeManyAtOnce(t *testing.T) {
	p := New(Options{Features: Probe()})
	held, left := lockFile(t), lockFile(t)
	holder(t, held)
	bare := subject(t, left)
	bare.KeepsOpen = false
	got := p.JudgeAll([]Subject{subject(t, left), subject(t, held), bare})
	want := []lockmgr.Verdict{lockmgr.Dead, lockmgr.Alive, lockmgr.Unknown}
	for i, f := range got {
		if f.Verdict != want[i] {
			t.Errorf("%d: %v, %s", i, f.Verdict, f.Reason)
		}
	}
	if len(p.JudgeAll(nil)) != 0 {
		t.Error("something about nothing")
	}
}

// An earlier mount over the same tree shows the same inode number and name, on another device.
func TestJudgeThroughAnEarlierMount(t *testing.T) {
	p, path := New(Options{Features: Probe()}), lockFile(t)
	c := holder(t, path)
	s := subject(t, path)
	s.Inode.Dev++
	expect(t, p, s, lockmgr.Alive, fmt.Sprintf("cat (PID %d)", c.pid()))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(t, p, s, lockmgr.Alive, fmt.Sprintf("cat (PID %d)", c.pid()))
	s.Name = "b.jsonl.lock"
	expect(t, p, s, lockmgr.Dead, "nobody")
}

func TestJudgeFileOfAZombieLeader(t *testing.T) {
	p, path := New(Options{Features: Probe()}), lockFile(t)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=zombie-leader")
	cmd.ExtraFiles = []*os.File{f}
	c := start(t, cmd)
	f.Close()
	c.number(t)
	until(t, "a zombie leader", func() bool { return state(p, c.pid()) == 'Z' })
	expect(t, p, subject(t, path), lockmgr.Alive, fmt.Sprintf("(PID %d) keeps it open", c.pid()))
}

// A process of the file's owner that we may not look into could have it open.
func TestJudgeWhatCannotBeSeen(t *testing.T) {
	needRoot(t)
	p := New(Options{Features: Probe()})
	s := subject(t, lockFile(t))
	s.UID = 0
	c := newCensus([]Subject{s})
	hidden := startCat(t)
	c.opaque = []int32{hidden.pid()}
	got := p.find(c, 0, s)
	want := fmt.Sprintf("can't see whether cat (PID %d) has it open", hidden.pid())
	if got.Verdict != lockmgr.Unknown || got.Reason != want {
		t.Errorf("%v: %s", got.Verdict, got.Reason)
	}
	s.UID = 4711 // no process of this user is hidden
	if got := p.find(c, 0, s); got.Verdict != lockmgr.Dead {
		t.Errorf("%v: %s", got.Verdict, got.Reason)
	}
}

func TestReaching(t *testing.T) {
	p := New(Options{Features: Probe()})
	dir := t.TempDir()
	inside, beside := filepath.Join(dir, "root", "sub"), filepath.Join(dir, "root-other")
	for _, d := range []string{inside, beside} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "root")
	dev := subject(t, root).Inode.Dev
	if got := p.Reaching(dev, root); len(got) != 0 {
		t.Errorf("nobody is there, but %v", got)
	}
	working := exec.Command("/bin/cat")
	working.Dir = inside
	far := exec.Command("/bin/cat")
	far.Dir = beside
	w, h := start(t, working), holder(t, root)
	start(t, far)
	got := p.Reaching(dev, root)
	want := []string{processName("cat", w.pid()), processName("cat", h.pid())}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := p.Reaching(dev+1, root); len(got) != 0 {
		t.Errorf("another device: %v", got)
	}
}

// The file system never answers: nothing may ask it, mounted or no longer.
func TestUsersOfAWedgedFileSystem(t *testing.T) {
	p := New(Options{Features: Probe()})
	dir, release := wedge(t)
	dev := deviceOfMount(t, dir)
	if got := p.Users(dev); len(got) != 0 {
		t.Errorf("nobody uses it, but %v", got)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/cat")
	root := os.NewFile(uintptr(fd), dir)
	cmd.ExtraFiles = []*os.File{root}
	c := start(t, cmd)
	root.Close()
	want := []string{processName("cat", c.pid())}
	if got := p.Users(dev); !slices.Equal(got, want) {
		t.Errorf("mounted: %v, want %v", got, want)
	}
	expect(t, p, subject(t, lockFile(t)), lockmgr.Dead, "nobody") // all of /proc is judged past it
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got := p.Users(dev); !slices.Equal(got, want) {
		t.Errorf("unmounted: %v, want %v", got, want)
	}
	release()
	if got := p.Users(dev); !slices.Equal(got, want) {
		t.Errorf("dead: %v, want %v", got, want)
	}
}

// deviceOfMount finds st_dev of a mount in mountinfo, asking nobody.
func deviceOfMount(t *testing.T, dir string) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[4] == dir {
			var major, minor uint32
			if _, err := fmt.Sscanf(fields[2], "%d:%d", &major, &minor); err != nil {
				t.Fatal(err)
			}
			return unix.Mkdev(major, minor)
		}
	}
	t.Fatalf("%s is not mounted", dir)
	return 0
}

func TestMountHolders(t *testing.T) {
	needRoot(t)
	p := New(Options{Features: Probe()})
	dir := t.TempDir()
	if err := unix.Mount("hold", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	dev := deviceOfMount(t, dir)
	if got := p.MountHolders(dev); len(got) != 0 {
		t.Errorf("nobody holds it, but %v", got)
	}
	c := start(t, exec.Command("unshare", "--mount", "--propagation", "private", "cat"))
	fmt.Fprintln(c.in, "ready")
	c.line(t)
	want := []string{processName("cat", c.pid())}
	if got := p.MountHolders(dev); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got := p.MountHolders(dev); !slices.Equal(got, want) {
		t.Errorf("unmounted here: %v, want %v", got, want)
	}
}

func TestNamesAreHarmless(t *testing.T) {
	if got := processName("a\x1b[2J\nb", 12); got != "a?[2J?b (PID 12)" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkJudge(b *testing.B) {
	p, s := New(Options{Features: Probe()}), subject(b, lockFile(b))
	open := 0
	pids, _ := p.proc.pids()
	for _, pid := range pids {
		p.proc.descriptors(pid, func(descriptor) bool { open++; return false })
	}
	for b.Loop() {
		p.Judge(s)
	}
	b.ReportMetric(float64(open), "open-files")
	b.ReportMetric(float64(len(pids)), "processes")
}
