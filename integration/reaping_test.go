package integration

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reapedAtOnce is how many locks the process holds that dies in these tests.
const reapedAtOnce = 2000

// leaveMany makes locks whose owner is dead when it returns.
func leaveMany(t testing.TB, m *mount, count int) {
	t.Helper()
	holder := startHelper(t, nil, "hold-many", m.path("many-%d.lock"), strconv.Itoa(count))
	holder.line(t)
	holder.kill()
}

// A process that dies with many locks does not keep its mount from being unmounted, and
// none of them is left.
func TestUnmountWhileReaping(t *testing.T) {
	for how, unmount := range map[string]func(t testing.TB, m *mount){
		"command": func(t testing.TB, m *mount) { m.stop(t) },
		"signal": func(t testing.TB, m *mount) {
			m.cmd.Process.Signal(syscall.SIGTERM)
			m.waitExited(t)
		},
	} {
		t.Run(how, func(t *testing.T) {
			m := newMount(t)
			leaveMany(t, m, reapedAtOnce)
			unmount(t, m)
			mustHaveNoneLeft(t, m.dir)
		})
	}
}

func mustHaveNoneLeft(t testing.TB, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if strings.HasSuffix(e.Name(), ".lock") {
			t.Fatalf("%d entries are left, %s among them", len(left), e.Name())
		}
	}
}

// Whoever watches the directory by inotify sees each of them go.
func TestWatchersSeeReaping(t *testing.T) {
	m := newMount(t)
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(watch), "inotify")
	t.Cleanup(func() { events.Close() })
	if _, err := unix.InotifyAddWatch(watch, m.dir, unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	leaveMany(t, m, reapedAtOnce)
	gone := map[string]bool{}
	waitFor(t, "an event for each", 20*time.Second, func() bool {
		for _, name := range readEvents(t, watch) {
			gone[name] = true
		}
		return len(gone) == reapedAtOnce
	})
}

// readEvents gives the names in the events that wait.
func readEvents(t testing.TB, watch int) (names []string) {
	t.Helper()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}}, 0); err != nil || n == 0 {
		return nil
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Read(watch, buf)
	if err != nil {
		t.Fatal(err)
	}
	for buf = buf[:n]; len(buf) > 0; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		end := unix.SizeofInotifyEvent + int(event.Len)
		names = append(names, strings.TrimRight(string(buf[unix.SizeofInotifyEvent:end]), "\x00"))
		buf = buf[end:]
	}
	return names
}
