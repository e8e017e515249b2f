package reclaim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// ways are the kernels everything must work on: this one, and one that has pidfds only.
func ways() map[string]Features {
	return map[string]Features{
		"pidfs": Probe(),
		"pidfs without GET_INFO": {
			PidfdOpen: true, PidfdThread: true, Pidfs: true,
		},
		"proc": {PidfdOpen: true},
	}
}

const helperEnv = "RECLAIM_TEST_HELPER"

// TestMain lets the test binary be the odd processes that the tests look at.
func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "zombie-leader":
		zombieLeader()
	case "exec-from-thread":
		execFromThread()
	case "exec-holding":
		execHolding()
	case "named cat":
		namedCat()
	}
}

func init() {
	if os.Getenv(helperEnv) != "" {
		runtime.LockOSThread() // main runs on the first thread
	}
}

// zombieLeader says another thread's id and ends the first thread. It lives until its input ends.
func zombieLeader() {
	go func() {
		runtime.LockOSThread()
		fmt.Println(unix.Gettid())
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // not RawSyscall: the scheduler wants its P back
}

// execFromThread becomes cat, from a thread that is not the first.
func execFromThread() {
	go func() {
		runtime.LockOSThread()
		fmt.Println(unix.Gettid())
		_, _ = bufio.NewReader(io.LimitReader(os.Stdin, 1)).ReadByte()
		panic(syscall.Exec("/bin/cat", []string{"cat"}, nil))
	}()
	select {}
}

// namedCat gives itself another program's command name, says so and waits.
func namedCat() {
	_ = os.WriteFile("/proc/self/comm", []byte("cat"), 0)
	fmt.Println("named")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// argEnv is what a helper process is to know.
const argEnv = "RECLAIM_TEST_ARG"

// execHolding has a program run, says its PID, and becomes cat with a file open that is to be
// closed by that. Its argument is the program and the file.
func execHolding() {
	program, file, _ := strings.Cut(os.Getenv(argEnv), ":")
	worker := exec.Command(program)
	pipe, _ := worker.StdinPipe()
	if err := worker.Start(); err != nil {
		panic(err)
	}
	if _, err := os.Open(file); err != nil {
		panic(err)
	}
	fmt.Println(worker.Process.Pid)
	_, _ = bufio.NewReader(io.LimitReader(os.Stdin, 1)).ReadByte()
	panic(errors.Join(syscall.Exec("/bin/cat", []string{"cat"}, nil), pipe.Close()))
}

// child is a process of the test.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (c child) pid() int32 { return int32(c.cmd.Process.Pid) }

// line reads a line that the child says.
func (c child) line(t testing.TB) string {
	t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("child says nothing: %v", err)
	}
	return strings.TrimSpace(s)
}

func (c child) number(t testing.TB) int32 {
	t.Helper()
	n, err := strconv.Atoi(c.line(t))
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

// start runs a program until the test ends. Without input it waits, if it is cat.
func start(t testing.TB, cmd *exec.Cmd) child {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return child{cmd, in, bufio.NewReader(out)}
}

func startHelper(t testing.TB, mode string) child {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+mode)
	return start(t, cmd)
}

func startCat(t testing.TB) child { return start(t, exec.Command("/bin/cat")) }

// kill ends a child and waits until it is a zombie; it is reaped at the end of the test.
func (c child) kill(t testing.TB) {
	t.Helper()
	_ = unix.Kill(int(c.pid()), unix.SIGKILL)
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, int(c.pid()), &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

// until waits for something that the kernel does not tell of.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func identify(t testing.TB, p *Processes, tid int32) lockmgr.Identity {
	t.Helper()
	id := p.Identify(uint32(tid))
	if !id.Known() {
		t.Fatalf("thread %d has no identity", tid)
	}
	return id
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}
