package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
)

const (
	upgradedWithin = time.Minute
	upgradePause   = 20 * time.Millisecond // between two looks
)

// Upgrade has the program serve a mount that is at the path of the one that holds it now. Clients notice nothing.
func Upgrade(dir string, out io.Writer) error {
	before, err := readMount(dir)
	if err != nil {
		return err
	}
	asked := time.Now()
	if err := unix.Kill(before.HolderPID, unix.SIGUSR2); err != nil {
		return fmt.Errorf("the mount's process %d can't be told: %w", before.HolderPID, err)
	}
	for end := asked.Add(upgradedWithin); time.Now().Before(end); time.Sleep(upgradePause) {
		now, err := readMount(dir)
		if err != nil {
			return err
		}
		var news mount.News
		if now.Upgrade == nil || json.Unmarshal(now.Upgrade, &news) != nil || news.At.Before(asked) {
			continue
		}
		if news.Failed != "" {
			return fmt.Errorf("%s is served on by the program before: %s", dir, news.Failed)
		}
		fmt.Fprintf(out, "%s is served by %s, process %d\n", dir, now.Release, now.PID)
		return nil
	}
	return fmt.Errorf("no word of a new server within %s: see the log of the mount", upgradedWithin)
}

// readMount reads what a mount says of itself.
func readMount(dir string) (m fsnode.MountDump, err error) {
	dump, err := ReadDump(dir)
	if err != nil {
		return m, err
	}
	if dump.Mount.HolderPID <= 0 {
		return m, errors.New("this mount can't be upgraded: nobody holds it but its server")
	}
	return dump.Mount, nil
}
