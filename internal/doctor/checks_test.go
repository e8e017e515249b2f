package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/control"
)

func TestGround(t *testing.T) {
	expect(t, checkPropagation(mount.Entry{Mountpoint: "/srv", Shared: 3}), OK, "shared")
	expect(t, checkPropagation(mount.Entry{Mountpoint: "/srv", Master: 3}), Warn, "not a shared")
	for kind, want := range map[string]Level{
		"ext4": OK, "xfs": OK, "btrfs": OK, "tmpfs": OK, "overlay": OK, "nfs4": Warn, "cifs": Warn, "9p": Warn, "fuse.sshfs": Warn, "fuse": Warn, "": Warn,
	} {
		expect(t, checkFileSystem(mount.Entry{Type: kind}), want, "")
	}
	expect(t, checkFileSystem(mount.Entry{Type: "ext4", ReadOnly: true}), OK, "read-only")
	expect(t, checkRecords(unix.ENODATA), OK, "slfs")
	expect(t, checkRecords(unix.EOPNOTSUPP), Warn, "in files")
	expect(t, checkRecords(errHidden), OK, "not looked at")
	expect(t, checkRecords(errSilent), Warn, "no answer")
}

func TestMountChecks(t *testing.T) {
	const dir = "/srv/a b"
	expect(t, checkMount(dir, &arbiter{pulse: answers, server: 3, holder: 2, waiting: 0}), OK, `"/srv/a b" answers, server PID 3, holder PID 2`)
	expect(t, checkMount(dir, &arbiter{pulse: dead}), Fail, "dead mount")
	expect(t, checkMount(dir, &arbiter{pulse: failing, err: unix.EIO}), Fail, "input/output error")
	expect(t, checkMount(dir, &arbiter{pulse: private}), OK, "another user's")
	expect(t, checkMount(dir, &arbiter{pulse: silent, waiting: -1}), Fail, "no answer within 3s")
	stuck := checkMount(dir, &arbiter{pulse: silent, waiting: 7, server: 3, holder: 2, stopped: []int{3}})
	expect(t, stuck, Fail, "7 requests wait")
	if stuck.Fix != "kill -CONT 3" {
		t.Errorf("fix: %s", stuck.Fix)
	}
	expect(t, checkHolder(&arbiter{holder: 2}), OK, "")
	expect(t, checkHolder(&arbiter{holder: 2, orphaned: true}), Warn, "PID 2")
}

func TestPulse(t *testing.T) {
	for said, want := range map[string]pulse{
		"0": answers, "13": private, "107": dead, "103": dead, "5": failing, "": failing, "panic": failing,
	} {
		if got, err := pulseOf(said); got != want || (err != nil) != (want == failing) {
			t.Errorf("%q: %d, %v", said, got, err)
		}
	}
}

func TestProgram(t *testing.T) {
	expect(t, checkProgram("/s", fsnode.MountDump{Release: "2"}, "2"), OK, "2")
	expect(t, checkProgram("/s", fsnode.MountDump{Release: "1"}, "2"), Warn, "1 serves, and this is 2")
	failed := fsnode.MountDump{Release: "1", Upgrade: json.RawMessage(`{"at":"2026-01-01T00:00:00Z","failed":"no\nluck"}`)}
	expect(t, checkProgram("/s", failed, "2"), Warn, `no\nluck`)
}

func TestSocket(t *testing.T) {
	expect(t, checkSocket(nil), OK, "answers")
	expect(t, checkSocket(&fs.PathError{Err: unix.EACCES}), OK, "not for us")
	expect(t, checkSocket(&fs.PathError{Err: unix.ECONNREFUSED}), Warn, "nobody listens")
	expect(t, checkSocket(errors.New("odd\n")), Fail, `odd\n`)
}

func TestBare(t *testing.T) {
	dir := t.TempDir()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Stat("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		b     bare
		root  bool
		level Level
		found string
	}{
		{bare{err: fs.ErrNotExist}, true, Fail, "does not exist"},
		{bare{info: file}, true, Fail, "not a directory"},
		{bare{info: info, err: fs.ErrPermission}, false, Fail, "not for us to read"},
		{bare{info: info, err: unix.ENOLCK}, true, Fail, "no locks"},
		{bare{info: info, write: unix.EACCES}, false, Fail, "not for us to write"},
		{bare{info: info, write: unix.EROFS}, true, OK, "can be mounted over"},
	} {
		expect(t, checkBare("/s", c.b, c.root)[0], c.level, c.found)
	}
	expect(t, checkUnmounted("/s", bare{}), Warn, "nothing is mounted")
	expect(t, checkUnmounted("/s", bare{taken: true, at: "/mnt/s"}), Warn, "the real directory of the mount /mnt/s")
	expect(t, checkUnmounted("/s", bare{taken: true}), Fail, "container")
	expect(t, checkUnmounted("/s", bare{taken: true, other: "sessionlockfs (PID 9)"}), Fail, "PID 9")
}

func TestSearch(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.lock", "b/c.lock", "b/c.jsonl"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	isLock := func(name string) bool { return strings.HasSuffix(name, ".lock") }
	if found, all := search(dir, isLock, time.Now().Add(time.Hour)); found != 2 || !all {
		t.Errorf("%d, %v", found, all)
	}
}

func TestLocks(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	node := &fsnode.OwnerDump{PID: 9, Comm: "node\n"}
	lock := func(state string, age time.Duration) fsnode.LockDump {
		return fsnode.LockDump{Path: "m/a b.lock", State: state, CreatedAt: now.Add(-age), Owner: node, Verdict: "unknown", Reason: "it could be\tdata"}
	}
	for _, c := range []struct {
		lock  fsnode.LockDump
		level Level
		found string
	}{
		{lock("held", 24*time.Hour), OK, ""},
		{lock("untracked", time.Second), OK, ""},
		{lock("untracked", time.Hour), Warn, `"/s/m/a b.lock" was not made through the mount, and keeps others out; verdict unknown: "it could be\tdata"`},
		{lock("abandoned", time.Second), Warn, `"node\n" (PID 9), which is dead`},
		{lock("orphan", time.Minute), OK, ""},
		{lock("orphan", 25*time.Hour), Warn, `took it 1d1h ago`},
		{lock("unknown_owner", time.Minute), OK, ""},
		{lock("unknown_owner", 2*time.Hour), Warn, `2h0m ago`},
		{fsnode.LockDump{State: "abandoned"}, Warn, "not known"},
	} {
		found := checkLocks("/s", []fsnode.LockDump{c.lock}, now)
		expect(t, found[0], OK, "1: 1 "+strings.ReplaceAll(c.lock.State, "_", " "))
		if len(found) != 1+int(c.level) {
			t.Errorf("%s: %+v", c.lock.State, found)
			continue
		}
		expect(t, found[len(found)-1], c.level, c.found)
	}
	expect(t, checkLocks("/s", nil, now)[0], OK, "none")
}

func TestStaleSockets(t *testing.T) {
	dir := t.TempDir()
	listen := func(name string) (string, *net.UnixListener) {
		path := filepath.Join(dir, name)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		return path, l
	}
	living, l := listen("0-1.sock")
	defer l.Close()
	left, l := listen("0-2.sock")
	l.Close()
	mounted, l := listen("0-3.sock")
	l.Close()
	stale := staleSockets([]control.Socket{{Path: living, Device: 1}, {Path: left, Device: 2}, {Path: mounted, Device: 3}}, map[uint64]bool{3: true})
	if len(stale) != 1 || stale[0].Path != left {
		t.Fatalf("%v", stale)
	}
	if err := stale[0].RemoveDead(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if err := (control.Socket{Path: living}).RemoveDead(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(living); err != nil {
		t.Errorf("one that somebody listens on is gone: %v", err)
	}
}

func TestReport(t *testing.T) {
	r := newReport("/s", []string{"x"}, []Finding{ok("a", "fine"), warn("b", "do it", "not <so> fine")})
	var person, program bytes.Buffer
	if err := errors.Join(r.Print(&person, false), r.Print(&program, true)); err != nil {
		t.Fatal(err)
	}
	const want = "fixed x\nok    a               fine\nwarn  b               not <so> fine\n                   -> do it\n"
	if person.String() != want {
		t.Errorf("got %q, want %q", person.String(), want)
	}
	var back map[string]any
	if err := json.Unmarshal(program.Bytes(), &back); err != nil || back["well"] != false || back["version"] != 1.0 {
		t.Errorf("%v: %s", err, program.String())
	}
	if !newReport("", nil, []Finding{ok("a", "fine")}).Well {
		t.Error("all is well")
	}
}

func TestCures(t *testing.T) {
	fixed, failed := carryOut([]cure{
		{"a", "a is done", func() error { return nil }},
		{"b", "b is done", func() error { return errors.New("no luck") }},
	})
	if len(fixed) != 1 || fixed[0] != "a is done" || len(failed) != 1 {
		t.Fatalf("%q, %+v", fixed, failed)
	}
	expect(t, failed[0], Fail, "no luck")
}
