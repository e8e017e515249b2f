package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A file that the kernel reads and writes itself becomes a lock while it is open. Whoever opens it then sees a lock, whoever had it open goes on, and
// a server that takes over has the handles go as they went.
func TestOpenFileBecomesLock(t *testing.T) {
	m := newMount(t)
	f, err := os.OpenFile(m.path("made"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := payload(os.Getpid(), time.Now().Add(-time.Hour))
	for round := range 2 {
		if _, err := f.WriteAt([]byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			if err := unix.Renameat2(unix.AT_FDCWD, m.path("made"), unix.AT_FDCWD, m.path("a.lock"), unix.RENAME_NOREPLACE); err != nil {
				t.Fatal(err)
			}
		}
		if lock := m.lock(t, "a.lock"); lock.State != "held" || lock.Owner.PID != os.Getpid() {
			t.Fatalf("round %d: %+v", round, lock)
		}
		out, err := command(t, "cat", m.path("a.lock")).CombinedOutput()
		shown := string(out)
		if err != nil || len(shown) != len(text) || strings.Contains(shown, fmt.Sprint(os.Getpid())) {
			t.Errorf("round %d: another process reads %q, %v", round, shown, err)
		}
		if own, err := os.ReadFile(m.path("a.lock")); err != nil || string(own) != text {
			t.Errorf("round %d: the owner reads %q, %v", round, own, err)
		}
		if errno := removeAs(t, nil, m.path("a.lock")); errno != unix.EBUSY {
			t.Errorf("round %d: a bystander removes it: %v", round, errno)
		}
		if round == 0 {
			m.killServer(t)
		}
	}
	if err := os.Remove(m.path("a.lock")); err != nil {
		t.Error(err)
	}
}

// Whoever has a file open for direct I/O, or through the page cache, and whoever opens it otherwise meanwhile, all get at the same bytes.
func TestOpenedInEveryWay(t *testing.T) {
	m := newMount(t)
	ways := map[string]int{"passed": 0, "direct": unix.O_DIRECT, "appending": unix.O_APPEND}
	for first, firstFlag := range ways {
		for second, secondFlag := range ways {
			path := m.path(first + "-" + second)
			one, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|firstFlag, 0o644)
			if err != nil {
				t.Fatalf("%s: %v", first, err)
			}
			other, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|secondFlag, 0)
			if err != nil {
				t.Fatalf("%s, then %s: %v", first, second, err)
			}
			for i, fd := range []int{one, other} {
				want, got := alignedBuffer(4096, 'a'+byte(i)), alignedBuffer(4096, 0)
				if _, err := unix.Pwrite(fd, want, int64(i)*4096); err != nil {
					t.Errorf("%s, then %s: write: %v", first, second, err)
				}
				if n, err := unix.Pread(one+other-fd, got, int64(i)*4096); n != 4096 || err != nil || string(got) != string(want) {
					t.Errorf("%s, then %s: the other reads %d, %v, %.3q", first, second, n, err, got)
				}
			}
			unix.Close(one)
			unix.Close(other)
		}
	}
}
