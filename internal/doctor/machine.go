package doctor

import (
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/reclaim"
)

// machine is what is known of the machine, and of us on it.
type machine struct {
	root         bool
	release      string // of the kernel
	config       string // its configuration; "" if that can't be read
	features     reclaim.Features
	device       fs.FileMode // of /dev/fuse
	deviceErr    error       // why it can't be opened
	fusermount   fs.FileMode // 0 if there is none
	fuseConf     string
	readsCalls   bool   // what a caller is about can be read
	ptraceScope  string // Yama's; "" if there is none
	descriptors  unix.Rlimit
	nrOpen       uint64 // the most descriptors that root may have
	pidNamespace string // as /proc/self/ns/pid tells it
	foreignProc  bool   // /proc belongs to another PID namespace
}

func lookAtMachine() machine {
	m := machine{
		root: os.Geteuid() == 0, release: kernelRelease(), features: reclaim.Probe(), deviceErr: mount.CheckDevice(),
		device: modeOf("/dev/fuse"), fuseConf: text("/etc/fuse.conf"),
		ptraceScope: strings.TrimSpace(text("/proc/sys/kernel/yama/ptrace_scope")),
	}
	m.config = kernelConfig(m.release)
	if path, err := exec.LookPath("fusermount3"); err == nil {
		m.fusermount = modeOf(path)
	}
	m.readsCalls = reclaim.New(reclaim.Options{}).CanReadIntent()
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &m.descriptors)
	_, _ = fmt.Sscan(text("/proc/sys/fs/nr_open"), &m.nrOpen)
	m.pidNamespace, _ = os.Readlink("/proc/self/ns/pid")
	self, err := os.Readlink("/proc/self")
	m.foreignProc = err != nil || self != fmt.Sprint(os.Getpid())
	return m
}

// text is that of a small file; "" if it can't be read.
func text(path string) string {
	content, _ := os.ReadFile(path)
	return string(content)
}

func modeOf(path string) fs.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Mode()
}

func kernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// kernelConfig is what the kernel was built with, from itself or from where distributions put it.
func kernelConfig(release string) string {
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if unzipped, err := gzip.NewReader(f); err == nil {
			content, _ := io.ReadAll(unzipped)
			return string(content)
		}
	}
	return text("/boot/config-" + release)
}

// check is the list of checks of the machine.
func (m machine) check() []Finding {
	v := parseVersion(m.release)
	return []Finding{
		checkKernel(m.release),
		checkProcesses(m.features),
		checkDevice(m.deviceErr, m.device, m.root),
		checkPassthrough(v, m.config, m.root),
		checkResend(v),
		checkFusermount(m.fusermount, m.fuseConf, m.root),
		checkEvidence(m.readsCalls, m.ptraceScope),
		checkDescriptors(m.descriptors, m.nrOpen, m.root),
		checkNamespace(m.pidNamespace, m.foreignProc),
	}
}
