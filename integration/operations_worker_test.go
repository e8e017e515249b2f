package integration

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// helpDifference makes the calls of programs, on one side: in a directory of the mount or in a bare one. It reads lines
// "run NAME PROGRAM" and answers with a line for each operation, lines for the tree in the end, and "end"; "remove NAME"
// takes the tree away.
func helpDifference(arguments []string) error {
	base, bare, how := arguments[0], arguments[1] == "bare", arguments[2]
	out := bufio.NewWriter(os.Stdout)
	scan := bufio.NewScanner(os.Stdin)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		fields := strings.Fields(scan.Text())
		dir := base + "/" + fields[1]
		switch fields[0] {
		case "run":
			program, err := hex.DecodeString(strings.Join(fields[2:], ""))
			if err != nil {
				return err
			}
			if err := runProgram(dir, &side{bare: bare, how: how}, program, out); err != nil {
				return err
			}
		case "remove":
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			fmt.Fprintln(out, "end")
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return scan.Err()
}

// side is where a program runs. Its callers share the descriptors, as the processes of an agent do that inherit them.
type side struct {
	bare        bool
	how         string // files are read and written
	descriptors [slots]int
	callers     []*caller
}

// caller is a thread that is one of the users. It has the program's directory for its root, so nothing leads out of it.
type caller struct {
	*side
	user user
	work chan func()
	done chan error
}

func runProgram(dir string, s *side, program []byte, out *bufio.Writer) error {
	if err := firstTree(dir); err != nil {
		return err
	}
	for i := range s.descriptors {
		s.descriptors[i] = -1
	}
	defer s.end()
	for _, u := range users() {
		c := &caller{s, u, make(chan func()), make(chan error)}
		go c.serve(dir)
		if err := <-c.done; err != nil {
			return fmt.Errorf("become %s: %w", u.name, err)
		}
		s.callers = append(s.callers, c)
	}
	for _, o := range decode(program) {
		fmt.Fprintln(out, s.callers[o.user].perform(o))
	}
	for _, line := range treeState(dir) {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, "end")
	return nil
}

func (s *side) end() {
	for _, c := range s.callers {
		close(c.work)
		<-c.done
	}
	for i := range s.descriptors {
		(&caller{side: s}).close(i)
	}
}

// serve is the thread. It is never unlocked, so that it ends with the goroutine: nobody can use it after this.
func (c *caller) serve(dir string) {
	runtime.LockOSThread()
	err := c.become(dir)
	c.done <- err
	if err != nil {
		return
	}
	for do := range c.work {
		do()
		c.done <- nil
	}
	c.done <- nil
}

// become makes this one thread the user. The functions of package syscall would change all of them.
func (c *caller) become(dir string) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a root, a working directory and a umask of its own
		return err
	}
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	groups := make([]uint32, len(c.user.groups)+1)
	for i, group := range c.user.groups {
		groups[i] = uint32(group)
	}
	uid, gid := uintptr(c.user.uid), uintptr(c.user.gid)
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.user.groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return e
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return e
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return e
	}
	return nil
}

// perform has the thread make the call and tells in one line what came of it.
func (c *caller) perform(o operation) (result string) {
	c.work <- func() {
		unix.Umask(o.umask)
		watched := c.watch(o)
		result = c.answer(o) + watched.changes(c.watch(o))
	}
	<-c.done
	return result
}

func (c *caller) answer(o operation) string {
	if answer, known := c.knownAnswer(o); known {
		return answer
	}
	text, err := o.kind.call(o).do(c)
	if err != nil {
		return errnoName(err)
	}
	return "ok " + text
}

func errnoName(err error) string {
	switch errno := err.(type) {
	case unix.Errno:
		return unix.ErrnoName(errno)
	case directError:
		return unix.ErrnoName(errno.Errno) + failedDirect
	}
	return err.Error()
}

// fd is the descriptor in a slot, or in the next that has one; -1 if none has.
func (c *caller) fd(slot int) int {
	for i := range slots {
		if fd := c.descriptors[(slot+i)%slots]; fd >= 0 {
			return fd
		}
	}
	return -1
}

// keep puts a descriptor into a slot, in the place of what is there.
func (c *caller) keep(slot, fd int) {
	c.close(slot)
	c.descriptors[slot] = fd
}

func (c *caller) close(slot int) error {
	fd := c.descriptors[slot]
	c.descriptors[slot] = -1
	return unix.Close(fd)
}

// dir is where the paths of an operation start.
func (c *caller) dir(o operation) int {
	if fd := c.fd(o.slot2); o.at && fd >= 0 {
		return fd
	}
	return unix.AT_FDCWD
}

func futimens(fd int, times *[2]unix.Timespec) error {
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func parseEntry(buf []byte) (listedName, int) {
	raw := (*unix.Dirent)(unsafe.Pointer(&buf[0]))
	name := buf[unsafe.Offsetof(raw.Name):raw.Reclen]
	return listedName{unix.ByteSliceToString(name), raw.Type, raw.Ino, raw.Off}, int(raw.Reclen)
}

// brief tells bytes in one short piece.
func brief(data []byte) string {
	if len(data) <= 24 {
		return fmt.Sprintf("%q", data)
	}
	hash := fnv.New64a()
	hash.Write(data)
	return fmt.Sprintf("%d bytes %.4q %016x", len(data), data, hash.Sum64())
}

// abbreviated shortens names as long as a file system lets them be.
func abbreviated(name string) string {
	if len(name) <= 40 {
		return name
	}
	return fmt.Sprintf("%.10s…%d", name, len(name))
}

// glimpse is what can be seen of the times of some inodes.
type glimpse []unix.Statx_t

// watch looks at what the operation is about to touch, or has touched: the directories as well.
func (c *caller) watch(o operation) (g glimpse) {
	if !o.watched {
		return nil
	}
	look := func(dir int, path string, flags int) {
		var st unix.Statx_t
		if unix.Statx(dir, path, flags|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st) != nil {
			st = unix.Statx_t{}
		}
		g = append(g, st)
	}
	switch o.kind.touches {
	case aSlot:
		look(c.fd(o.slot), "", unix.AT_EMPTY_PATH)
	case twoPaths:
		look(c.dir(o), o.path2, 0)
		look(c.dir(o), parentOf(o.path2), 0)
		fallthrough
	case onePath:
		look(c.dir(o), o.path, 0)
		look(c.dir(o), parentOf(o.path), 0)
	}
	return g
}

func parentOf(path string) string {
	dir := strings.TrimRight(path, "/")
	if i := strings.LastIndexByte(dir, '/'); i >= 0 {
		return dir[:i+1]
	}
	return "."
}

// changes tells which times moved, and what else there is to see afterwards.
func (g glimpse) changes(after glimpse) string {
	var text strings.Builder
	for i, now := range after {
		if now.Mode == 0 {
			text.WriteString(" | none")
			continue
		}
		was := g[i]
		fmt.Fprintf(&text, " | %06o %d:%d nlink %d size %d", now.Mode, now.Uid, now.Gid, now.Nlink, now.Size)
		if was.Ino != now.Ino || was.Mode == 0 {
			continue
		}
		fmt.Fprintf(&text, " mtime%s ctime%s", moved(was.Mtime, now.Mtime), moved(was.Ctime, now.Ctime))
	}
	return text.String()
}

func moved(was, now unix.StatxTimestamp) string {
	switch {
	case was == now:
		return "="
	case now.Sec > was.Sec || now.Sec == was.Sec && now.Nsec > was.Nsec:
		return "+"
	}
	return "-"
}
