package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Every call has, by everybody, the same result on the mount as on a bare directory, and leaves the same tree.
func TestEveryCallByEverybody(t *testing.T) {
	c := comparison{acts: everyAct(func(person) bool { return true })}
	c.run(t, withFlags("-o", "allow_other,suid,dev"))
}

// The same by an ordinary user on a mount of its own, where the kernel checks nothing.
func TestEveryCallByTheUserWhoMounts(t *testing.T) {
	needRoot(t) // to become one
	need(t, "fusermount3")
	if !openToEverybody(t, "/dev/fuse") {
		withOwnFuseConfiguration(t)
		return
	}
	c := comparison{acts: everyAct(func(p person) bool { return p.uid == ownerUID })}
	c.run(t, asUser(&syscall.Credential{Uid: ownerUID, Gid: ownerGID}))
}

// comparison makes the same calls on a mount and on a bare directory.
type comparison struct {
	acts   []act
	m      *mount
	bare   string
	failed map[string]bool // of the acts' directories
}

func (c *comparison) run(t *testing.T, options ...mountOption) {
	c.failed = map[string]bool{}
	c.m = newMount(t, append(options, withContent(func(dir string) {
		c.bare = filepath.Join(filepath.Dir(dir), "bare")
		layOut(t, dir, c.acts)
		layOut(t, c.bare, c.acts)
	}))...)
	below := c.m.pathBelow("")
	t.Cleanup(func() { unprotect(below); unprotect(c.bare) })
	underneath, beside := lookThrough(t, below), lookThrough(t, c.bare)
	c.results(t)
	c.trees(t, lookThrough(t, below).since(underneath).byAct(), lookThrough(t, c.bare).since(beside).byAct())
	t.Logf("%d calls", len(c.acts))
}

func (c *comparison) results(t *testing.T) {
	helpers := map[string]*helper{}
	for _, a := range c.acts {
		by := helpers[a.caller]
		if by == nil {
			by = startHelper(t, nil, "call", a.caller)
			helpers[a.caller] = by
		}
		got, want := by.ask(t, a.in(c.m.dir)), by.ask(t, a.in(c.bare))
		if got != want && !c.known(a) {
			t.Errorf("%s: %s, want %s", a, got, want)
			c.failed[a.dir] = true
		}
	}
}

func (c *comparison) trees(t *testing.T, got, want map[string]tree) {
	for _, a := range c.acts {
		if difference := got[a.dir].differ(want[a.dir]); difference != "" && !c.failed[a.dir] && !c.known(a) {
			t.Errorf("%s left\n%s", a, difference)
		}
	}
}

// act is one call, or several in a row, by somebody in a directory of its own.
type act struct {
	dir, setUp, call, caller string
}

func (a act) String() string            { return fmt.Sprintf("%s with [%s]: %s", a.caller, a.setUp, a.call) }
func (a act) in(root string) string     { return filepath.Join(root, a.dir) + "\t" + a.call }
func (h *helper) say(line string)       { fmt.Fprintln(h.stdin, line) }
func withFlags(f ...string) mountOption { return func(m *mount) { m.flags = append(m.flags, f...) } }

func (h *helper) ask(t testing.TB, line string) string {
	t.Helper()
	h.say(line)
	return h.line(t)
}

func everyAct(by func(person) bool) (acts []act) {
	for i, row := range everyCall {
		for j, call := range strings.Split(row.calls, "|") {
			for _, caller := range everybody {
				if !by(caller) || row.few && !caller.ofFew {
					continue
				}
				dir := fmt.Sprintf("%d-%d-%s", i, j, caller.name)
				acts = append(acts, act{dir, row.setUp, strings.TrimSpace(call), caller.name})
			}
		}
	}
	return acts
}

// layOut makes the directory of each act.
func layOut(t testing.TB, root string, acts []act) {
	t.Helper()
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range acts {
		dir := filepath.Join(root, a.dir)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, ownerUID, ownerGID); err != nil {
			t.Fatal(err)
		}
		for _, step := range strings.Split(a.setUp, ";") {
			if err := setUp(dir, strings.Fields(step)); err != nil {
				t.Fatalf("set-up %q: %v", step, err)
			}
		}
	}
}

// setUp does one step, as root.
func setUp(dir string, words []string) error {
	if len(words) == 0 {
		return nil
	}
	path := filepath.Join(dir, expand(words[1]))
	switch words[0] {
	case "f":
		return firstError(os.WriteFile(path, []byte("some data\n"), 0o600), give(path, words[2:]))
	case "d":
		return firstError(os.MkdirAll(path, 0o700), give(path, words[2:]))
	case "p":
		return firstError(unix.Mkfifo(path, 0o600), give(path, words[2:]))
	case "l":
		return firstError(os.Symlink(expand(words[2]), path), os.Lchown(path, ownerUID, ownerGID))
	case "h":
		return os.Link(filepath.Join(dir, words[2]), path)
	case "x":
		return unix.Lsetxattr(path, words[2], []byte("value"), 0)
	case "acl", "dacl":
		return unix.Setxattr(path, aclName[words[0]], encodeACL(words[2]), 0)
	case "flag":
		return setFlags(path, flagNamed[words[2]])
	}
	return fmt.Errorf("unknown step %q", words)
}

// give sets the mode, and an owner if it is not the usual one.
func give(path string, words []string) error {
	uid, gid := ownerUID, ownerGID
	if len(words) > 1 {
		fmt.Sscanf(words[1], "%d:%d", &uid, &gid)
	}
	return firstError(os.Lchown(path, uid, gid), unix.Chmod(path, octal(words[0])))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// tree is what can be seen of the entries of a directory, by path.
type tree map[string]entry

type entry struct {
	state        fileState
	target       string
	rdev         uint64
	flags        int
	ino          uint64
	born         unix.StatxTimestamp
	mtime, ctime unix.StatxTimestamp
	changes      string
}

// lookThrough describes a tree underneath.
func lookThrough(t testing.TB, root string) tree {
	t.Helper()
	found := tree{}
	err := filepath.WalkDir(root+"/", func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		found[name], err = describe(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func describe(path string) (e entry, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return e, err
	}
	e = entry{rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor), ino: st.Ino, born: st.Btime, mtime: st.Mtime, ctime: st.Ctime}
	e.state = fileState{nlink: uint64(st.Nlink), mode: uint32(st.Mode), uid: st.Uid, gid: st.Gid, xattrs: allXattrs(path)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		content, err := os.ReadFile(path)
		if err != nil {
			return e, err
		}
		e.state.size, e.state.bytes = int64(st.Size), string(content)
		e.flags, _ = getFlags(path)
	case unix.S_IFDIR:
		e.flags, _ = getFlags(path)
	case unix.S_IFLNK:
		e.target, _ = os.Readlink(path)
	}
	return e, nil
}

// allXattrs are the names and values, those of root too.
func allXattrs(path string) string {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return ""
	}
	names := strings.Split(strings.Trim(string(list[:n]), "\x00"), "\x00")
	sort.Strings(names)
	for i, name := range names {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			names[i] += fmt.Sprintf("=%q", value[:n])
		}
	}
	return strings.Join(names, " ")
}

// since replaces what differs between two trees, numbers and times, by whether an inode is new and its times changed.
func (now tree) since(before tree) tree {
	type identity struct {
		ino  uint64
		born unix.StatxTimestamp
	}
	known := map[identity]entry{}
	for _, e := range before {
		known[identity{e.ino, e.born}] = e
	}
	for name, e := range now {
		e.changes = "new"
		if old, ok := known[identity{e.ino, e.born}]; ok {
			e.changes = fmt.Sprintf("mtime changed: %v, ctime changed: %v", e.mtime != old.mtime, e.ctime != old.ctime)
		}
		e.ino, e.born, e.mtime, e.ctime = 0, unix.StatxTimestamp{}, unix.StatxTimestamp{}, unix.StatxTimestamp{}
		now[name] = e
	}
	return now
}

// byAct takes a tree apart into what is in the directory of each act.
func (now tree) byAct() map[string]tree {
	parts := map[string]tree{}
	for name, e := range now {
		dir, _, _ := strings.Cut(name, "/")
		if parts[dir] == nil {
			parts[dir] = tree{}
		}
		parts[dir][name] = e
	}
	return parts
}

func (now tree) differ(want tree) (lines string) {
	for name, e := range now {
		if w, ok := want[name]; !ok {
			lines += fmt.Sprintf("\t%s: %+v, want nothing\n", name, e)
		} else if e != w {
			lines += fmt.Sprintf("\t%s: %+v,\n\twant %+v\n", name, e, w)
		}
	}
	for name, w := range want {
		if _, ok := now[name]; !ok {
			lines += fmt.Sprintf("\t%s: nothing, want %+v\n", name, w)
		}
	}
	return lines
}

// unprotect takes the flags away that would keep the tree from being removed.
func unprotect(root string) {
	filepath.WalkDir(root+"/", func(path string, e os.DirEntry, err error) error {
		if err == nil && (e.Type().IsRegular() || e.IsDir()) {
			setFlags(path, 0)
		}
		return nil
	})
}
