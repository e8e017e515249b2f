// Command sessionlockfs mounts over a directory of agent sessions and arbitrates its
// lock files. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/config"
	"sessionlockfs/internal/control"
	"sessionlockfs/internal/doctor"
	"sessionlockfs/internal/serve"
	"sessionlockfs/reclaim"
)

// version is set when a release is built.
var version = "devel"

func main() {
	root := root()
	root.SetArgs(arguments(os.Args))
	os.Exit(cli.Exit(root.ExecuteContext(context.Background()), os.Stderr))
}

// arguments are those of the command line, or what mount(8) means by them: for fuse.sessionlockfs it runs, by way of mount.fuse3,
// "sessionlockfs SOURCE DIR -o OPTIONS", or mount.fuse.sessionlockfs if there is one, and waits until that returns.
func arguments(argv []string) []string {
	args := argv[1:]
	helper := filepath.Base(argv[0]) == "mount."+mount.FSType
	if !helper && (len(args) < 2 || !strings.Contains(args[0], "/")) {
		return args
	}
	mounting := []string{"mount", "--background"}
	for _, arg := range args {
		if arg != "-n" && arg != "-s" && arg != "-v" { // mount(8)'s own
			mounting = append(mounting, arg)
		}
	}
	return mounting
}

// root is the command table.
func root() *cobra.Command {
	root := &cobra.Command{
		Use:           "sessionlockfs",
		Short:         "Arbitrate the lock files of AI agents by mounting over their sessions directory",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", cli.ErrUsage, err) })
	root.AddCommand(mountCommand(), unmountCommand(), locksCommand(), topCommand(), whyCommand(), eventsCommand(), timelineCommand(),
		releaseCommand(), upgradeCommand(), doctorCommand(), probeCommand(), configCommand(), manCommand(), versionCommand())
	return root
}

func mountCommand() *cobra.Command {
	var c serve.Config
	var background bool
	var options []string
	var group string
	cmd := &cobra.Command{
		Use:   "mount [SOURCE] DIR",
		Short: "Mount over DIR, or SOURCE over DIR, and serve until it is unmounted",
		Args:  args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Source, c.Mountpoint = args[0], args[len(args)-1]
			err := mountArgs(&c, options)
			if err != nil {
				return err
			}
			if c.ControlGroup, err = serve.GroupID(group); err != nil {
				return err
			}
			if c.MetricsListen != "" {
				if c.MetricsListen, err = control.Listening(c.MetricsListen); err != nil {
					return fmt.Errorf("%w: --metrics-listen: %w", cli.ErrUsage, err)
				}
			}
			if background {
				return inBackground(cmd, c)
			}
			c.Version = versionText()
			if served, err := serve.Served(c); served {
				return err
			}
			return serve.Hold(c, func(source, point string) []string { return again(cmd, source, point) })
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&background, "background", "b", false, "return when the mount can be used, and go on serving")
	f.StringArrayVarP(&options, "options", "o", nil, "mount options, as for mount(8): allow_other, ro, suid, dev, noexec, ...")
	f.StringVar(&c.LogFile, "log-file", "", "where a mount in the background logs")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	settingFlags(f, &c.Settings)
	f.StringVar(&group, "control-group", "", "a group that may ask the control socket, besides root and whoever mounts")
	f.StringVar(&c.MetricsListen, "metrics-listen", "", "tell metrics over HTTP: PORT for this machine alone, HOST:PORT for others as well")
	f.DurationVar(&c.CacheTime, "cache-time", c.DefaultCacheTime(), "how long changes past the mount may go unseen in ordinary names")
	f.BoolVar(&c.ProcOnly, "identify-by-proc", false, "do without pidfs, as on an older kernel")
	_ = f.MarkHidden("identify-by-proc")
	f.DurationVar(&c.HangLimit, "hang-limit", mount.DefaultHangLimit, "how long a server may owe an answer")
	_ = f.MarkHidden("hang-limit")
	f.BoolVar(&c.WithoutResend, "without-resend", false, "do without requests being sent again, as on an older kernel")
	_ = f.MarkHidden("without-resend")
	f.BoolVar(&c.WithoutPassthrough, "without-passthrough", false, "read and write files for the kernel, as for an older one")
	_ = f.MarkHidden("without-passthrough")
	return cmd
}

// settingFlags are the flags that say what a configuration file may say as well.
func settingFlags(f *pflag.FlagSet, s *config.Flags) {
	f.StringVar(&s.File, "config", "", "configuration file (default "+config.DefaultFile()+", if it is there)")
	f.Var(config.Setting(&s.Guard), "guard", "others' writes to a file whose lock is held: off, log or deny (default log)")
	f.Var(config.Setting(&s.View), "view", "how others see a held lock: rendered, so that it looks fresh, or raw (default rendered)")
	f.Var(config.Setting(&s.Grace), "grace", "how old a lock from before the mount must be to be judged dead (default 5s)")
	f.Var(config.Setting(&s.HoldLimit), "hold-limit", "how long a living owner keeps its lock: never an end, declared, or a duration (default never)")
	f.StringArrayVar(&s.Locks, "lock", nil, "one more pattern of locks' names")
	f.StringArrayVar(&s.Data, "data", nil, "one more name that is data, and no lock")
	f.StringArrayVar(&s.Helpers, "helper", nil, "one more program that makes and removes locks for its shell")
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	var settings config.Flags
	check := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration and show what it comes to",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				settings.File = args[0]
			}
			c, err := config.Load(settings)
			if err != nil {
				return fmt.Errorf("%w: %w", cli.ErrUsage, err)
			}
			return c.Show(cmd.OutOrStdout())
		},
	}
	settingFlags(check.Flags(), &settings)
	cmd.AddCommand(check)
	return cmd
}

func mountArgs(c *serve.Config, options []string) (err error) {
	if c.Options, err = mount.ParseOptions(options); err != nil {
		return fmt.Errorf("%w: %w", cli.ErrUsage, err)
	}
	if c.Settings.File != "" { // SIGHUP reads it again, from another working directory
		if c.Settings.File, err = filepath.Abs(c.Settings.File); err != nil {
			return err
		}
	}
	if c.Config, err = config.Load(c.Settings); err != nil {
		return fmt.Errorf("%w: %w", cli.ErrUsage, err)
	}
	return nil
}

// inBackground starts this program again without --background.
func inBackground(cmd *cobra.Command, c serve.Config) error {
	source, err := filepath.Abs(c.Source)
	if err != nil {
		return err
	}
	point, err := filepath.Abs(c.Mountpoint)
	if err != nil {
		return err
	}
	if c.LogFile == "" {
		if c.LogFile, err = cli.LogFile(point); err != nil {
			return err
		}
	}
	if err := cli.Background(again(cmd, source, point), c.LogFile); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "mounted over %s, log in %s\n", point, c.LogFile)
	return nil
}

// again is the command line that mounts as this one does, but in the foreground and from anywhere.
func again(cmd *cobra.Command, source, point string) []string {
	return append(append([]string{"mount"}, sameFlags(cmd)...), "--", source, point)
}

// sameFlags are the flags of a command but for those that say how it runs.
func sameFlags(cmd *cobra.Command) (flags []string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch values, isList := f.Value.(pflag.SliceValue); {
		case f.Name == "background" || f.Name == "log-file":
		case f.Name == "config":
			if abs, err := filepath.Abs(f.Value.String()); err == nil {
				flags = append(flags, "--config="+abs)
			}
		case isList:
			for _, value := range values.GetSlice() {
				flags = append(flags, "--"+f.Name+"="+value)
			}
		default:
			flags = append(flags, "--"+f.Name+"="+f.Value.String())
		}
	})
	return flags
}

func unmountCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unmount DIR",
		Aliases: []string{"umount"},
		Short:   "Unmount DIR, or clear a dead mount",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Unmount(args[0], reclaim.New(reclaim.Options{Features: reclaim.Probe()}), cmd.OutOrStdout())
		},
	}
}

func locksCommand() *cobra.Command {
	var q cli.LocksQuery
	cmd := &cobra.Command{
		Use:   "locks DIR",
		Short: "Show the locks of the mount at DIR and who holds them",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return cli.Locks(ctx, args[0], q, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&q.JSON, "json", false, "as JSON")
	f.BoolVarP(&q.Watch, "watch", "w", false, "go on: once a second on a terminal, else whenever something has changed")
	f.StringSliceVar(&q.States, "state", nil, "only in these states: "+strings.Join(cli.States(), ", "))
	f.Int32Var(&q.Owner, "owner", 0, "only of the process with this PID")
	f.StringVar(&q.Lock, "lock", "", "only those that match: a name, or a path in the mount, with * and ?")
	return cmd
}

func topCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "top DIR",
		Short: "Watch the locks of the mount at DIR on the whole screen, and release them",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Top(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
}

func eventsCommand() *cobra.Command {
	var q cli.EventsQuery
	cmd := &cobra.Command{
		Use:   "events DIR",
		Short: "Show what happened to the locks of the mount at DIR",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return cli.Events(ctx, args[0], q, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Since, "since", "", "from when on: how long ago (90m), or a time (2006-01-02 15:04:05); all that are kept if not given")
	f.BoolVarP(&q.Follow, "follow", "f", false, "go on with what happens from now on")
	f.BoolVar(&q.JSON, "json", false, "as lines of JSON")
	f.StringVar(&q.Lock, "lock", "", "only of locks that match: a name, or a path in the mount, with * and ?")
	return cmd
}

func whyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why LOCK",
		Short: "Say who holds a lock, how that is known, and what to do; exits with 10 if it is free, with 11 if nobody can tell",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Why(args[0], asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func timelineCommand() *cobra.Command {
	var q cli.TimelineQuery
	cmd := &cobra.Command{
		Use:   "timeline DIR",
		Short: "Draw who held which lock of the mount at DIR when",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return cli.Timeline(ctx, args[0], q, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&q.Output, "output", "o", "", "FILE.svg or FILE.html, which tells more of what is pointed at; an SVG on standard output if not given")
	f.StringVar(&q.Since, "since", "1h", "from when on: how long ago (90m), or a time (2006-01-02 15:04:05); \"\" for all that is kept")
	f.StringVar(&q.Until, "until", "", "until when, likewise; now if not given")
	f.StringVar(&q.Lock, "lock", "", "only locks that match: a name, or a path in the mount, with * and ?")
	return cmd
}

func releaseCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "release LOCK",
		Short: "Release a lock: an orphan, or with --force any",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Release(args[0], force, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "even if somebody holds it, or it could be data")
	return cmd
}

func upgradeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "upgrade DIR",
		Short: "Have a mount served by the program that is installed now; clients notice nothing",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Upgrade(args[0], cmd.OutOrStdout())
		},
	}
}

// manCommand writes the manual pages, for who makes a package.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages",
		Hidden: true,
		Args:   args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.Root().DisableAutoGenTag = true
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Section: "1", Source: "sessionlockfs " + version}, args[0])
		},
	}
}

func doctorCommand() *cobra.Command {
	var o doctor.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [DIR]",
		Short: "Look for what keeps the mount at DIR, or this machine, from doing its work, and say what to do",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Dir = args[0]
			}
			o.Version = versionText()
			report, err := doctor.Examine(o)
			if err != nil {
				return err
			}
			if err := report.Print(cmd.OutOrStdout(), asJSON); err != nil {
				return err
			}
			if !report.Well {
				return cli.Answered(cli.Unwell)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Fix, "fix", false, "put right what can be without harm: clear dead mounts, remove sockets of mounts that are gone")
	f.BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// probeCommand is for the doctor.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    doctor.ProbeCommand + " DIR",
		Hidden: true,
		Args:   args(cobra.ExactArgs(1)),
		Run:    func(cmd *cobra.Command, args []string) { fmt.Fprintln(cmd.OutOrStdout(), doctor.WriteProbe(args[0])) },
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Args:  args(cobra.NoArgs),
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "sessionlockfs", versionText())
		},
	}
}

// versionText adds the revision the binary was built from, where the build knows it.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	parts := []string{version}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			parts = append(parts, s.Value[:min(12, len(s.Value))])
		}
	}
	return strings.Join(append(parts, info.GoVersion), " ")
}

// args makes an error of the argument check one of usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return errors.Join(fmt.Errorf("%w: %s (see %s --help)", cli.ErrUsage, cmd.UseLine(), cmd.CommandPath()))
		}
		return nil
	}
}
