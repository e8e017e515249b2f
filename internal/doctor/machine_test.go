package doctor

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/reclaim"
)

// expect checks a finding's level and a part of what it says.
func expect(t *testing.T, f Finding, level Level, found string) {
	t.Helper()
	if f.Level != level || !strings.Contains(f.Found, found) {
		t.Errorf("%s: %q, want %s: %q", f.Level, f.Found, level, found)
	}
	if (f.Fix == "") != (f.Level == OK) || f.Check == "" || strings.Contains(f.Found+f.Fix, "\n") {
		t.Errorf("not in the form of a finding: %+v", f)
	}
}

func TestKernel(t *testing.T) {
	for release, want := range map[string]Level{
		"6.18.44-fc": OK, "6.9.0": OK, "7.0": OK, "6.8.12-generic": Warn, "5.4.0": Warn, "5.3.18": Fail, "4.19.0": Fail, "plan9": Warn,
	} {
		expect(t, checkKernel(release), want, "")
	}
}

func TestWhatTheKernelCan(t *testing.T) {
	expect(t, checkResend(parseVersion("6.9.1")), OK, "")
	expect(t, checkResend(parseVersion("6.8.1")), Warn, "ECONNABORTED")
	const with, without = "CONFIG_FUSE_FS=m\nCONFIG_FUSE_PASSTHROUGH=y\n", "CONFIG_FUSE_FS=m\n# CONFIG_FUSE_PASSTHROUGH is not set\n"
	for _, c := range []struct {
		release, config string
		root            bool
		level           Level
		found           string
	}{
		{"6.9.0", "", true, OK, "by itself"},
		{"6.9.0", with, true, OK, "by itself"},
		{"6.9.0", with, false, OK, "root's"},
		{"6.9.0", without, true, Warn, "without"},
		{"6.8.0", "", true, Warn, "6.8"},
	} {
		expect(t, checkPassthrough(parseVersion(c.release), c.config, c.root), c.level, c.found)
	}
}

func TestProcesses(t *testing.T) {
	all := reclaim.Features{PidfdOpen: true, PidfdThread: true, PidfdInfo: true, Pidfs: true}
	expect(t, checkProcesses(all), OK, "pidfs")
	expect(t, checkProcesses(reclaim.Features{}), Warn, "no pidfds")
	expect(t, checkProcesses(reclaim.Features{PidfdOpen: true}), Warn, "no pidfs")
	expect(t, checkProcesses(reclaim.Features{PidfdOpen: true, Pidfs: true}), Warn, "PIDFD_THREAD")
}

func TestDevice(t *testing.T) {
	none := &mount.Refusal{Cause: mount.NoFUSE, What: "there is no /dev/fuse", Advice: "modprobe fuse"}
	broken := &mount.Refusal{Cause: mount.NoFUSE, What: "/dev/fuse can't be opened", Advice: "start it otherwise", Err: unix.EPERM}
	expect(t, checkDevice(none, 0, true), Fail, "there is no")
	expect(t, checkDevice(broken, 0o666, true), Fail, "not permitted")
	expect(t, checkDevice(nil, fs.ModeDevice|0o600, true), OK, "root alone")
	expect(t, checkDevice(nil, fs.ModeDevice|0o666, true), OK, "0666")
	expect(t, checkDevice(nil, fs.ModeDevice|0o660, false), OK, "0660")
	expect(t, checkDevice(errors.New("odd"), 0, true), Fail, "odd")
}

func TestFusermount(t *testing.T) {
	const quiet, allowed = "# user_allow_other\nmount_max = 10\n", "mount_max = 10\nuser_allow_other\n"
	setuid := fs.ModeSetuid | 0o755
	expect(t, checkFusermount(0, "", true), OK, "root needs none")
	expect(t, checkFusermount(0, "", false), Fail, "missing")
	expect(t, checkFusermount(0o755, "", false), Fail, "set-uid")
	expect(t, checkFusermount(0o755, "", true), OK, "")
	expect(t, checkFusermount(setuid, quiet, false), OK, "that user alone")
	expect(t, checkFusermount(setuid, allowed, false), OK, "everybody")
	expect(t, checkFusermount(setuid, "user_allow_other", true), OK, "everybody")
}

func TestEvidence(t *testing.T) {
	expect(t, checkEvidence(true, ""), OK, "no Yama")
	expect(t, checkEvidence(true, "1"), OK, "is 1")
	expect(t, checkEvidence(false, "1"), Warn, "is 1")
	expect(t, checkEvidence(false, "3"), Warn, "is 3")
	expect(t, checkEvidence(false, ""), Warn, "can't be read")
}

func TestDescriptors(t *testing.T) {
	few, many := unix.Rlimit{Cur: 1024, Max: 4096}, unix.Rlimit{Cur: 1024, Max: 524288}
	expect(t, checkDescriptors(few, 1048576, true), OK, "1048576")
	expect(t, checkDescriptors(few, 1048576, false), Warn, "4096")
	expect(t, checkDescriptors(few, 1024, true), Warn, "4096")
	expect(t, checkDescriptors(many, 1048576, false), OK, "524288")
}

func TestNamespace(t *testing.T) {
	expect(t, checkNamespace("pid:[4026531836]", false), OK, "initial")
	expect(t, checkNamespace("pid:[4026532999]", false), Warn, "not the initial")
	expect(t, checkNamespace("", false), Warn, "not the initial")
	expect(t, checkNamespace("pid:[4026531836]", true), Fail, "/proc")
}
