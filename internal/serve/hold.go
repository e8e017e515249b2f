package serve

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/control"
	"sessionlockfs/reclaim"
)

// Command makes the command line that serves a source at a mount point, both absolute.
type Command func(source, point string) []string

// Hold mounts, says when it is ready, and holds the mount until nobody has it any more.
func Hold(c Config, command Command) error {
	log, flush, err := logger(c.LogLevel)
	if err != nil {
		return fmt.Errorf("%w: %w", cli.ErrUsage, err)
	}
	defer flush()
	h := &holder{config: c, log: log, report: cli.NewReporter(), signals: make(chan os.Signal, 1)}
	// Before there is a mount that a signal could leave without us. Whoever reads the log
	// may go; the mount must not.
	signal.Notify(h.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR2)
	signal.Ignore(syscall.SIGPIPE)
	err = h.start(command)
	h.report.End(err)
	if err != nil {
		return err
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	h.untilUnmounted()
	return nil
}

// holder is the process that holds a mount.
type holder struct {
	config    Config
	log       zerolog.Logger
	report    *cli.Reporter
	signals   chan os.Signal
	processes *reclaim.Processes
	source    *os.File // holds the arbiter's flock
	mount     *mount.Holder
}

func (h *holder) start(command Command) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("this program can't be found: %w", err)
	}
	dead := h.before()
	if h.source, err = mount.OpenSource(h.config.Source); err != nil {
		return err
	}
	control.Clear(dead)
	if err := h.config.Options.Inherit(h.source); err != nil {
		return err
	}
	point, err := h.mountpoint()
	if err != nil {
		return err
	}
	raiseFileLimit()
	if err := os.Chdir("/"); err != nil {
		return err // or the mount would be in our own way when it is unmounted
	}
	h.processes = reclaim.New(reclaim.Options{Features: reclaim.Probe()})
	h.warnOfBystanders()
	h.warnOfNamespace()
	h.mount, err = mount.Hold(mount.HolderConfig{
		Point: point, Source: h.source, Options: h.config.Options, Log: h.log, HangLimit: h.config.HangLimit,
		Program: strings.TrimSuffix(program, " (deleted)"), Command: command(h.source.Name(), point),
	})
	return err
}

// before is the device number of a mount of ours that is there already, 0 if there is none. If it can be mounted all the same, that was dead.
func (h *holder) before() (device uint64) {
	point, err := filepath.Abs(h.config.Mountpoint)
	if top, is := mount.Top(point); err == nil && is && top.Ours() {
		device = top.Device
	}
	return device
}

// mountpoint is where to mount: the absolute path without links.
func (h *holder) mountpoint() (string, error) {
	if h.config.Mountpoint == h.config.Source {
		return h.source.Name(), nil
	}
	point, err := mount.ResolvePoint(h.config.Mountpoint)
	if err == nil && strings.HasPrefix(point, strings.TrimSuffix(h.source.Name(), "/")+"/") {
		err = &mount.Refusal{Cause: mount.BadDirectory, What: point + " is inside " + h.source.Name(),
			Advice: "mount elsewhere, or over the directory itself"}
	}
	return point, err
}

func (h *holder) warnOfBystanders() {
	var st unix.Stat_t
	if unix.Fstat(int(h.source.Fd()), &st) != nil {
		return
	}
	reaching := func() []string { return h.processes.Reaching(uint64(st.Dev), h.source.Name()) }
	if who := cli.Ask(reaching); len(who) > 0 {
		h.warn(fmt.Sprintf("%s reach %s past the mount: restart them, or their locks are not arbitrated",
			cli.Some(who), h.source.Name()))
	}
}

func (h *holder) warnOfNamespace() {
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil && ns != fmt.Sprintf("pid:[%d]", reclaim.InitialPIDNamespace) {
		h.warn("not in the initial PID namespace: locks of processes outside it are protected, but never known to be orphans")
	}
}

// warn tells whoever starts the mount, on the log and on the terminal.
func (h *holder) warn(message string) {
	h.log.Warn().Msg(message)
	h.report.Warn(message)
}

// untilUnmounted holds the mount. A signal unmounts; if that can't be done it says who is in the
// way and goes on: an uncovered directory would fork the state.
func (h *holder) untilUnmounted() {
	done := make(chan struct{})
	go func() {
		h.mount.Run()
		close(done)
	}()
	for {
		select {
		case <-done:
			return
		case sig := <-h.signals:
			switch sig {
			case syscall.SIGHUP:
				go h.mount.Reload()
			case syscall.SIGUSR2:
				go h.mount.Upgrade()
			default:
				h.unmount(sig, done)
			}
		}
	}
}

// lettingGo is how long the kernel may take to end a connection that nobody has any more.
const lettingGo = 2 * time.Second

func (h *holder) unmount(sig os.Signal, done <-chan struct{}) {
	if err := mount.Unmount(h.mount.Point); err != nil {
		h.log.Error().Str("signal", sig.String()).Msg(cli.WithUsers(err, h.processes, h.mount.Device()).Error() + "; still serving")
		return
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	select {
	case <-done:
	case <-time.After(lettingGo):
		holders := cli.Ask(func() []string { return h.processes.MountHolders(h.mount.Device()) })
		h.log.Warn().Strs("holders", holders).
			Msg("unmounted here, and still served for containers that have the mount itself; it ends when they do")
	}
}
