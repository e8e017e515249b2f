// Package serve joins the parts into a mount that is served: lockmgr decides, fsnode
// asks it, reclaim tells who lives.
package serve

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/config"
	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// Config is what a mount is started with.
type Config struct {
	Source, Mountpoint string // the same for a mount over itself
	Options            mount.Options
	LogFile            string
	LogLevel           string
	Settings           config.Flags  // what the command line says, for when the configuration is read again
	Config             config.Config // what they come to
	CacheTime          time.Duration
	ProcOnly           bool // identify callers by /proc even where the kernel has better
}

// DefaultCacheTime is how long the kernel believes us about names that are no locks.
func (Config) DefaultCacheTime() time.Duration { return time.Second }

// Run mounts, says when it is ready, and serves until nobody has the mount any more.
func Run(c Config) error {
	log, flush, err := logger(c.LogLevel)
	if err != nil {
		return fmt.Errorf("%w: %w", cli.ErrUsage, err)
	}
	defer flush()
	s := &server{config: c, log: log, report: cli.NewReporter(), signals: make(chan os.Signal, 1)}
	// Before there is a mount that a signal could leave without us. Whoever reads the log
	// may go; the mount must not.
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	err = s.start()
	s.report.End(err)
	if err != nil {
		return err
	}
	return s.untilUnmounted()
}

// server is one mount and the parts that serve it.
type server struct {
	config    Config
	log       zerolog.Logger
	report    *cli.Reporter
	signals   chan os.Signal
	processes *reclaim.Processes
	watcher   *reclaim.Watcher
	source    *os.File // holds the arbiter's flock
	fs        *fsnode.FS
	mount     *mount.Mount
}

func (s *server) start() error {
	source, err := mount.OpenSource(s.config.Source)
	if err != nil {
		return err
	}
	s.source = source
	if err := s.config.Options.Inherit(source); err != nil {
		return err
	}
	point, err := s.mountpoint()
	if err != nil {
		return err
	}
	if err := s.lookAtProcesses(); err != nil {
		return err
	}
	raiseFileLimit()
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(fewestProcs, procsPerCPU*runtime.NumCPU()))
	}
	syscall.Umask(0) // each create has its caller's
	if err := os.Chdir("/"); err != nil {
		return err // or the mount would be in our own way when it is unmounted
	}
	fs, err := fsnode.New(fsnode.Config{
		Root: source, Mountpoint: point, Callers: s.processes, Log: s.log,
		CacheTime: s.config.CacheTime, BootID: bootID(), ForAll: os.Geteuid() == 0,
	})
	if err != nil {
		return err
	}
	s.fs = fs
	judge := newJudge(fs, s.processes)
	law := s.law(fs, judge)
	if !law.Self.Known() {
		return errors.New("the kernel can't name this very process: neither pidfd_open nor /proc does")
	}
	fs.Locks = lockmgr.New(law)
	judge.locks = fs.Locks
	go judge.run()
	s.warnOfBystanders()
	if s.mount, err = mount.Start(fs, s.config.Options); err != nil {
		return err
	}
	go fs.Survey()
	s.log.Info().Str("dir", point).Int("pid", os.Getpid()).Msg("ready")
	return nil
}

// A goroutine that waits in a read of /dev/fuse, or for a death, keeps its P until the
// runtime's monitor takes it back, which may be after 10 ms: with as many Ps as processors,
// a request may wait for one that nobody uses. Measured on 2 processors, a dead owner's lock
// is taken within (99 of 100) 71 ms with 1 P, 6.2 ms with 2, 3.5 ms with 4, 2.5 ms with 8.
const (
	fewestProcs = 8
	procsPerCPU = 2
)

// law is what the law needs of the world.
func (s *server) law(fs *fsnode.FS, j *judge) lockmgr.Config {
	if !s.processes.CanReadIntent() {
		s.warn("what a caller is about can't be read here (ptrace is restricted): orphans go at once and don't stay as evidence")
	}
	return lockmgr.Config{
		Policy: s.policy(s.config.Config), Tree: fs, Reaper: fs, Judge: j,
		Deaths:     &deaths{s.processes, s.watcher, fs},
		Self:       s.processes.Identify(uint32(os.Getpid())),
		Now:        time.Now,
		FirstToken: lockmgr.Token(time.Now().UnixMicro()), // above those of every earlier mount
		Events:     (&journal{s.log, fs}).record,
	}
}

// policy is what a configuration comes to here.
func (s *server) policy(c config.Config) lockmgr.Policy {
	policy := c.Policy
	if !s.processes.CanReadIntent() {
		policy = policy.WithoutEvidence()
	}
	if s.config.Options.ReadOnly() { // nothing is made or removed: nothing to arbitrate
		policy.Locks = nil
	}
	return policy
}

// mountpoint is where to mount: the absolute path without links.
func (s *server) mountpoint() (string, error) {
	if s.config.Mountpoint == s.config.Source {
		return s.source.Name(), nil
	}
	point, err := mount.ResolvePoint(s.config.Mountpoint)
	if err == nil && strings.HasPrefix(point, strings.TrimSuffix(s.source.Name(), "/")+"/") {
		err = &mount.Refusal{Cause: mount.BadDirectory, What: point + " is inside " + s.source.Name(),
			Advice: "mount elsewhere, or over the directory itself"}
	}
	return point, err
}

func (s *server) lookAtProcesses() (err error) {
	features := reclaim.Probe()
	if s.config.ProcOnly {
		features = reclaim.Features{PidfdOpen: features.PidfdOpen}
	}
	procfs, err := ownProcfs()
	if err != nil {
		return err
	}
	s.processes = reclaim.New(reclaim.Options{Features: features, Procfs: procfs, Helpers: s.config.Config.Helpers})
	s.watcher, err = reclaim.NewWatcher(features)
	if err != nil {
		return fmt.Errorf("deaths can't be watched: %w", err)
	}
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil && ns != fmt.Sprintf("pid:[%d]", reclaim.InitialPIDNamespace) {
		s.warn("not in the initial PID namespace: locks of processes outside it are protected, but never known to be orphans")
	}
	return nil
}

// ownProcfs is a proc file system of our own PID namespace: /proc, or where /proc is of
// another namespace, one that is mounted nowhere.
func ownProcfs() (string, error) {
	self, err := os.Readlink("/proc/self")
	if err == nil && self == fmt.Sprint(os.Getpid()) {
		return "/proc", nil
	}
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return "", refuseProc(err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return "", refuseProc(err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return "", refuseProc(err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", dir), nil
}

func refuseProc(err error) error {
	return &mount.Refusal{Cause: mount.NoFUSE, What: "/proc belongs to another PID namespace", Err: err,
		Advice: "mount one of this namespace over it (unshare --mount-proc)"}
}

func (s *server) warnOfBystanders() {
	var st unix.Stat_t
	if unix.Fstat(int(s.source.Fd()), &st) != nil {
		return
	}
	reaching := func() []string { return s.processes.Reaching(uint64(st.Dev), s.source.Name()) }
	if who := cli.Ask(reaching); len(who) > 0 {
		s.warn(fmt.Sprintf("%s reach %s past the mount: restart them, or their locks are not arbitrated",
			cli.Some(who), s.source.Name()))
	}
}

// warn tells whoever starts the mount, on the log and on the terminal.
func (s *server) warn(message string) {
	s.log.Warn().Msg(message)
	s.report.Warn(message)
}

// untilUnmounted serves. A signal unmounts; if that can't be done it says who is in the
// way and goes on: an uncovered directory would fork the state.
func (s *server) untilUnmounted() error {
	for {
		select {
		case <-s.mount.Done():
			s.fs.Close()
			s.log.Info().Str("dir", s.mount.Point).Msg("unmounted")
			return nil
		case sig := <-s.signals:
			if sig == syscall.SIGHUP {
				s.reload()
			} else {
				s.unmount(sig)
			}
		}
	}
}

// lettingGo is how long the kernel may take to end a connection that nobody has any more.
const lettingGo = 2 * time.Second

func (s *server) unmount(sig os.Signal) {
	if err := s.mount.Unmount(); err != nil {
		s.log.Error().Str("signal", sig.String()).Msg(cli.WithUsers(err, s.processes, s.mount.Device()).Error() + "; still serving")
		return
	}
	select {
	case <-s.mount.Done():
	case <-time.After(lettingGo):
		holders := cli.Ask(func() []string { return s.processes.MountHolders(s.mount.Device()) })
		s.log.Warn().Strs("holders", holders).
			Msg("unmounted here, and still served for containers that have the mount itself; it ends when they do")
	}
}

func raiseFileLimit() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	limit.Cur = limit.Max
	if most := fileLimit(); os.Geteuid() == 0 && most > limit.Max {
		limit.Cur, limit.Max = most, most
	}
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// fileLimit is the most descriptors the kernel lets one process have.
func fileLimit() (n uint64) {
	text, _ := os.ReadFile("/proc/sys/fs/nr_open")
	_, _ = fmt.Sscan(string(text), &n)
	return n
}

func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}
