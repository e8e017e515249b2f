package integration

import (
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var stressFor = flag.Duration("stress", 0, "how long each outside stress tool runs; by default it only does a few operations")

// hungAfter is how long a stress tool may take on top of the time it is given. Some make or remove thousands of
// entries, or call sync(2), whatever they are told.
const hungAfter = 2 * time.Minute

// stressed is a mount and a bare directory on the same file system. What a tool does on one it does at the same time
// on the other.
type stressed struct {
	m    *mount
	dirs [2]string // on the mount, bare
	once sync.Once
}

func newStressed(t *testing.T) *stressed {
	t.Helper()
	needRoot(t)
	m := newMount(t)
	return &stressed{m: m, dirs: [2]string{m.dir, bareDirectory(t, m)}}
}

// both runs a tool in both directories. A hang fails the test. When the tool is stuck, the mount's connection is ended, and
// with it whatever waits for an answer: the rest of the tests fails then, but ends. Also the one in the bare directory may
// wait for the mount, since sync(2) does.
func (s *stressed) both(r *run, act func(dir string) ending) (on, bare ending) {
	r.Helper()
	var ends [2]ending
	var all sync.WaitGroup
	for i, dir := range s.dirs {
		all.Go(func() {
			ends[i] = act(dir)
			if ends[i].stuck {
				s.abort()
			}
		})
	}
	all.Wait()
	for i, where := range []string{"the mount", "the bare directory"} {
		if ends[i].hung {
			r.Errorf("it hangs on %s (stuck in the kernel: %v)\n%s", where, ends[i].stuck, ends[i].out)
		}
	}
	return ends[0], ends[1]
}

// abort ends the connection (fuse_umount_begin of the kernel): all that waits for the server fails.
func (s *stressed) abort() {
	s.once.Do(func() { unix.Unmount(s.m.dir, unix.MNT_FORCE) })
}

// Data written in many ways and sizes is read back as it was written.
func TestStressFio(t *testing.T) {
	scenario{0, "fio --verify, mixed"}.once(t, func(r *run) {
		fio := need(r, "fio")
		s := newStressed(r.T)
		on, bare := s.both(r, func(dir string) ending {
			cmd := exec.Command(fio, "--minimal", "-")
			cmd.Stdin = strings.NewReader(fioJobs(dir))
			cmd.Dir = suite.dir // for what it notes of its verifications
			return bounded(*stressFor+hungAfter, cmd)
		})
		got, want := fioErrors(on.out), fioErrors(bare.out)
		for _, job := range slices.Sorted(maps.Keys(fioVariants)) {
			switch {
			case want[job] != "0" && !strings.Contains(job, "io_uring"): // which the machine may forbid
				r.Errorf("%s on a bare directory: error %q\n%s", job, want[job], fioSays(bare))
			case got[job] != "0" && want[job] == "0":
				r.Errorf("%s: error %q\n%s", job, got[job], fioSays(on))
			}
		}
		r.note("%d jobs", len(got))
	})
}

// fioVariants are the jobs by name; what is in none is in fioJobs.
var fioVariants = map[string]string{
	"psync":            "ioengine=psync",
	"psync-direct":     "ioengine=psync\ndirect=1\nbsrange=4k-64k",
	"pvsync2":          "ioengine=pvsync2\nrw=randwrite",
	"odd-sizes":        "ioengine=psync\nrw=write\nbsrange=600-5000\nbs_unaligned=1\nsize=1m",
	"splice":           "ioengine=splice\nrw=write\nbs=4k",
	"fsync":            "ioengine=sync\nfsync=16",
	"fdatasync":        "ioengine=sync\nrw=randwrite\nfdatasync=16",
	"allocated":        "ioengine=psync\nfallocate=native",
	"overwritten":      "ioengine=psync\noverwrite=1",
	"mmap":             "ioengine=mmap\nbsrange=4k-64k",
	"libaio":           "ioengine=libaio",
	"libaio-direct":    "ioengine=libaio\ndirect=1\nbsrange=4k-64k",
	"io_uring":         "ioengine=io_uring",
	"io_uring-direct":  "ioengine=io_uring\ndirect=1\nbsrange=4k-64k",
	"io_uring-vectors": "ioengine=io_uring\nnonvectored=0\nrw=randwrite",
}

func fioJobs(dir string) string {
	loops := 1 + int(stressFor.Seconds())
	jobs := fmt.Sprintf("[global]\ndirectory=%s\nsize=4m\nrw=randrw\nbsrange=512-64k\nverify=crc32c\nverify_fatal=1\n"+
		"verify_backlog=32\nfallocate=none\niodepth=8\nrandseed=26\nloops=%d\n", dir, loops)
	for _, name := range slices.Sorted(maps.Keys(fioVariants)) {
		jobs += fmt.Sprintf("[%s]\n%s\n", name, fioVariants[name])
	}
	return jobs
}

// fioErrors are those of each job: name and errno are the third and fifth field of fio's terse output.
func fioErrors(output string) map[string]string {
	errors := map[string]string{}
	for line := range strings.Lines(output) {
		if fields := strings.Split(line, ";"); len(fields) > 5 && fields[0] == "3" {
			errors[fields[2]] = fields[4]
		}
	}
	return errors
}

// fioSays is what is meant for people.
func fioSays(o ending) string {
	var text strings.Builder
	for line := range strings.Lines(o.out) {
		if !strings.HasPrefix(line, "3;") && !strings.HasPrefix(line, "note:") {
			text.WriteString(line)
		}
	}
	return text.String()
}

// stressExceptions can't do on a FUSE mount what they do on ext4.
var stressExceptions = map[string]string{
	"fiemap": "the VFS never asks FUSE for a file's extents (FS_IOC_FIEMAP)",
}

// Every stressor that stress-ng has for file systems ends on the mount as it does on a bare directory.
func TestStressNG(t *testing.T) {
	stress := need(t, "stress-ng")
	s := newStressed(t)
	for _, name := range stressors(t, stress) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario{0, "stress-ng --" + name}.quietly(t, func(r *run) { s.stress(r, stress, name) })
		})
	}
}

func (s *stressed) stress(r *run, stress, name string) {
	r.Helper()
	limits := []string{"--timeout", "2", "--" + name + "-ops", "20"}
	switch {
	case *stressFor > 0:
		limits = []string{"--timeout", fmt.Sprint(stressFor.Seconds())}
	case name == "binderfs": // has no such option
		limits = limits[:2]
	case name == "chdir": // 8192 otherwise, made and removed
		limits = append(limits, "--chdir-dirs", "256")
	}
	arguments := append([]string{"--" + name, "1", "--verify"}, limits...)
	on, bare := s.both(r, func(dir string) ending {
		return bounded(*stressFor+hungAfter, exec.Command(stress, append(arguments, "--temp-path", dir)...))
	})
	if stressResult(on) != stressResult(bare) && stressExceptions[name] == "" && stressResult(on) != "passed" {
		r.Errorf("%s: %s, but on a bare directory %s\n%s\nbare:\n%s", name, stressResult(on), stressResult(bare), on.out, bare.out)
	}
}

// stressResult tells a stressor that found fault from one that could not do anything.
func stressResult(o ending) string {
	switch {
	case strings.Contains(o.out, "skipping stress"): // with or without an error
		return "skipped"
	case o.err == nil:
		return "passed"
	}
	return o.err.Error()
}

// stressors are those that stress-ng counts to the class.
func stressors(t testing.TB, stress string) []string {
	t.Helper()
	out, err := within(t, hungAfter, exec.Command(stress, "--class", "filesystem?"))
	_, list, found := strings.Cut(out, "stressors:")
	if err != nil && !found || len(strings.Fields(list)) < 20 {
		t.Fatalf("stress-ng --class 'filesystem?': %v, %q", err, out)
	}
	return strings.Fields(list)
}
