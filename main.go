// Command sessionlockfs mounts over a directory of agent sessions and arbitrates its
// lock files. See README.md.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/serve"
	"sessionlockfs/reclaim"
)

// version is set when a release is built.
var version = "devel"

func main() { os.Exit(cli.Exit(root().Execute(), os.Stderr)) }

// root is the command table.
func root() *cobra.Command {
	root := &cobra.Command{
		Use:           "sessionlockfs",
		Short:         "Arbitrate the lock files of AI agents by mounting over their sessions directory",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", cli.ErrUsage, err) })
	root.AddCommand(mountCommand(), unmountCommand(), locksCommand(), releaseCommand(), versionCommand())
	return root
}

func mountCommand() *cobra.Command {
	var c serve.Config
	var background bool
	var options []string
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
			if background {
				return inBackground(cmd, c)
			}
			return serve.Run(c)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&background, "background", "b", false, "return when the mount can be used, and go on serving")
	f.StringArrayVarP(&options, "options", "o", nil, "mount options, as for mount(8): allow_other, ro, suid, dev, noexec, ...")
	f.StringVar(&c.LogFile, "log-file", "", "where a mount in the background logs")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.DurationVar(&c.CacheTime, "cache-time", c.DefaultCacheTime(), "how long changes past the mount may go unseen in ordinary names")
	f.BoolVar(&c.ProcOnly, "identify-by-proc", false, "do without pidfs, as on an older kernel")
	_ = f.MarkHidden("identify-by-proc")
	return cmd
}

func mountArgs(c *serve.Config, options []string) (err error) {
	if c.Options, err = mount.ParseOptions(options); err != nil {
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
	again := []string{"mount"}
	for _, flag := range []string{"log-level", "cache-time", "identify-by-proc"} {
		again = append(again, fmt.Sprintf("--%s=%s", flag, cmd.Flag(flag).Value))
	}
	options, _ := cmd.Flags().GetStringArray("options")
	for _, o := range options {
		again = append(again, "-o", o)
	}
	again = append(again, "--", source)
	if point != source {
		again = append(again, point)
	}
	if err := cli.Background(again, c.LogFile); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "mounted over %s, log in %s\n", point, c.LogFile)
	return nil
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
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "locks DIR",
		Short: "Show the locks of the mount at DIR and who holds them",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.Locks(args[0], asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
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
