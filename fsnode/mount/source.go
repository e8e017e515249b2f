package mount

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// OpenSource opens the real directory and becomes its one arbiter: the exclusive flock
// on it lasts as long as the file is open, in whatever namespace somebody still uses the
// mount (rule 12). The file's name is the absolute path without links. The error is a *Refusal.
func OpenSource(dir string) (*os.File, error) {
	path, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	if top, ok := Top(path); ok && top.Type == FSType {
		return nil, &Refusal{Cause: Taken, What: path + " is a sessionlockfs mount already",
			Advice: fmt.Sprintf("nothing to do; `sessionlockfs unmount %s` ends it", path)}
	}
	source, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, refuseSource(path, err)
	}
	if err := arbitrate(source); err != nil {
		source.Close()
		return nil, err
	}
	return source, nil
}

// inMount reports whether a directory is in a mount of ours, which arbitrates it already.
func inMount(dir *os.File) (Entry, bool) {
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) != nil {
		return Entry{}, false
	}
	for _, e := range table() {
		if e.Type == FSType && e.Device == st.Dev {
			return e, true
		}
	}
	return Entry{}, false
}

// resolve gives the absolute path without links, before anything is opened.
func resolve(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", refuseSource(dir, err)
	}
	if err := ClearDead(path); err != nil { // attributes may be cached, so looking at them tells nothing
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", refuseSource(path, err)
	}
	return real, nil
}

// ClearDead takes away the dead mounts of ours at an absolute path, as long as one lies uppermost. The error is a *Refusal.
func ClearDead(path string) error {
	for top, ok := Top(path); ok && top.Ours() && isDead(path); top, ok = Top(path) {
		if err := detach(path); err != nil {
			return err
		}
	}
	return nil
}

func refuseSource(path string, err error) *Refusal {
	r := &Refusal{Cause: BadDirectory, What: "can't use " + path, Err: err}
	var p *fs.PathError
	if errors.As(err, &p) {
		r.Err = p.Err
	}
	switch {
	case errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED):
		return &Refusal{Cause: Dead, What: path + " is a dead mount: its process is gone",
			Advice: fmt.Sprintf("clear it with `sessionlockfs unmount %s`, then mount again", path)}
	case errors.Is(err, fs.ErrNotExist):
		r.What, r.Err = path+" does not exist", nil
		r.Advice = "make it first: mkdir -p " + path
	case errors.Is(err, unix.ENOTDIR):
		r.What, r.Err = path+" is not a directory", nil
		r.Advice = "name the directory that holds the sessions"
	case errors.Is(err, fs.ErrPermission):
		r.Advice = "run as root, or as the user whose agents use it"
	}
	return r
}

// arbitrate takes the flocks that only one arbiter of a tree can have: an exclusive one on
// its root, and shared ones on the directories above, so that trees in each other exclude
// each other and neighbours do not. A bind mount of a part of the tree, in a container say,
// has other directories above it: there this sees nothing.
func arbitrate(source *os.File) error {
	if e, ok := inMount(source); ok {
		return &Refusal{Cause: Taken, What: source.Name() + " is in the sessionlockfs mount " + e.Mountpoint,
			Advice: "that arbitrates it already"}
	}
	if err := arbitrateOne(int(source.Fd()), source.Name(), unix.LOCK_EX); err != nil {
		return err
	}
	return arbitrateAbove(source)
}

// arbitrateAbove takes the shared flocks. The descriptors are never closed: an arbiter
// does not give its tree up before it ends.
func arbitrateAbove(source *os.File) error {
	dir, path := int(source.Fd()), source.Name()
	for {
		up, err := unix.Openat(dir, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil
		}
		if path = filepath.Dir(path); sameInode(up, dir) { // the root
			return unix.Close(up)
		}
		if err := shareAbove(up, path); err != nil {
			unix.Close(up)
			return err
		}
		dir = up
	}
}

// shareAbove takes the flock on one directory above, if we may read it. Anybody may have
// it locked for reasons of their own, and keeps nobody from mounting below.
func shareAbove(dir int, path string) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	if unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == nil {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && !strings.HasPrefix(flockHolder(&st), ourName()+" (") {
		return unix.Close(fd)
	}
	err = arbitrateOne(fd, path, unix.LOCK_SH)
	if err != nil {
		unix.Close(fd)
	}
	return err
}

// ourName is the name under which other arbiters run, too.
func ourName() string {
	comm, _ := os.ReadFile("/proc/self/comm")
	return strings.TrimSpace(string(comm))
}

func sameInode(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// arbitrateOne takes one flock. An arbiter that was unmounted just now lets go soon.
func arbitrateOne(dir int, path string, how int) error {
	err := unix.Flock(dir, how|unix.LOCK_NB)
	for end := time.Now().Add(patience); err == unix.EWOULDBLOCK && time.Now().Before(end); {
		time.Sleep(pause)
		err = unix.Flock(dir, how|unix.LOCK_NB)
	}
	if err == nil {
		return nil
	}
	if err != unix.EWOULDBLOCK {
		return &Refusal{Cause: BadDirectory, What: "can't lock " + path, Err: err,
			Advice: "its file system must have flock(2)"}
	}
	who := "another process"
	var st unix.Stat_t
	if unix.Fstat(dir, &st) == nil {
		if name := flockHolder(&st); name != "" {
			who = name
		}
	}
	return &Refusal{Cause: Taken, What: path + " has an arbiter already, or a directory in it has: " + who,
		Advice: "two would grant one lock twice; unmount it first, and end the containers that still have its mount"}
}

// flockHolder names who holds the flock on an inode; see proc_locks(5). "" if it can't
// be told, as for a process in another PID namespace.
func flockHolder(st *unix.Stat_t) string {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer f.Close()
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && fields[5] == want {
			return nameOf(fields[4])
		}
	}
	return ""
}

func nameOf(pid string) string {
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "PID " + pid
	}
	return strings.TrimSpace(string(comm)) + " (PID " + pid + ")"
}

// ResolvePoint gives the absolute path without links of a directory to mount over. The
// error is a *Refusal.
func ResolvePoint(dir string) (string, error) {
	path, err := resolve(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", refuseSource(path, err)
	}
	if !info.IsDir() {
		return "", refuseSource(path, unix.ENOTDIR)
	}
	return path, nil
}
