package integration

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watchedActs are done one after the other in a directory that is watched; each is followed by a look at the events.
var watchedActs = []struct {
	name string
	do   func(dir string) error
}{
	{"create", func(d string) error { return os.WriteFile(d+"/file", nil, 0o644) }},
	{"write", func(d string) error { return os.WriteFile(d+"/file", []byte("text"), 0o644) }},
	{"read", func(d string) error { _, err := os.ReadFile(d + "/file"); return err }},
	{"append", func(d string) error { return appendTo(d+"/file", "more") }},
	{"truncate", func(d string) error { return os.Truncate(d+"/file", 2) }},
	{"chmod", func(d string) error { return os.Chmod(d+"/file", 0o600) }},
	{"chown", func(d string) error { return os.Chown(d+"/file", os.Geteuid(), os.Getegid()) }},
	{"times", func(d string) error { return os.Chtimes(d+"/file", time.Unix(1, 0), time.Unix(2, 0)) }},
	{"setxattr", func(d string) error { return unix.Setxattr(d+"/file", "user.x", []byte("v"), 0) }},
	{"fallocate", func(d string) error { return allocate(d + "/file") }},
	{"map", func(d string) error { return changeMapped(d + "/file") }},
	{"link", func(d string) error { return os.Link(d+"/file", d+"/second") }},
	{"unlink a name", func(d string) error { return os.Remove(d + "/second") }},
	{"symlink", func(d string) error { return os.Symlink("file", d+"/link") }},
	{"readlink", func(d string) error { _, err := os.Readlink(d + "/link"); return err }},
	{"mkfifo", func(d string) error { return unix.Mkfifo(d+"/fifo", 0o644) }},
	{"mkdir", func(d string) error { return os.Mkdir(d+"/made", 0o755) }},
	{"readdir", func(d string) error { _, err := os.ReadDir(d + "/made"); return err }},
	{"rename", func(d string) error { return os.Rename(d+"/file", d+"/moved") }},
	{"rename out", func(d string) error { return os.Rename(d+"/moved", d+"/sub/moved") }},
	{"rename in", func(d string) error { return os.Rename(d+"/sub/moved", d+"/file") }},
	{"rename over", func(d string) error { return os.Rename(d+"/fifo", d+"/link") }},
	{"rename over the watched", func(d string) error { return os.Rename(d+"/new", d+"/watched") }},
	{"exchange", func(d string) error { return renameat(d+"/file", d+"/link", unix.RENAME_EXCHANGE) }},
	{"rename a directory", func(d string) error { return os.Rename(d+"/made", d+"/sub/made") }},
	{"nameless", func(d string) error { return linkNameless(d, d+"/named") }},
	{"unlink while open", func(d string) error { return unlinkWhileOpen(d + "/named") }},
	{"refused create", func(d string) error { return refused(unix.EEXIST, exclusively(d+"/file")) }},
	{"refused unlink", func(d string) error { return refused(unix.ENOENT, os.Remove(d+"/nothing")) }},
	{"lock", func(d string) error { return exclusively(d + "/x.lock") }},
	{"read lock", func(d string) error { _, err := os.ReadFile(d + "/x.lock"); return err }},
	{"release", func(d string) error { return os.Remove(d + "/x.lock") }},
	{"lock again", func(d string) error { return exclusively(d + "/x.lock") }},
	{"rename the lock away", func(d string) error { return os.Rename(d+"/x.lock", d+"/kept") }},
	{"lock directory", func(d string) error { return os.Mkdir(d+"/y.lock", 0o755) }},
	{"release directory", func(d string) error { return os.Remove(d + "/y.lock") }},
	{"rmdir", func(d string) error { return os.Remove(d + "/sub/made") }},
	{"rmdir the watched", func(d string) error { return os.Remove(d + "/empty") }},
	{"unlink all", emptied},
}

// emptied removes what is in a directory, in the order of names.
func emptied(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// What inotify and fanotify tell of a directory is the same on the mount as on a bare directory.
func TestEventsAreThoseOfABareDirectory(t *testing.T) {
	m := newMount(t)
	bare := filepath.Join(m.parent, "bare")
	mustRun(t, "mkdir", "-m", "777", bare)
	for name, open := range map[string]func(testing.TB) eventSource{
		"inotify":  func(t testing.TB) eventSource { return newInotify(t) },
		"fanotify": func(t testing.TB) eventSource { return newFanotify(t) },
	} {
		t.Run(name, func(t *testing.T) {
			want, got := eventsOf(t, bare, open(t)), eventsOf(t, m.dir, open(t))
			for i, act := range watchedActs {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("%s:\n%q, but on a bare directory\n%q", act.name, got[i], want[i])
				}
			}
		})
	}
}

// eventSource is a way to watch directories.
type eventSource interface {
	add(t testing.TB, path string) int
	events(t testing.TB) []string
}

// eventsOf does all the acts in a directory and returns what was heard of each.
func eventsOf(t testing.TB, dir string, source eventSource) (all [][]string) {
	t.Helper()
	for _, name := range []string{"watched", "new", "empty/", "sub/"} {
		if path, isDir := strings.CutSuffix(dir+"/"+name, "/"); isDir {
			mustRun(t, "mkdir", path)
		} else {
			writeFile(t, path, name)
		}
	}
	for _, name := range []string{".", "sub", "watched", "empty"} {
		source.add(t, filepath.Join(dir, name))
	}
	heard := false
	for _, act := range watchedActs {
		if err := act.do(dir); err != nil {
			t.Fatalf("%s in %s: %v", act.name, dir, err)
		}
		events := source.events(t)
		heard = heard || len(events) > 0
		all = append(all, events)
	}
	if !heard {
		t.Fatalf("no event at all in %s", dir)
	}
	return all
}

// inotify is an instance of this process.
type inotify struct{ fd int }

func newInotify(t testing.TB) inotify {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	in := inotify{fd}
	t.Cleanup(in.close)
	return in
}

// close may be called again, for the number is not used by anything else in a test.
func (in inotify) close() { unix.Close(in.fd) }

func (in inotify) add(t testing.TB, path string) int {
	t.Helper()
	wd, err := unix.InotifyAddWatch(in.fd, path, unix.IN_ALL_EVENTS)
	if err != nil {
		t.Fatalf("watch %s: %v", path, err)
	}
	return wd
}

// events are those since the last call. Watches and cookies get numbers in the order of their making.
func (in inotify) events(t testing.TB) (list []string) {
	t.Helper()
	var cookies []uint32
	for _, chunk := range drain(t, in.fd) {
		for len(chunk) > 0 {
			wd, mask := binary.NativeEndian.Uint32(chunk), binary.NativeEndian.Uint32(chunk[4:])
			cookie, size := binary.NativeEndian.Uint32(chunk[8:]), binary.NativeEndian.Uint32(chunk[12:])
			name := nameOf(chunk[16 : 16+size])
			chunk = chunk[16+size:]
			if cookie != 0 && !slices.Contains(cookies, cookie) {
				cookies = append(cookies, cookie)
			}
			list = append(list, fmt.Sprintf("%d %s %s move %d", wd, maskNames(mask), name, slices.Index(cookies, cookie)))
		}
	}
	return list
}

// eventNames are the same for inotify and fanotify, as far as both have them.
var eventNames = []struct {
	bit  uint32
	name string
}{
	{unix.IN_ACCESS, "ACCESS"}, {unix.IN_MODIFY, "MODIFY"}, {unix.IN_ATTRIB, "ATTRIB"},
	{unix.IN_CLOSE_WRITE, "CLOSE_WRITE"}, {unix.IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"}, {unix.IN_OPEN, "OPEN"},
	{unix.IN_MOVED_FROM, "MOVED_FROM"}, {unix.IN_MOVED_TO, "MOVED_TO"}, {unix.IN_CREATE, "CREATE"},
	{unix.IN_DELETE, "DELETE"}, {unix.IN_DELETE_SELF, "DELETE_SELF"}, {unix.IN_MOVE_SELF, "MOVE_SELF"},
	{unix.IN_IGNORED, "IGNORED"}, {unix.IN_ISDIR, "ISDIR"}, {unix.IN_Q_OVERFLOW, "OVERFLOW"},
}

func maskNames(mask uint32) string {
	var names []string
	for _, e := range eventNames {
		if mask&e.bit != 0 {
			names, mask = append(names, e.name), mask&^e.bit
		}
	}
	if mask != 0 {
		names = append(names, fmt.Sprintf("%#x", mask))
	}
	return strings.Join(names, "|")
}

// nameOf takes for one what a file is called that was opened without a name: by its number where the file system calls
// d_mark_tmpfile, as ext4 does, and FUSE leaves it at "/", which the kernel's vfs_tmpfile gives.
func nameOf(b []byte) string {
	name := unix.ByteSliceToString(b)
	if name == "/" || strings.HasPrefix(name, "#") {
		return "(nameless)"
	}
	return name
}

// drain reads until there is nothing more to read.
func drain(t testing.TB, fd int) (chunks [][]byte) {
	t.Helper()
	for {
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		switch err {
		case nil:
			chunks = append(chunks, buf[:n])
		case unix.EINTR:
		case unix.EAGAIN:
			return chunks
		default:
			t.Fatalf("read events: %v", err)
		}
	}
}

// fanotify is a group that reports directories and names (FAN_REPORT_DFID_NAME).
type fanotify struct {
	fd   int
	dirs map[string]int // by file handle, in the order they were first seen
}

func newFanotify(t testing.TB) fanotify {
	t.Helper()
	needRoot(t)
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_DFID_NAME|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err != nil {
		t.Fatalf("fanotify: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fanotify{fd, map[string]int{}}
}

func (fan fanotify) add(t testing.TB, path string) int {
	t.Helper()
	const all = unix.FAN_ACCESS | unix.FAN_MODIFY | unix.FAN_ATTRIB | unix.FAN_CLOSE_WRITE | unix.FAN_CLOSE_NOWRITE |
		unix.FAN_OPEN | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_CREATE | unix.FAN_DELETE |
		unix.FAN_DELETE_SELF | unix.FAN_MOVE_SELF | unix.FAN_ONDIR
	mask := uint64(all)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		mask |= unix.FAN_EVENT_ON_CHILD
	}
	if err := unix.FanotifyMark(fan.fd, unix.FAN_MARK_ADD, mask, unix.AT_FDCWD, path); err != nil {
		t.Fatalf("fanotify on %s: %v", path, err)
	}
	return 0
}

// events are those since the last call, with what fanotify(7) calls the information records.
func (fan fanotify) events(t testing.TB) (list []string) {
	t.Helper()
	for _, chunk := range drain(t, fan.fd) {
		for len(chunk) > 0 {
			size, head := binary.NativeEndian.Uint32(chunk), binary.NativeEndian.Uint16(chunk[6:])
			mask := binary.NativeEndian.Uint64(chunk[8:])
			list = append(list, maskNames(uint32(mask))+fan.records(chunk[head:size]))
			chunk = chunk[size:]
		}
	}
	return list
}

func (fan fanotify) records(b []byte) string {
	var text strings.Builder
	for len(b) >= 4 {
		kind, size := b[0], binary.NativeEndian.Uint16(b[2:])
		handle := binary.NativeEndian.Uint32(b[12:]) + 8 // behind the header and the fsid
		name := nameOf(b[12+handle : size])
		fmt.Fprintf(&text, " %d:%d %s", kind, fan.dir(string(b[12:12+handle])), name)
		b = b[size:]
	}
	return text.String()
}

func (fan fanotify) dir(handle string) int {
	if _, known := fan.dirs[handle]; !known {
		fan.dirs[handle] = len(fan.dirs)
	}
	return fan.dirs[handle]
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func allocate(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), 0, 0, 8192)
}

func changeMapped(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	pages, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	pages[0]++
	return unix.Munmap(pages)
}

func renameat(from, to string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
}

func linkNameless(dir, path string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}

func unlinkWhileOpen(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.Remove(path)
}

func exclusively(path string) error {
	f, err := createExclusively(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func refused(want syscall.Errno, err error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%v, want %v", err, want)
	}
	return nil
}

// names are those in a directory, as they are listed for us.
func names(t testing.TB, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]bool{}
	for _, e := range entries {
		list[e.Name()] = true
	}
	return list
}
