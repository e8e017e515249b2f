package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// withDescriptors has the server make do with so many. It must not be allowed to raise the limit again.
func withDescriptors(t testing.TB, limit int) mountOption {
	setpriv, prlimit := need(t, "setpriv"), need(t, "prlimit")
	return func(m *mount) {
		m.through = []string{setpriv, "--bounding-set=-sys_resource", "--inh-caps=-sys_resource", prlimit, fmt.Sprintf("--nofile=%d:%d", limit, limit)}
	}
}

// needPrune skips where the kernel can't be asked to forget (FUSE_NOTIFY_PRUNE, Linux 6.18).
func needPrune(t testing.TB) {
	t.Helper()
	var major, minor int
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Sscanf(string(text), "%d.%d", &major, &minor)
	if major < 6 || major == 6 && minor < 18 {
		skip(t, "the kernel can't be asked to forget inodes")
	}
}

const fewDescriptors = 256

// A tree of more files than the server has descriptors can be walked, also while many files are open.
func TestMoreFilesThanDescriptors(t *testing.T) {
	needPrune(t)
	m := newMount(t, withDescriptors(t, fewDescriptors))
	for i := range 512 {
		writeFile(t, m.pathBelow(fmt.Sprintf("dir-%d/sub/file-%d", i%4, i)), "text")
		writeFile(t, m.pathBelow(fmt.Sprintf("flat/file-%d", i)), "text")
	}
	for _, command := range []string{
		`ls -l flat`, `ls -lR .`, `ls -lR .`, `grep -r -c text .`, `cp -r flat copy`, `rm -r copy`,
	} {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = m.dir
		mustEnd(t, cmd)
	}
	m.waitRelieved(t, fewDescriptors, "flat/file-%d")
}

// waitRelieved waits until most of the server's descriptors are free again, though one file after the other is looked at.
func (m *mount) waitRelieved(t *testing.T, limit int, pattern string) {
	t.Helper()
	i := 0
	waitFor(t, "descriptors are given back", 10*time.Second, func() bool {
		stat(t, m.path(fmt.Sprintf(pattern, i%512)))
		i++
		return descriptors(t, m.serverPID(t)) < limit*2/3
	})
}

// mustEnd runs a command that must end well, and soon.
func mustEnd(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	watchdog := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%.500s", cmd.Args, err, out)
	}
}

// descriptors counts those of a process.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// Whoever opens more than there are descriptors is told so, at once; nothing is made of which that is said. When they
// are closed all is as before.
func TestDescriptorsRunOut(t *testing.T) {
	needPrune(t)
	m := newMount(t, withDescriptors(t, fewDescriptors))
	for round := range 2 {
		files, err := openUntilRefused(t, m, fmt.Sprintf("open-%d-%%d", round))
		if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("after %d files: %v, want EMFILE", len(files), err)
		}
		if len(files) < fewDescriptors/4 {
			t.Errorf("refused after %d files", len(files))
		}
		mustRefuseClearly(t, m, round)
		for _, f := range files {
			if _, err := f.Write([]byte("still works")); err != nil {
				t.Errorf("write to an open file: %v", err)
			}
			f.Close()
		}
		waitFor(t, "all is as before", 5*time.Second, func() bool {
			return os.WriteFile(m.path("again.lock"), nil, 0o644) == nil && os.Remove(m.path("again.lock")) == nil
		})
	}
	if !strings.Contains(string(mustReadControl(t, m, "locks")), `"version":1`) {
		t.Error("the control file does not answer")
	}
}

func mustReadControl(t *testing.T, m *mount, name string) []byte {
	t.Helper()
	text, err := m.readControl(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return text
}

func openUntilRefused(t *testing.T, m *mount, pattern string) (files []*os.File, err error) {
	t.Helper()
	for i := range 2 * fewDescriptors {
		f, err := os.OpenFile(m.path(fmt.Sprintf(pattern, i)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return files, err
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files, nil
}

// mustRefuseClearly makes things of all kinds while there are no descriptors.
func mustRefuseClearly(t *testing.T, m *mount, round int) {
	t.Helper()
	started := time.Now()
	for i := range 20 {
		for what, act := range map[string]func(path string) error{
			"file":    func(path string) error { f, err := createExclusively(path); f.Close(); return err },
			"lock":    func(path string) error { f, err := createExclusively(path); f.Close(); return err },
			"dir":     func(path string) error { return os.Mkdir(path, 0o755) },
			"symlink": func(path string) error { return os.Symlink("target", path) },
			"fifo":    func(path string) error { return syscall.Mkfifo(path, 0o644) },
		} {
			name := fmt.Sprintf("refused-%d-%d.%s", round, i, what)
			err := act(m.path(name))
			if err == nil {
				continue // something was closed or forgotten just now
			}
			if !errors.Is(err, syscall.EMFILE) {
				t.Errorf("%s: %v, want EMFILE", what, err)
			}
			if m.exists(name) {
				t.Errorf("%s: it was made, and refused", what)
			}
		}
	}
	// 50 ms of patience in a second at most.
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("100 refusals took %v", took)
	}
}

// The lock of an owner that dies while there are no descriptors is taken away all the same.
func TestDeathWithoutDescriptors(t *testing.T) {
	m := newMount(t, withDescriptors(t, fewDescriptors))
	holder := startHelper(t, nil, "hold", m.path("held.lock"))
	holder.line(t)
	if _, err := openUntilRefused(t, m, "open-%d"); err == nil {
		t.Fatal("nothing was refused")
	}
	if errno := removeAs(t, nil, m.path("held.lock")); errno != syscall.EBUSY && errno != syscall.EMFILE {
		t.Errorf("removal by another: %v", errno)
	}
	if !m.exists("held.lock") {
		t.Fatal("the lock is gone")
	}
	holder.kill()
	waitFor(t, "the dead owner's lock goes", 10*time.Second, func() bool { return !m.exists("held.lock") })
}
