package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// work is something to measure.
type work struct {
	name   string
	unit   unit
	turns  int // in each round
	target target
	// begin gets ready in an empty directory, and gives what is done in each turn and how it ends.
	begin func(dir string) (turn func() (time.Duration, error), end func(), err error)
}

// unit is how a duration is shown.
type unit struct {
	name    string
	rate    float64       // what is done in a turn, for a unit that grows with speed; 0 for one that is time
	divisor time.Duration // for one that is time
}

var (
	micros    = unit{name: "µs", divisor: time.Microsecond}
	millis    = unit{name: "ms", divisor: time.Millisecond}
	gigabytes = unit{name: "GB/s", rate: float64(gib) / 1e9}
	perSecond = unit{name: "cycles/s", rate: lockers * lockerCycles}
)

// of is a duration in the unit.
func (u unit) of(d time.Duration) float64 {
	if u.rate > 0 {
		return u.rate / d.Seconds()
	}
	return float64(d) / float64(u.divisor)
}

const (
	kib          = 1 << 10
	mib          = 1 << 20
	gib          = 1 << 30
	batch        = 200 // of what takes less time than to look at the clock should cost
	lsFiles      = 10_000
	gitFiles     = 5_000
	lockers      = 16
	lockerCycles = 100
	sqliteRows   = 300
)

var works = []work{
	{"append", micros, 20, atMost(1.4, bareName), beginAppend},
	{"open append close", micros, 500, atMost(0.6, peerName), beginOpenAppend},
	{"lock cycle", micros, 500, atMost(1, peerName), beginLockCycle},
	{"refused create and a look", micros, 500, atMost(1, peerName), beginRefused},
	{"write 1 GiB", gigabytes, 1, atLeast(0.95, bareName), beginWriteGiB},
	{"read 1 GiB", gigabytes, 2, atLeast(0.95, bareName), beginReadGiB},
	{"stat", micros, 20, atMost(1.2, bareName), beginStat},
	{"ls -l cold", millis, 1, better, beginList(true)},
	{"ls -l warm", millis, 2, better, beginList(false)},
	{"git status", millis, 3, better, beginGit},
	{"npm ci", millis, 1, better, beginNPM},
	{"sqlite WAL", millis, 2, better, beginSQLite},
	{"16 processes", perSecond, 1, better, beginLockers},
}

func none() {}

// timed is what a function takes, done that often: one of them.
func timed(times int, do func() error) (time.Duration, error) {
	began := time.Now()
	for range times {
		if err := do(); err != nil {
			return 0, err
		}
	}
	return time.Since(began) / time.Duration(times), nil
}

func beginAppend(dir string) (func() (time.Duration, error), func(), error) {
	fd, err := unix.Open(dir+"/session.jsonl", unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 0o644)
	line := bytes.Repeat([]byte("x"), kib)
	return func() (time.Duration, error) {
		return timed(batch, func() error { _, err := unix.Write(fd, line); return err })
	}, func() { unix.Close(fd) }, err
}

func beginOpenAppend(dir string) (func() (time.Duration, error), func(), error) {
	line := bytes.Repeat([]byte("x"), kib)
	return func() (time.Duration, error) {
		return timed(1, func() error {
			fd, err := unix.Open(dir+"/session.jsonl", unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 0o644)
			if err != nil {
				return err
			}
			if _, err := unix.Write(fd, line); err != nil {
				return err
			}
			return unix.Close(fd)
		})
	}, none, nil
}

// lockCycle is what an agent does for each turn.
func lockCycle(path string) error {
	fd, err := makeLock(path)
	if err != nil {
		return err
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	return unix.Unlink(path)
}

// makeLock takes a lock, and leaves it open.
func makeLock(path string) (fd int, err error) {
	if fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644); err != nil {
		return -1, err
	}
	_, err = unix.Write(fd, payload())
	return fd, err
}

func payload() []byte {
	return fmt.Appendf(nil, `{"pid":%d,"createdAt":%q}`, os.Getpid(), time.Now().UTC().Format(time.RFC3339Nano))
}

func beginLockCycle(dir string) (func() (time.Duration, error), func(), error) {
	path := dir + "/session.jsonl.lock"
	return func() (time.Duration, error) { return timed(1, func() error { return lockCycle(path) }) }, none, nil
}

// beginRefused has another process hold the lock.
func beginRefused(dir string) (func() (time.Duration, error), func(), error) {
	path := dir + "/session.jsonl.lock"
	holder, err := startRole("hold", path)
	if err != nil {
		return nil, none, err
	}
	buf := make([]byte, 4096)
	look := func() error {
		if fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644); err != unix.EEXIST {
			unix.Close(fd)
			return fmt.Errorf("a held lock: %w", err)
		}
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		_, err = unix.Read(fd, buf)
		return err
	}
	return func() (time.Duration, error) { return timed(1, look) }, holder.end, nil
}

func beginWriteGiB(dir string) (func() (time.Duration, error), func(), error) {
	block := bytes.Repeat([]byte("0123456789abcdef"), mib/16)
	path := dir + "/big"
	return func() (time.Duration, error) {
		defer os.Remove(path)
		return timed(1, func() error { return writeBlocks(path, block) })
	}, none, nil
}

func writeBlocks(path string, block []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for range gib / len(block) {
		if _, err := unix.Write(fd, block); err != nil {
			return err
		}
	}
	return nil
}

// beginReadGiB reads what is in the page cache.
func beginReadGiB(dir string) (func() (time.Duration, error), func(), error) {
	path, block := dir+"/big", make([]byte, mib)
	if err := writeBlocks(path, block); err != nil {
		return nil, none, err
	}
	read := func() error {
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for {
			if n, err := unix.Read(fd, block); err != nil || n == 0 {
				return err
			}
		}
	}
	return func() (time.Duration, error) { return timed(1, read) }, func() { os.Remove(path) }, nil
}

func beginStat(dir string) (func() (time.Duration, error), func(), error) {
	path := dir + "/session.jsonl"
	err := os.WriteFile(path, []byte("x"), 0o644)
	var st unix.Stat_t
	return func() (time.Duration, error) {
		return timed(batch, func() error { return unix.Stat(path, &st) })
	}, none, err
}

func beginList(cold bool) func(dir string) (func() (time.Duration, error), func(), error) {
	return func(dir string) (func() (time.Duration, error), func(), error) {
		for i := range lsFiles {
			if err := os.WriteFile(fmt.Sprintf("%s/%d.jsonl", dir, i), nil, 0o644); err != nil {
				return nil, none, err
			}
		}
		turn := func() (time.Duration, error) {
			if cold {
				if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
					return 0, err
				}
			}
			return timed(1, func() error { return command(dir, "ls", "-l") })
		}
		return turn, none, nil
	}
}

func beginGit(dir string) (func() (time.Duration, error), func(), error) {
	for i := range gitFiles {
		path := fmt.Sprintf("%s/%d/%d.txt", dir, i/100, i)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, none, err
		}
		if err := os.WriteFile(path, fmt.Append(nil, i), 0o644); err != nil {
			return nil, none, err
		}
	}
	git := func(words ...string) error {
		return command(dir, append([]string{"git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"}, words...)...)
	}
	err := errors.Join(git("init", "-q"), git("add", "."), git("commit", "-q", "-m", "all"))
	return func() (time.Duration, error) { return timed(1, func() error { return git("status", "--porcelain") }) }, none, err
}

// npmCache has what npm ci installs, from the first time on.
var npmCache = filepath.Join(os.TempDir(), "bench-npm-cache")

const npmManifest = `{"name":"bench","version":"1.0.0","dependencies":{"yarn":"1.22.22","chokidar":"5.0.0","proper-lockfile":"4.1.2"}}`

func beginNPM(dir string) (func() (time.Duration, error), func(), error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return nil, none, errMissing
	}
	if err := os.WriteFile(dir+"/package.json", []byte(npmManifest), 0o644); err != nil {
		return nil, none, err
	}
	npm := func(words ...string) error {
		quiet := []string{"--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--cache", npmCache}
		return command(dir, append(append([]string{"npm"}, words...), quiet...)...)
	}
	if err := npm("install", "--prefer-offline"); err != nil {
		return nil, none, err
	}
	return func() (time.Duration, error) { return timed(1, func() error { return npm("ci", "--prefer-offline") }) }, none, nil
}

var errMissing = errors.New("it is not installed")

func beginSQLite(dir string) (func() (time.Duration, error), func(), error) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		return nil, none, errMissing
	}
	insert := func() error {
		var script bytes.Buffer
		script.WriteString("pragma journal_mode=wal; pragma synchronous=normal; create table if not exists t(x);\n")
		for i := range sqliteRows {
			fmt.Fprintf(&script, "insert into t values(%d);\n", i)
		}
		cmd := exec.Command("sqlite3", dir+"/db")
		cmd.Stdin = &script
		return cmd.Run()
	}
	return func() (time.Duration, error) { return timed(1, insert) }, none, nil
}

// beginLockers has many processes take locks of their own, all at once.
func beginLockers(dir string) (func() (time.Duration, error), func(), error) {
	var all []*process
	for i := range lockers {
		p, err := startRole("lock", fmt.Sprintf("%s/%d.jsonl.lock", dir, i), fmt.Sprint(lockerCycles))
		if err != nil {
			return nil, none, err
		}
		all = append(all, p)
	}
	turn := func() (time.Duration, error) { return timed(1, func() error { return allAtOnce(all) }) }
	return turn, func() {
		for _, p := range all {
			p.end()
		}
	}, nil
}

func command(dir string, words ...string) error {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	return cmd.Run()
}
