// Package serve joins the parts into a mount that is served: lockmgr decides, fsnode
// asks it, reclaim tells who lives. One process holds a mount (hold.go), and one serves it and may be
// replaced (this file).
package serve

import (
	"errors"
	"fmt"
	"io"
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
	"sessionlockfs/internal/events"
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
	ProcOnly           bool   // identify callers by /proc even where the kernel has better
	Version            string // of this program
	HangLimit          time.Duration
	WithoutResend      bool   // as on a kernel that can't send requests again
	WithoutPassthrough bool   // as on one that can't read and write files itself
	ControlGroup       int    // who may ask the control socket besides root and whoever mounted; -1 for nobody
	MetricsListen      string // where metrics are told over the network; "" for nowhere
}

// DefaultCacheTime is how long the kernel believes us about names that are no locks.
func (Config) DefaultCacheTime() time.Duration { return time.Second }

// Served has this process serve a mount if it was started for that, until nobody has the mount any more.
func Served(c Config) (is bool, err error) {
	end, err := mount.Served(c.Source, c.Mountpoint)
	if end == nil {
		return err != nil, err
	}
	log, flush, err := logger(c.LogLevel)
	if err != nil {
		return true, fmt.Errorf("%w: %w", cli.ErrUsage, err)
	}
	defer flush()
	end.Once = c.WithoutResend
	s := &server{config: c, log: log, end: end, signals: make(chan os.Signal, 1)}
	// The holder unmounts on a signal, which may go to both of us. Whoever reads the log may go; the mount must not.
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE, syscall.SIGUSR2)
	if err := s.start(); err != nil {
		end.Failed(cli.Exit(err, io.Discard), err)
		return true, cli.ErrTold
	}
	return true, s.untilUnmounted()
}

// server is one mount and the parts that serve it.
type server struct {
	config    Config
	log       zerolog.Logger
	end       *mount.Serving
	signals   chan os.Signal
	processes *reclaim.Processes
	watcher   *reclaim.Watcher
	fs        *fsnode.FS
	events    *events.Log
	journal   *journal
	socket    socket
}

func (s *server) start() error {
	if err := prepareProcess(); err != nil {
		return err
	}
	if err := s.config.Options.Inherit(s.end.Source); err != nil {
		return err
	}
	if err := s.lookAtProcesses(); err != nil {
		return err
	}
	if err := s.end.Prepared(); err != nil {
		return err
	}
	s.openEvents()
	fs, err := fsnode.New(fsnode.Config{
		Events: s.events.Recent,
		Root:   s.end.Source, Mountpoint: s.end.Point, Callers: s.processes, Log: s.log,
		CacheTime: s.config.CacheTime, BootID: bootID(), ForAll: os.Geteuid() == 0,
		Passthrough: !s.config.WithoutPassthrough,
		Remains:     s.end.Remains, Keeper: s.end, Sweeper: s.end, Holder: s.end.Holder, Version: s.config.Version,
	})
	if err != nil {
		return err
	}
	s.fs = fs
	s.tellOfServer(fs.Metrics())
	s.denyNoMore()
	judge := newJudge(fs, s.processes)
	ledger := newLedger(fs, s.processes)
	s.journal = newJournal(s.log, fs, s.processes, s.events)
	law := s.law(fs, judge, ledger)
	if !law.Self.Known() {
		return errors.New("the kernel can't name this very process: neither pidfd_open nor /proc does")
	}
	fs.Locks = lockmgr.New(law)
	judge.locks = fs.Locks
	go judge.run()
	s.end.News = fs.SetNews
	s.end.Mounted = func(dev uint64) {
		fs.Mounted(dev)
		s.listen(dev)
	}
	_, again := s.end.Remains.Began()
	s.began(again)
	if err := s.end.Serve(fs, s.config.Options, func() error { return s.restore(ledger) }); err != nil {
		return err
	}
	go fs.Survey()
	go s.tellMetrics()
	s.log.Info().Str("dir", s.end.Point).Int("pid", os.Getpid()).Msg("ready")
	return nil
}

// prepareProcess makes of this process what a mount needs.
func prepareProcess() error {
	// It may have been started by a name that says nothing, and a mount is known by its process's name.
	_ = os.WriteFile("/proc/self/comm", []byte("sessionlockfs"), 0)
	raiseFileLimit()
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(fewestProcs, procsPerCPU*runtime.NumCPU()))
	}
	syscall.Umask(0)     // each create has its caller's
	return os.Chdir("/") // or the mount would be in our own way when it is unmounted
}

// A goroutine that waits in a read of /dev/fuse, or for a death, keeps its P until the
// runtime's monitor takes it back, which may be after 10 ms: with as many Ps as processors,
// a request may wait for one that nobody uses. Measured on 2 processors, a dead owner's lock
// is taken within (99 of 100) 71 ms with 1 P, 6.2 ms with 2, 3.5 ms with 4, 2.5 ms with 8.
const (
	fewestProcs = 8
	procsPerCPU = 2
)

// breather is how long a dead owner's other locks wait after some of them: about as long as those took, so that clients notice
// little of ten thousand of them.
const breather = 300 * time.Microsecond

// law is what the law needs of the world.
func (s *server) law(fs *fsnode.FS, j *judge, l *ledger) lockmgr.Config {
	if !s.processes.CanReadIntent() {
		s.log.Warn().Msg("what a caller is about can't be read here (ptrace is restricted): orphans go at once and don't stay as evidence")
	}
	return lockmgr.Config{
		Policy: s.policy(s.config.Config), Tree: fs, Reaper: fs, Judge: j,
		Deaths:     &deaths{s.processes, s.watcher, fs},
		Self:       s.processes.Identify(uint32(s.end.Holder)), // it removes locks for us (mount.Holder)
		Now:        time.Now,
		Ledger:     l,
		FirstToken: l.first(),
		Breathe:    func() { time.Sleep(breather) },
		Events:     s.journal.record,
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

func (s *server) lookAtProcesses() (err error) {
	features := reclaim.Probe()
	if s.config.ProcOnly {
		features = reclaim.Features{PidfdOpen: features.PidfdOpen}
	}
	procfs, err := ownProcfs()
	if err != nil {
		return err
	}
	options := reclaim.Options{
		Features: features, Procfs: procfs, Helpers: s.config.Config.Helpers, Family: []int{s.end.Holder},
	}
	s.processes = reclaim.New(options)
	s.watcher, err = reclaim.NewWatcher(options)
	if err != nil {
		return fmt.Errorf("deaths can't be watched: %w", err)
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

// untilUnmounted serves, as long as there is a mount. The holder sees to it that there is none any more; if the holder is gone, we do.
func (s *server) untilUnmounted() error {
	alone := s.end.Alone()
	for {
		select {
		case err := <-s.end.Done():
			if err != nil {
				s.events.Close()
				return err
			}
			s.socket.close()
			s.fs.Close()
			s.events.Close()
			s.socket.end()
			s.log.Info().Str("dir", s.end.Point).Msg("unmounted")
			return nil
		case <-alone:
			alone = nil
			s.log.Error().Msg("the holder of the mount is gone: the mount is served on, and ends with this process")
		case sig := <-s.signals:
			switch {
			case sig == syscall.SIGHUP:
				s.reload()
			case alone == nil:
				s.unmount(sig)
			}
		}
	}
}

func (s *server) unmount(sig os.Signal) {
	if err := mount.Unmount(s.end.Point); err != nil {
		s.log.Error().Str("signal", sig.String()).Err(err).Msg("still serving")
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
