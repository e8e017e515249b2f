package doctor

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
)

// Options say what to look at.
type Options struct {
	Dir     string // "" for the machine, and every mount that there is on it
	Fix     bool   // put right what can be without harm
	Version string // of this program, to compare with that which serves
}

// Examine looks, puts right what it may, and looks again if it did.
func Examine(o Options) (Report, error) {
	dir, err := absolute(o.Dir)
	if err != nil {
		return Report{}, err
	}
	x := examine(dir, o.Version)
	var fixed []string
	if o.Fix && len(x.cures) > 0 {
		var failed []Finding
		fixed, failed = carryOut(x.cures)
		x = examine(dir, o.Version)
		x.add(failed...)
	}
	return newReport(dir, fixed, x.findings), nil
}

// absolute is filepath.Abs without a look at the working directory, which may be in a mount that hangs.
func absolute(dir string) (string, error) {
	if dir == "" || filepath.IsAbs(dir) {
		return filepath.Join(dir), nil
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return "", os.NewSyscallError("getcwd", err)
	}
	return filepath.Join(string(buf[:n-1]), dir), nil
}

// cure is something that can be put right without harm.
type cure struct {
	check string
	what  string // once it is done
	do    func() error
}

func carryOut(cures []cure) (fixed []string, failed []Finding) {
	for _, c := range cures {
		if err := c.do(); err != nil {
			failed = append(failed, fail(c.check, "see above", "can't be put right: %s", cli.PrintableText(err.Error())))
			continue
		}
		fixed = append(fixed, c.what)
	}
	return fixed, failed
}

// examination is one look at everything.
type examination struct {
	version  string
	table    mount.Table
	now      time.Time
	findings []Finding
	cures    []cure
}

func (x *examination) add(f ...Finding) { x.findings = append(x.findings, f...) }

func examine(dir, version string) *examination {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	x := &examination{version: version, table: mount.ParseTable(text), now: time.Now()}
	x.add(lookAtMachine().check()...)
	if dir == "" {
		x.allMounts()
		x.sockets()
	} else {
		x.directory(dir)
	}
	return x
}
