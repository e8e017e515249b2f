package integration

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The exit codes that the README promises.
const (
	exitDirectory  = 3
	exitTaken      = 4
	exitNoFUSE     = 5
	exitInUse      = 6
	exitNotMounted = 7
	exitDead       = 8
	exitUnwell     = 9
)

// program runs a command of the program and gives its exit code and what it said.
func program(t testing.TB, argv ...string) (code int, said string) {
	t.Helper()
	out, err := command(t, append([]string{suite.binary}, argv...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// mustSay requires the exit code, and one line that has all the words.
func mustSay(t testing.TB, wantCode int, words []string, argv ...string) {
	t.Helper()
	code, said := program(t, argv...)
	if code != wantCode {
		t.Errorf("%v: exit code %d, want %d\n%s", argv, code, wantCode, said)
	}
	if n := strings.Count(strings.TrimSpace(said), "\n"); n > 0 {
		t.Errorf("%v: more than one line:\n%s", argv, said)
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("%v: does not say %q:\n%s", argv, word, said)
		}
	}
}

func TestRefusedDirectories(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	mustSay(t, exitDirectory, []string{missing, "does not exist", "mkdir -p"}, "mount", missing)
	mustSay(t, exitDirectory, []string{file, "not a directory"}, "mount", file)
	mustSay(t, exitDirectory, []string{missing, "mkdir -p"}, "mount", "--background", missing)
	mustSay(t, exitNotMounted, []string{dir, "not a sessionlockfs mount"}, "unmount", dir)
	mustSay(t, exitNotMounted, []string{dir, "not a sessionlockfs mount"}, "locks", dir)
	mustSay(t, exitNotMounted, []string{"in no sessionlockfs mount"}, "release", filepath.Join(dir, "a.lock"))
	mustSay(t, 2, []string{"unknown mount option", "frobnicate"}, "mount", "-o", "frobnicate", dir)
	if served(dir) {
		t.Error("something was mounted all the same")
	}
}

func TestRefusedWhenTaken(t *testing.T) {
	m := newMount(t)
	other := t.TempDir()
	mustSay(t, exitTaken, []string{m.dir, "already"}, "mount", m.dir)
	below := m.pathBelow("")
	cmd := command(t, "sh", "-c", `exec "$0" mount "$1" "$2"`, suite.binary, "/proc/self/fd/3", other)
	real, err := os.Open(below)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	cmd.ExtraFiles = []*os.File{real}
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != exitTaken && code != exitDirectory {
		t.Errorf("a second arbiter: %v\n%s", err, out)
	}
	if served(other) {
		t.Error("two arbiters over one tree")
	}
}

func TestBusyMountNamesWhoIsInTheWay(t *testing.T) {
	m := newMount(t)
	sleeper := exec.Command("sleep", "60")
	sleeper.Dir = m.dir
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	mustSay(t, exitInUse, []string{"in use", "sleep (PID "}, "unmount", m.dir)
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server says who is in the way", unmountDeadline, func() bool {
		return strings.Contains(m.log.String(), "sleep (PID ")
	})
	if _, err := m.readControl("locks"); err != nil {
		t.Errorf("it does not serve any more: %v", err)
	}
}

func TestDeadMountIsCleared(t *testing.T) {
	m := newMount(t)
	m.killBoth(t)
	m.cmd = nil
	mustSay(t, exitDead, []string{"dead mount"}, "locks", m.dir)
	mustSay(t, 0, nil, "unmount", m.dir)
	if served(m.dir) {
		t.Error("still mounted")
	}
	m.start(t)
	m.killBoth(t)
	m.start(t) // which clears it, too
}

func TestWithoutFUSE(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	script := `mount -t tmpfs none /dev && exec "$0" mount "$1"`
	out, err := command(t, need(t, "unshare"), "--mount", "--propagation", "private", "sh", "-c", script, suite.binary, dir).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitNoFUSE || !strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestBystandersPastTheMountAreNamed(t *testing.T) {
	var sleeper *exec.Cmd
	m := newMount(t, withContent(func(dir string) {
		sleeper = exec.Command("sleep", "60")
		sleeper.Dir = dir
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
	}))
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	waitFor(t, "the warning", unmountDeadline, func() bool {
		log := m.log.String()
		return strings.Contains(log, "sleep (PID ") && strings.Contains(log, "past the mount")
	})
}

func TestControlRefusesWhatItDoesNotUnderstand(t *testing.T) {
	m := newMount(t)
	outside := filepath.Join(m.parent, "outside.lock")
	if err := os.WriteFile(outside, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", m.path("up")); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"", "frobnicate", "release", "release ", "release ../outside.lock", "release up/outside.lock",
		"release --force " + outside, "release --force sub/../../outside.lock", "release .", "release --force ..",
	} {
		err := os.WriteFile(m.path(".sessionlockfs/control"), []byte(command+"\n"), 0)
		if !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%q: %v, want EINVAL", command, err)
		}
	}
	waitFor(t, "the reason in the log", unmountDeadline, func() bool {
		return strings.Contains(m.log.String(), "malformed command")
	})
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

func TestRelease(t *testing.T) {
	m := newMount(t)
	path := m.path("a.lock")
	holder := startHelper(t, nil, "hold", path)
	holder.line(t)
	mustSay(t, exitInUse, []string{"held", "--force"}, "release", path)
	m.mustBeHeldBy(t, "a.lock", holder.cmd.Process.Pid)
	mustSay(t, 0, []string{"released"}, "release", "--force", path)
	waitFor(t, "the lock is gone", unmountDeadline, func() bool { return !m.exists("a.lock") })
	next := startHelper(t, nil, "hold", path)
	next.line(t)
	m.mustBeHeldBy(t, "a.lock", next.cmd.Process.Pid)
	mustSay(t, 1, []string{"no such lock"}, "release", m.path("b.lock"))
}

// A create that the real directory refuses leaves nothing behind, and nobody is granted.
func TestFullDirectory(t *testing.T) {
	needRoot(t)
	full := newMount(t, withContent(func(dir string) {
		mustRun(t, "mount", "-t", "tmpfs", "-o", "nr_inodes=4,mode=777", "none", dir)
		t.Cleanup(func() { mustRun(t, "umount", "-l", dir) })
	}))
	for i := 0; ; i++ {
		err := os.WriteFile(full.path("fill"+string(rune('a'+i))), nil, 0o644)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil || i > 8 {
			t.Fatal(err)
		}
	}
	_, err := createExclusively(full.path("a.lock"))
	mustBe(t, err, syscall.ENOSPC)
	if locks := full.locks(t); len(locks) > 0 {
		t.Errorf("a phantom: %+v", locks)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	m := newMount(t, withContent(func(dir string) {
		mustRun(t, "mount", "--bind", dir, dir)
		mustRun(t, "mount", "-o", "remount,bind,ro", dir)
		t.Cleanup(func() { mustRun(t, "umount", "-l", dir) })
	}))
	_, err := createExclusively(m.path("a.lock"))
	mustBe(t, err, syscall.EROFS)
	if locks := m.locks(t); len(locks) > 0 {
		t.Errorf("a phantom: %+v", locks)
	}
}

func mustRun(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := command(t, argv...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

func mustBe(t testing.TB, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// Nobody but root and who mounted may see or say anything in the control directory.
func TestControlIsNotForOthers(t *testing.T) {
	m := newMount(t)
	for _, name := range []string{".sessionlockfs/locks", ".sessionlockfs/control"} {
		out, err := commandAs(nobody, "cat", m.path(name)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "ermission denied") {
			t.Errorf("cat %s as another user: %v %s", name, err, out)
		}
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == ".sessionlockfs" {
			t.Error("the control directory is listed")
		}
	}
	var notExist *fs.PathError
	if _, err := os.Stat(m.path(".sessionlockfs/none")); !errors.As(err, &notExist) {
		t.Errorf("an unknown control file: %v", err)
	}
}

// mount(8) knows us by our name.
func TestMountCommand(t *testing.T) {
	needRoot(t)
	need(t, "mount.fuse3")
	dir := t.TempDir()
	const script = `mount -t tmpfs none /usr/local/bin && cp "$0" /usr/local/bin/sessionlockfs && export HOME="$1"
		mount -t fuse.sessionlockfs -o noatime "$1" "$1" && cat "$1/.sessionlockfs/locks" && sessionlockfs unmount "$1"`
	out, err := command(t, need(t, "unshare"), "--mount", "--propagation", "private", "sh", "-e", "-c", script, suite.binary, dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"mountpoint":"`+dir) {
		t.Errorf("%v\n%s", err, out)
	}
}

// The unit says Type=notify: whoever started the mount is told when it can be used.
func TestNotify(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	sessions := filepath.Join(dir, "sessions")
	mustDo(t, os.Mkdir(sessions, 0o755))
	cmd := command(t, suite.binary, "mount", sessions)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	mustDo(t, cmd.Start())
	mustDo(t, socket.SetReadDeadline(time.Now().Add(mountDeadline)))
	said := make([]byte, 256)
	n, err := socket.Read(said)
	if err != nil || string(said[:n]) != "READY=1" {
		t.Errorf("said %q, %v", said[:n], err)
	}
	if !served(sessions) {
		t.Error("it is not mounted")
	}
	mustSay(t, 0, nil, "unmount", sessions)
	mustDo(t, cmd.Wait())
}
