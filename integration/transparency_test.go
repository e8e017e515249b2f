package integration

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a caller that may not keep them changes loses its set-id bits, as underneath.
func TestSetIDBitsGo(t *testing.T) {
	m := newMount(t)
	for name, change := range map[string]string{
		"write":     `printf x >> "$1"`,
		"overwrite": `printf x > "$1"`,
		"truncate":  `truncate -s 1 "$1"`,
		"allocate":  `fallocate -l 4096 "$1"`,
	} {
		path := m.path(name)
		if err := os.WriteFile(path, []byte("data"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(path, 0o6777); err != nil {
			t.Fatal(err)
		}
		if out, err := commandAs(nobody, "sh", "-c", change, "sh", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if mode := m.stateBelow(t, name).mode; mode&0o6000 != 0 {
			t.Errorf("%s by another user leaves mode %o", name, mode&0o7777)
		}
	}
}

// An ACL on the real directory counts, and one set through the mount is there.
func TestACLsCount(t *testing.T) {
	setfacl := need(t, "setfacl")
	m := newMount(t)
	path := m.path("secret")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() error { return commandAs(nobody, "cat", path).Run() }
	if read() == nil {
		t.Error("another user reads a file of mode 0600")
	}
	mustRun(t, setfacl, "-m", "u:"+strconv.Itoa(int(nobody.Uid))+":r", path)
	if err := read(); err != nil {
		t.Errorf("the user whom the ACL names can't read: %v", err)
	}
	mustRun(t, setfacl, "-m", "g::-,m::rw", path)
	if err := os.Chown(path, 0, int(nobody.Gid)); err != nil {
		t.Fatal(err)
	}
	mustRun(t, setfacl, "-x", "u:"+strconv.Itoa(int(nobody.Uid)), path)
	if read() == nil {
		t.Error("the owning group reads what the ACL denies it")
	}
}

// The umask applies once, and not at all where a directory has a default ACL.
func TestUmask(t *testing.T) {
	m := newMount(t)
	mustRun(t, "sh", "-c", `umask 027; : > "$1"; mkdir "$2"`, "sh", m.path("file"), m.path("dir"))
	if mode := m.stateBelow(t, "file").mode & 0o777; mode != 0o640 {
		t.Errorf("file: %o, want 640", mode)
	}
	if mode := m.stateBelow(t, "dir").mode & 0o777; mode != 0o750 {
		t.Errorf("directory: %o, want 750", mode)
	}
}

// The flag that a handle appends may change, and mapped pages have their own place.
func TestAppendingHandles(t *testing.T) {
	t.Run(byKernel, func(t *testing.T) { mustAppend(t, newMount(t)) })
	t.Run(byServer, func(t *testing.T) {
		m := newMount(t, withFlags(withoutPassthrough))
		f := mustAppend(t, m)
		// The kernel itself opens the real file with the flags of that moment (fuse_passthrough_open).
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(int(f.Fd()), []byte("placed"), 0); err != nil {
			t.Fatal(err)
		}
		if state := m.stateBelow(t, "log"); state.size != 8192 || !strings.HasPrefix(state.bytes, "placed") {
			t.Errorf("after the flag is gone: size %d, starts with %.6q", state.size, state.bytes)
		}
	})
}

// mustAppend opens a file to append, and writes to it in both ways.
func mustAppend(t *testing.T, m *mount) *os.File {
	t.Helper()
	path := m.path("log")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(bytes.Repeat([]byte("a"), 8192)); err != nil {
		t.Fatal(err)
	}
	pages, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	copy(pages, "mapped")
	if err := unix.Msync(pages, unix.MS_SYNC); err != nil {
		t.Fatal(err)
	}
	if err := unix.Munmap(pages); err != nil {
		t.Fatal(err)
	}
	if state := m.stateBelow(t, "log"); state.size != 8192 || !strings.HasPrefix(state.bytes, "mapped") {
		t.Errorf("mapped pages: size %d, starts with %.6q", state.size, state.bytes)
	}
	return f
}

// An orphan that stays as evidence can be moved and linked by any tool.
func TestEvidenceCanBeMoved(t *testing.T) {
	m := newMount(t)
	for i, command := range []string{`mv "$1" "$2"`, `ln "$1" "$2"`, `cp "$1" "$2"`} {
		name := "e" + strconv.Itoa(i) + ".jsonl.lock"
		holder := startHelper(t, nil, "hold", m.path(name))
		holder.line(t)
		holder.kill()
		m.waitOrphan(t, name)
		mustRun(t, "sh", "-c", command, "sh", m.path(name), m.path("kept"+strconv.Itoa(i)))
	}
	// Nothing to rename, or refused: the orphan at the target stays.
	name := "e2.jsonl.lock"
	err := unix.Renameat2(unix.AT_FDCWD, m.path("none"), unix.AT_FDCWD, m.path(name), unix.RENAME_NOREPLACE)
	mustBe(t, err, syscall.ENOENT)
	if !m.exists(name) {
		t.Error("a rename of nothing took the evidence away")
	}
}

// Neither a directory in an arbitrated tree, nor one around it, gets an arbiter of its own;
// a neighbour does.
func TestNestedArbitersAreRefused(t *testing.T) {
	needRoot(t)
	m := newMount(t, withContent(func(dir string) { os.Mkdir(dir+"/sub", 0o755) }))
	elsewhere := t.TempDir()
	mustSay(t, exitTaken, []string{"arbitrates it already"}, "mount", m.path("sub"), elsewhere)
	mustSay(t, exitTaken, []string{"arbiter"}, "mount", m.parent, elsewhere)
	neighbour := m.parent + "/neighbour"
	if err := os.Mkdir(neighbour, 0o755); err != nil {
		t.Fatal(err)
	}
	mustSay(t, 0, nil, "mount", "--background", "--log-file", m.parent+"/log", neighbour)
	mustSay(t, 0, nil, "unmount", neighbour)
}
