package integration

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What a step of TestHistory may be: each has a process do it, and asks the model.

// writing is what a process may write into its lock.
func (h *lawTrial) writing(a *performing, kind byte) *lawFile {
	f := &lawFile{kind: kind, pid: a.pid}
	switch d := h.r.IntN(9); {
	case kind == 'd':
		return &lawFile{kind: kind, inside: map[string]*lawFile{}}
	case kind == 'l' && d < 6:
		f.text = fmt.Sprint(a.pid)
	case d == 0 && kind == 'f':
		f.pid = 0
	case d < 5 && kind == 'f':
		f.text, f.created = payload(a.pid, time.Now()), true
	case d == 5:
		f.text, f.data, f.pid = "data of the user's", true, 0
	case d == 6:
		f.text, f.pid = "4194305", 4194305 // there is none beyond pid_max
	case d == 7 && kind == 'f':
		f.text = fmt.Sprintf(`{"pid":%d}`, a.pid)
	default:
		f.text = fmt.Sprint(a.pid)
	}
	return f
}

func (h *lawTrial) creates(a *performing, i int) {
	f := h.writing(a, 'f')
	got := h.has(a, "create", i, f.text)
	want := h.model.creates(a.number, i, f, true)
	if want == 0 {
		h.opened[[2]int{a.number, i}] = h.model.names[i].grant
	}
	h.expect(got.Errno, want)
}

// makes is an exclusive act without a handle.
func (h *lawTrial) makes(a *performing, i int) {
	act, f := "mkdir", h.writing(a, 'd')
	switch h.r.IntN(3) {
	case 0:
		act, f = "symlink", h.writing(a, 'l')
	case 1:
		act, f = "mknod", &lawFile{kind: 'f'}
	}
	got := h.has(a, act, i, f.text)
	h.expect(got.Errno, h.model.creates(a.number, i, f, false))
}

// links is an exclusive act by which an older file gets the name.
func (h *lawTrial) links(a *performing, i int) {
	f := h.writing(a, 'f')
	got := h.has(a, []string{"link onto", "rename onto"}[h.r.IntN(2)], i, f.text)
	h.expect(got.Errno, h.model.creates(a.number, i, f, false))
}

func (h *lawTrial) removes(a *performing, i int) {
	how := "unlink"
	if f := h.model.names[i].file; f != nil && f.kind == 'd' != (h.r.IntN(8) == 0) {
		how = "rmdir"
	}
	if h.r.IntN(4) == 0 {
		how = "rename away"
	}
	got := h.has(a, how, i, "")
	h.expect(got.Errno, h.model.removes(a.number, i, how))
}

func (h *lawTrial) closes(a *performing, i int) {
	if h.r.IntN(2) == 0 { // else it would find none, most often
		for opened := range h.model.names {
			if h.opened[[2]int{a.number, opened}] != 0 {
				i = opened
			}
		}
	}
	grant := h.opened[[2]int{a.number, i}]
	got, want := h.has(a, "close", i, ""), syscall.Errno(0)
	if grant == 0 {
		want = syscall.EBADF
	}
	delete(h.opened, [2]int{a.number, i})
	h.model.closes(i, grant)
	h.settles("the close")
	h.expect(got.Errno, want)
}

func (h *lawTrial) replaces(a *performing, i int) {
	f := &lawFile{kind: 'f', text: fmt.Sprint("data of step ", h.step), data: true}
	got := h.has(a, "rename over", i, f.text)
	h.expect(got.Errno, h.model.replaces(a.number, i, f))
}

// moves is an act with two locks. What becomes nobody's must be data: else it is judged, which takes its time.
func (h *lawTrial) moves(a *performing, i int) {
	j := (i + 1 + h.r.IntN(len(h.model.names)-1)) % len(h.model.names)
	n, to := h.model.names[i], h.model.names[j]
	judged := func(f *lawFile, at *lawName) bool { return f != nil && !f.data && !at.held() }
	act, law := "move onto", h.model.movesOnto
	switch d := h.r.IntN(3); {
	case d == 0 && !judged(n.file, to):
		act, law = "move", h.model.moves
	case d == 1 && !judged(n.file, to) && !judged(to.file, n):
		act, law = "exchange", h.model.exchanges
	}
	got := h.has(a, act, i, h.m.path(to.path))
	h.expect(got.Errno, law(a.number, i, j))
}

func (h *lawTrial) changes(a *performing, i int) {
	ways := []string{"write", "write", "put", "truncate", "chmod", "touch", "setxattr", "link away"}
	act := ways[h.r.IntN(len(ways))]
	if f := h.model.names[i].file; act == "put" && f != nil && f.kind == 'l' {
		act = "write" // not to make what the link points to
	}
	text := fmt.Sprint("data of step ", h.step)
	got := h.has(a, act, i, text)
	h.expect(got.Errno, h.model.changes(a.number, i, act, text))
}

func (h *lawTrial) stats(a *performing, i int) {
	from := time.Now().UnixNano()
	got := h.has(a, "stat", i, "")
	to := time.Now().UnixNano()
	errno, exact := h.model.stats(a.number, i)
	h.expect(got.Errno, errno)
	if errno != 0 {
		return
	}
	st := stat(h, h.m.pathBelow(h.model.names[i].path))
	if got.Size != st.Size || got.Ino != st.Ino {
		h.fatal("size %d and inode %d, on disk %d and %d", got.Size, got.Ino, st.Size, st.Ino)
	}
	if now := from <= got.Mtime && got.Mtime <= to; exact && got.Mtime != st.Mtim.Nano() || !exact && !now {
		h.fatal("a time of %d, on disk %d; now is %d to %d", got.Mtime, st.Mtim.Nano(), from, to)
	}
}

// shownPID is what nobody but the owner may read, unless it is all that there is: see fsnode's rendered.
var shownPID = regexp.MustCompile(`"pid":\s*[0-9]`)

func (h *lawTrial) reads(a *performing, i int) {
	got := h.has(a, "read", i, "")
	errno, exact := h.model.reads(a.number, i)
	h.expect(got.Errno, errno)
	if errno != 0 {
		return
	}
	f := h.model.names[i].file
	want := f.text
	if f.kind == 'd' {
		want = strings.Join(f.insideNames(), " ")
	}
	if exact || !strings.HasPrefix(want, "{") {
		if got.Text != want {
			h.fatal("it reads as %q and is %q", got.Text, want)
		}
	} else if len(got.Text) != len(want) || shownPID.MatchString(got.Text) {
		h.fatal("somebody else reads %q as %q", want, got.Text)
	}
}

func (f *lawFile) insideNames() (names []string) {
	for name := range f.inside {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (h *lawTrial) lists(a *performing, i int) {
	got := h.has(a, "list", i, "")
	listed := slices.DeleteFunc(strings.Fields(got.Text), func(name string) bool { return !strings.Contains(name, ".lock") })
	if want := h.model.lists(a.number, i); strings.Join(listed, " ") != want {
		h.fatal("%q are listed, the law says %q", listed, want)
	}
	h.expect(got.Errno, 0)
}

func (h *lawTrial) inside(a *performing, i int) {
	if h.r.IntN(2) == 0 { // else there is none, most often
		for dir, n := range h.model.names {
			if n.file != nil && n.file.kind == 'd' {
				i = dir
			}
		}
	}
	name := fmt.Sprint("f", h.r.IntN(2))
	if h.r.IntN(3) == 0 {
		h.expect(h.has(a, "take from", i, name).Errno, h.model.takesFrom(a.number, i, name))
		return
	}
	f := h.writing(a, 'f')
	got := h.has(a, "put into", i, name+"="+f.text)
	h.expect(got.Errno, h.model.putsInto(a.number, i, name, f))
}

// forces is a person's word for a lock to go.
func (h *lawTrial) forces(i int) {
	path, force := h.model.names[i].path, h.r.IntN(3) > 0
	command := "release " + path
	if force {
		command = "release --force " + path
	}
	control, err := os.OpenFile(h.m.path(".sessionlockfs/control"), os.O_WRONLY, 0)
	if err != nil {
		h.Fatal(err)
	}
	var got syscall.Errno
	if _, err := control.WriteString(command); err != nil {
		got = err.(*os.PathError).Err.(syscall.Errno)
	}
	control.Close()
	h.says("a person says %q: %s", command, errnoWord(got))
	want := h.model.forces(i, force)
	h.settles("the release")
	h.expect(got, want)
}
