package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// loader does what agents do, and other programs beside them, in a directory of its own, and knows what must come of it:
// no call may fail, and everything must be there, whatever happens to who serves it.
type loader struct {
	dir    string
	random *rand.Rand
	serial int

	files  map[string][]byte // what each must hold
	inodes map[string]uint64
	dirs   map[string]bool

	log     *os.File // appended to through one handle all the time
	logged  []byte
	mapping []byte // of a file, shared and written
	image   []byte
	locked  *os.File // with a flock all the time
	watch   int      // inotify, of the directory "watched"
	calls   int
	stalls  []stall
}

// stall is a call that took long.
type stall struct {
	Call  string
	Began time.Time
	Took  time.Duration
}

// worthTelling is from when on a call is told of.
const worthTelling = 20 * time.Millisecond

const imageSize = 64 << 10

// loadDone is what a loader says at its end.
type loadDone struct {
	Calls  int
	Stalls []stall
}

// helpLoad works until its stdin ends: arguments are the directory and a seed.
func helpLoad(arguments []string) error {
	seed, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	l := &loader{
		dir: filepath.Join(arguments[0], "worker-"+arguments[1]), random: rand.New(rand.NewPCG(uint64(seed), 1)),
		files: map[string][]byte{}, inodes: map[string]uint64{}, dirs: map[string]bool{},
	}
	if err := l.open(); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	fmt.Println("loading")
	over := make(chan struct{})
	go func() {
		untilStdinEnds()
		close(over)
	}()
	for {
		select {
		case <-over:
			return l.end()
		default:
		}
		if err := l.step(); err != nil {
			return err
		}
	}
}

func (l *loader) open() (err error) {
	if err = os.MkdirAll(filepath.Join(l.dir, "watched"), 0o755); err != nil {
		return err
	}
	if l.log, err = os.OpenFile(l.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return err
	}
	image, err := os.OpenFile(l.path("image"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	l.image = make([]byte, imageSize)
	if err = image.Truncate(imageSize); err != nil {
		return err
	}
	if l.mapping, err = unix.Mmap(int(image.Fd()), 0, imageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	if l.locked, err = os.Create(l.path("locked")); err != nil {
		return err
	}
	if err = unix.Flock(int(l.locked.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if l.watch, err = unix.InotifyInit1(unix.IN_CLOEXEC); err != nil {
		return err
	}
	_, err = unix.InotifyAddWatch(l.watch, l.path("watched"), unix.IN_CREATE)
	return err
}

func (l *loader) path(name string) string { return filepath.Join(l.dir, name) }

// step makes one call, or a few.
func (l *loader) step() error {
	names := slices.Sorted(maps.Keys(loads))
	name := names[l.random.IntN(len(names))]
	began := time.Now()
	err := loads[name](l)
	if took := time.Since(began); took > worthTelling {
		l.stalls = append(l.stalls, stall{name, began, took})
	}
	l.calls++
	if err != nil {
		return fmt.Errorf("%s, call %d, begun at %s, %s ago: %w", name, l.calls, began.Format(time.StampMicro), time.Since(began), err)
	}
	return nil
}

// fresh is a name that was never used, old is one of a file.
func (l *loader) fresh() string {
	l.serial++
	return fmt.Sprint("f", l.serial)
}

func (l *loader) old() (name string, ok bool) {
	names := slices.Sorted(maps.Keys(l.files))
	if len(names) == 0 {
		return "", false
	}
	return names[l.random.IntN(len(names))], true
}

func (l *loader) bytes() []byte {
	b := make([]byte, l.random.IntN(9000))
	for i := range b {
		b[i] = byte('a' + l.random.IntN(26))
	}
	return b
}

// withOld does something with a file, if there is one.
func (l *loader) withOld(do func(name string) error) error {
	if name, ok := l.old(); ok {
		return do(name)
	}
	return nil
}

var loads = map[string]func(l *loader) error{
	"create": func(l *loader) error {
		if len(l.files) > 40 {
			return nil
		}
		name, data := l.fresh(), l.bytes()
		f, err := os.OpenFile(l.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			return err
		}
		l.files[name] = data
		var st unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &st)
		l.inodes[name] = st.Ino
		return err
	},
	"read": func(l *loader) error {
		return l.withOld(l.check)
	},
	"write": func(l *loader) error {
		return l.withOld(func(name string) error {
			data, at := l.bytes(), l.random.IntN(5000)
			f, err := os.OpenFile(l.path(name), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.WriteAt(data, int64(at)); err != nil {
				return err
			}
			now := l.files[name]
			if len(data) > 0 && len(now) < at+len(data) {
				now = append(now, make([]byte, at+len(data)-len(now))...)
			}
			copy(now[min(at, len(now)):], data)
			l.files[name] = now
			return nil
		})
	},
	"append": func(l *loader) error {
		data := fmt.Appendf(nil, "line %d %s\n", l.calls, l.bytes())
		l.logged = append(l.logged, data...)
		_, err := l.log.Write(data)
		return err
	},
	"truncate": func(l *loader) error {
		return l.withOld(func(name string) error {
			size := l.random.IntN(len(l.files[name]) + 1)
			l.files[name] = l.files[name][:size]
			return os.Truncate(l.path(name), int64(size))
		})
	},
	"rename": func(l *loader) error {
		return l.withOld(func(name string) error {
			to := l.fresh()
			if other, _ := l.old(); l.random.IntN(2) == 0 && other != name {
				to = other
			}
			err := os.Rename(l.path(name), l.path(to))
			l.move(name, to)
			return err
		})
	},
	"rename noreplace": func(l *loader) error {
		return l.withOld(func(name string) error {
			to := l.fresh()
			err := unix.Renameat2(unix.AT_FDCWD, l.path(name), unix.AT_FDCWD, l.path(to), unix.RENAME_NOREPLACE)
			l.move(name, to)
			return err
		})
	},
	"exchange": func(l *loader) error {
		return l.withOld(func(name string) error {
			other, _ := l.old()
			l.files[name], l.files[other] = l.files[other], l.files[name]
			l.inodes[name], l.inodes[other] = l.inodes[other], l.inodes[name]
			return unix.Renameat2(unix.AT_FDCWD, l.path(name), unix.AT_FDCWD, l.path(other), unix.RENAME_EXCHANGE)
		})
	},
	"link": func(l *loader) error {
		return l.withOld(func(name string) error {
			to := l.fresh()
			if err := os.Link(l.path(name), l.path(to)); err != nil {
				return err
			}
			l.move(name, to)
			return os.Remove(l.path(name))
		})
	},
	"unlink": func(l *loader) error {
		return l.withOld(func(name string) error {
			delete(l.files, name)
			delete(l.inodes, name)
			return os.Remove(l.path(name))
		})
	},
	"mkdir": func(l *loader) error {
		if len(l.dirs) > 10 {
			return nil
		}
		name := l.fresh()
		l.dirs[name] = true
		return os.Mkdir(l.path(name), 0o755)
	},
	"rmdir": func(l *loader) error {
		for name := range l.dirs {
			delete(l.dirs, name)
			return unix.Rmdir(l.path(name))
		}
		return nil
	},
	"symlink": func(l *loader) error {
		name := l.fresh()
		if err := os.Symlink("target-"+name, l.path(name)); err != nil {
			return err
		}
		if to, err := os.Readlink(l.path(name)); err != nil || to != "target-"+name {
			return fmt.Errorf("it leads to %q: %w", to, err)
		}
		return os.Remove(l.path(name))
	},
	"list": func(l *loader) error {
		entries, err := os.ReadDir(l.dir)
		if err != nil {
			return err
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		want := slices.Concat(slices.Collect(maps.Keys(l.files)), slices.Collect(maps.Keys(l.dirs)), []string{"watched", "log", "image", "locked"})
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("it lists %v, not %v", got, want)
		}
		return nil
	},
	"map": func(l *loader) error {
		at := l.random.IntN(imageSize)
		l.mapping[at]++
		l.image[at]++
		if l.random.IntN(4) == 0 {
			return unix.Msync(l.mapping, unix.MS_SYNC)
		}
		return nil
	},
	"attribute": func(l *loader) error {
		return l.withOld(func(name string) error {
			if err := unix.Setxattr(l.path(name), "user.load", []byte("x"), unix.XATTR_CREATE); err != nil {
				return err
			}
			return unix.Removexattr(l.path(name), "user.load")
		})
	},
	"lock": func(l *loader) error { return takeAndRelease(l.path("session.jsonl.lock")) },
	"watch": func(l *loader) error {
		name := l.fresh()
		if err := os.WriteFile(l.path("watched/"+name), nil, 0o644); err != nil {
			return err
		}
		if err := l.mustSee(name); err != nil {
			return err
		}
		return os.Remove(l.path("watched/" + name))
	},
}

func (l *loader) move(name, to string) {
	if name != to {
		l.files[to], l.inodes[to] = l.files[name], l.inodes[name]
		delete(l.files, name)
		delete(l.inodes, name)
	}
}

func (l *loader) check(name string) error {
	data, err := os.ReadFile(l.path(name))
	if err != nil {
		return err
	}
	if want := l.files[name]; !bytes.Equal(data, want) {
		return fmt.Errorf("%s holds %d bytes, which are not the %d that were written", name, len(data), len(want))
	}
	var st unix.Stat_t
	if err := unix.Stat(l.path(name), &st); err != nil {
		return err
	}
	if st.Ino != l.inodes[name] {
		return fmt.Errorf("%s has inode %d, and had %d", name, st.Ino, l.inodes[name])
	}
	return nil
}

// mustSee reads the event of a creation.
func (l *loader) mustSee(name string) error {
	poll := []unix.PollFd{{Fd: int32(l.watch), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 10_000); err != nil || n == 0 {
		return errors.Join(fmt.Errorf("nobody was told of %s", name), err)
	}
	buf := make([]byte, 4096)
	n, err := unix.Read(l.watch, buf)
	if err == nil && !bytes.Contains(buf[:n], []byte(name)) {
		err = fmt.Errorf("an event of something else than %s", name)
	}
	return err
}

// end looks at everything once more.
func (l *loader) end() error {
	for name := range l.files {
		if err := l.check(name); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	if err := unix.Msync(l.mapping, unix.MS_SYNC); err != nil {
		return fmt.Errorf("msync at the end: %w", err)
	}
	for name, want := range map[string][]byte{"log": l.logged, "image": l.image} {
		if got, err := os.ReadFile(l.path(name)); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("at the end %s holds %d bytes, which are not the %d that were written: %w", name, len(got), len(want), err)
		}
	}
	again, err := os.Open(l.path("locked"))
	if err != nil {
		return err
	}
	if err := unix.Flock(int(again.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		return fmt.Errorf("at the end the flock is not kept: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(loadDone{l.calls, l.stalls})
}
