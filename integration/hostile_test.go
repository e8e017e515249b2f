package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outside has what the tree's symbolic links point to, and nothing of which may be touched through them.
type outside struct {
	dir    string
	before map[string]fileState
}

func newOutside(t *testing.T, m *mount) *outside {
	t.Helper()
	o := &outside{dir: m.parent + "/outside", before: map[string]fileState{}}
	for _, name := range []string{"file", "x.lock", "sub/file"} {
		writeFile(t, filepath.Join(o.dir, name), "outside")
	}
	if err := os.WriteFile(o.dir+"/empty.lock", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o.before = o.states(t)
	return o
}

func (o *outside) states(t *testing.T) map[string]fileState {
	t.Helper()
	states := map[string]fileState{}
	err := filepath.Walk(o.dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			at := &mount{below: mustOpenPath(t, o.dir)}
			name, _ := filepath.Rel(o.dir, path)
			states[name] = at.stateBelow(t, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return states
}

func mustOpenPath(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (o *outside) mustBeUntouched(t *testing.T) {
	t.Helper()
	after := o.states(t)
	for name, was := range o.before {
		if after[name] != was {
			t.Errorf("%s outside changed:\n%+v\n%+v", name, was, after[name])
		}
	}
	for name := range after {
		if _, was := o.before[name]; !was {
			t.Errorf("%s was made outside", name)
		}
	}
}

// What is done to a symbolic link is done to the link, whatever it points to.
func TestLinksAreNotFollowed(t *testing.T) {
	m := newMount(t)
	o := newOutside(t, m)
	for _, link := range []string{"link", "link.lock", "x.lock"} {
		if err := os.Symlink(o.dir+"/file", m.path(link)); err != nil {
			t.Fatal(err)
		}
		path := m.path(link)
		if target, err := os.Readlink(path); err != nil || target != o.dir+"/file" {
			t.Errorf("readlink: %q, %v", target, err)
		}
		unix.Lsetxattr(path, "trusted.mark", []byte("x"), 0)
		unix.Lsetxattr(path, "user.mark", []byte("x"), 0)
		unix.Lchown(path, 1234, 1234)
		unix.Fchmodat(unix.AT_FDCWD, path, 0o600, unix.AT_SYMLINK_NOFOLLOW)
		unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Sec: 1}, {Sec: 1}}, unix.AT_SYMLINK_NOFOLLOW)
		if fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); !errors.Is(err, unix.ELOOP) {
			t.Errorf("open without following: %d, %v", fd, err)
		}
		if _, err := createExclusively(path); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("exclusive create over a link: %v", err)
		}
		if err := os.Link(path, m.path("second-"+link)); err != nil && !errors.Is(err, syscall.EBUSY) {
			t.Errorf("link: %v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	o.mustBeUntouched(t)
}

// Links from before the mount that have a lock's name, or lead in circles, are neither followed nor waited for.
func TestLinksFromBefore(t *testing.T) {
	var o *outside
	m := newMount(t, withContent(func(dir string) {
		o = newOutside(t, &mount{parent: filepath.Dir(dir)})
		for link, target := range map[string]string{
			"a.lock": o.dir + "/empty.lock", "b.jsonl.lock": o.dir + "/x.lock", "up.lock": "..", "dir": o.dir, "self": "self",
			"self.lock": "self.lock", "round/one": "../round/two", "round/two": "../round/one", "round/root": "/",
		} {
			os.MkdirAll(filepath.Dir(dir+"/"+link), 0o755)
			if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
	}))
	for _, name := range []string{"self", "self.lock", "round/one"} {
		if _, err := os.Open(m.path(name)); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"a.lock", "b.jsonl.lock", "self.lock", "up.lock"} {
		if _, err := createExclusively(m.path(name)); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("create %s: %v", name, err)
		}
	}
	m.locks(t)
	o.mustBeUntouched(t)
}

// racing is how long a race is run.
const racing = 1500 * time.Millisecond

// swapper exchanges, underneath, a directory and a link out of the tree, as fast as it can.
func swapper(t *testing.T, m *mount, end <-chan struct{}) error {
	dir, link := m.pathBelow("dir"), m.pathBelow("link")
	for {
		select {
		case <-end:
			return nil
		default:
		}
		if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
}

// A caller that follows no link never gets out of the tree, whatever becomes of the directory that it walks through.
func TestDirectoryBecomesALink(t *testing.T) {
	m := newMount(t, cachedFor(0))
	o := newOutside(t, m)
	writeFile(t, m.path("dir/file"), "inside")
	if err := os.Symlink(o.dir, m.path("link")); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	time.AfterFunc(racing, func() { close(end) })
	var all sync.WaitGroup
	all.Go(func() {
		if err := swapper(t, m, end); err != nil {
			t.Errorf("swap: %v", err)
		}
	})
	for i := range len(walks) {
		all.Go(func() { walks[i](t, m, end) })
	}
	all.Wait()
	o.mustBeUntouched(t)
}

// beneath opens a path as one that follows no link does.
func beneath(root int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o644
	}
	return unix.Openat2(root, path, &how)
}

// walks go on, each in its way, until the end.
var walks = []func(t *testing.T, m *mount, end <-chan struct{}){
	func(t *testing.T, m *mount, end <-chan struct{}) {
		during(t, m, end, func(root int) {
			if fd, err := beneath(root, "dir/file", unix.O_RDONLY); err == nil {
				buf := make([]byte, 100)
				if n, _ := unix.Read(fd, buf); string(buf[:n]) != "inside" {
					t.Errorf("read %q", buf[:n])
				}
				unix.Close(fd)
			}
		})
	},
	func(t *testing.T, m *mount, end <-chan struct{}) {
		during(t, m, end, func(root int) {
			if fd, err := beneath(root, "dir/made", unix.O_WRONLY|unix.O_CREAT); err == nil {
				unix.Write(fd, []byte("made"))
				unix.Close(fd)
			}
		})
	},
	func(t *testing.T, m *mount, end <-chan struct{}) {
		during(t, m, end, func(root int) {
			if fd, err := beneath(root, "dir/x.lock", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL); err == nil {
				unix.Close(fd)
			}
			if dir, err := beneath(root, "dir", unix.O_PATH|unix.O_DIRECTORY); err == nil {
				unix.Unlinkat(dir, "x.lock", 0)
				unix.Unlinkat(dir, "made", 0)
				unix.Renameat(dir, "file", dir, "moved")
				unix.Renameat(dir, "moved", dir, "file")
				unix.Close(dir)
			}
		})
	},
}

func during(t *testing.T, m *mount, end <-chan struct{}, act func(root int)) {
	root, err := unix.Open(m.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(root)
	for {
		select {
		case <-end:
			return
		default:
			act(root)
		}
	}
}

// A lock whose directory has become a link when its owner dies is not looked for where the link leads.
func TestOrphanBehindALink(t *testing.T) {
	m := newMount(t, cachedFor(0))
	o := newOutside(t, m)
	if err := os.Mkdir(m.path("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir/x.lock", "dir/empty.lock"} {
		holder := startHelper(t, nil, "hold", m.path(name))
		holder.line(t)
		if err := errors.Join(os.Rename(m.pathBelow("dir"), m.pathBelow("moved")), os.Symlink(o.dir, m.pathBelow("dir"))); err != nil {
			t.Fatal(err)
		}
		holder.kill()
		moved := strings.Replace(name, "dir", "moved", 1)
		waitFor(t, "the dead owner's lock goes", mountDeadline, func() bool { return !m.exists(moved) })
		if err := errors.Join(os.Remove(m.pathBelow("dir")), os.Rename(m.pathBelow("moved"), m.pathBelow("dir"))); err != nil {
			t.Fatal(err)
		}
	}
	o.mustBeUntouched(t)
}

// oddNames are allowed, all the same.
var oddNames = []string{
	"two\nlines", "tab\tand\r", "\x01\x7f", "\xff\xfe\x80", "ä\xcc", " ", "-rf", "\\", "*", "$(id)", `"quoted"`, "...", "....lock",
	"a\n.lock", "\xff.lock", "\"{}.lock", "-f.lock", " .lock", "<&>.lock", "\u2028.lock", "..\n.lock",
}

// inDir is a directory's name that is as odd, and no lock's.
func inDir(name string) string { return "in-" + name + "-" }

func TestOddNames(t *testing.T) {
	m := newMount(t)
	for _, name := range oddNames {
		if err := os.Mkdir(m.path(inDir(name)), 0o755); err != nil {
			t.Errorf("mkdir %q: %v", name, err)
		}
		for _, at := range []string{name, inDir(name) + "/" + name} {
			mustServeOddName(t, m, at)
		}
		mustRun(t, "rm", "-r", "--", m.path(inDir(name)))
	}
}

func mustServeOddName(t *testing.T, m *mount, name string) {
	t.Helper()
	f, err := createExclusively(m.path(name))
	if err != nil {
		t.Errorf("create %q: %v", name, err)
		return
	}
	defer f.Close()
	if listedNumber(t, m.path(name)) != stat(t, m.pathBelow(name)).Ino {
		t.Errorf("%q is listed with another number", name)
	}
	held := len(m.locks(t))
	if isLock := strings.HasSuffix(name, ".lock"); isLock != (held == 1) {
		t.Errorf("%q: %d locks are known", name, held)
	}
	if err := os.Rename(m.path(name), m.path("moved\n")); err != nil {
		t.Errorf("rename %q: %v", name, err)
	}
	if err := os.Remove(m.path("moved\n")); err != nil {
		t.Errorf("remove %q: %v", name, err)
	}
	if left := m.locks(t); len(left) > 0 {
		t.Errorf("%q is still known: %+v", name, left)
	}
}

// A name that looks like a path out of the tree is one nowhere.
func TestNoWayUp(t *testing.T) {
	m := newMount(t)
	o := newOutside(t, m)
	control, err := os.OpenFile(m.path(".sessionlockfs/control"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	if err := os.Symlink(o.dir, m.path("link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"../outside/empty.lock", o.dir + "/empty.lock", "link/empty.lock", "link/../x.lock", "./../outside/x.lock", ".sessionlockfs/../../outside/x.lock",
	} {
		for _, command := range []string{"release ", "release --force ", "release --force -- "} {
			if _, err := control.WriteString(command + path + "\n"); err == nil {
				t.Errorf("%s%s is carried out", command, path)
			}
		}
	}
	dir := openDir(t, m.dir)
	if _, err := beneath(dir, "../outside/file", unix.O_RDONLY); err == nil {
		t.Error("there is a way up")
	}
	o.mustBeUntouched(t)
}
