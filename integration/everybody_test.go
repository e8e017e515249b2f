package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Every call has, by everybody, the same result on the mount as on a bare directory, and leaves the same tree.
func TestEveryCallByEverybody(t *testing.T) {
	var bare string
	acts := everyAct()
	m := newMount(t, withFlags("-o", "allow_other,suid,dev"), withContent(func(dir string) {
		bare = filepath.Join(filepath.Dir(dir), "bare")
		for _, tree := range []string{dir, bare} {
			layOut(t, tree, acts)
		}
	}))
	t.Cleanup(func() { unprotect(m.pathBelow("")); unprotect(bare) })
	below := m.pathBelow("")
	before := map[string]tree{below: lookThrough(t, below), bare: lookThrough(t, bare)}
	helpers := map[string]*helper{}
	for _, caller := range everybody {
		helpers[caller.name] = startHelper(t, nil, "call", caller.name)
	}
	failed := map[string]bool{}
	for _, act := range acts {
		on := helpers[act.caller]
		got, want := on.ask(t, act.in(m.dir)), on.ask(t, act.in(bare))
		if got != want && !act.known() {
			t.Errorf("%s: %s, want %s", act, got, want)
			failed[act.dir] = true
		}
	}
	changed := func(root string) map[string]tree { return lookThrough(t, root).since(before[root]).byAct() }
	got, want := changed(below), changed(bare)
	for _, act := range acts {
		if difference := got[act.dir].differ(want[act.dir]); difference != "" && !failed[act.dir] && !act.known() {
			t.Errorf("%s left\n%s", act, difference)
		}
	}
	t.Logf("%d calls", len(acts))
}

// act is one call, or several in a row, by somebody in a directory of its own.
type act struct {
	dir, setUp, call, caller string
}

func (a act) String() string            { return fmt.Sprintf("%s with [%s]: %s", a.caller, a.setUp, a.call) }
func (a act) in(root string) string     { return filepath.Join(root, a.dir) + "\t" + a.call }
func (a act) known() bool               { return knownDifference(a) }
func (h *helper) say(line string)       { fmt.Fprintln(h.stdin, line) }
func withFlags(f ...string) mountOption { return func(m *mount) { m.flags = append(m.flags, f...) } }

func (h *helper) ask(t testing.TB, line string) string {
	t.Helper()
	h.say(line)
	return h.line(t)
}

func everyAct() (acts []act) {
	for i, row := range everyCall {
		for j, call := range strings.Split(row.calls, "|") {
			for _, caller := range everybody {
				if row.few && !caller.ofFew {
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
