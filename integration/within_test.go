package integration

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// ending is how a program ended that might have hung.
type ending struct {
	out   string
	err   error // nil, or what exec.Cmd.Wait says
	hung  bool  // it did not end by itself
	stuck bool  // it did not end when it was killed: it waits for something in the kernel
}

// within runs a program and its children for so long at most, and returns what it said. It fails the test if they had to
// be killed.
func within(t testing.TB, deadline time.Duration, cmd *exec.Cmd) (string, error) {
	t.Helper()
	end := bounded(deadline, cmd)
	if end.hung {
		t.Fatalf("%v has not ended after %v\n%s", cmd.Args, deadline, end.out)
	}
	return end.out, end.err
}

// bounded is within for who goes on after a hang. Who is stuck is left to itself.
func bounded(deadline time.Duration, cmd *exec.Cmd) (end ending) {
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second // for the output of children that outlive it
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return ending{err: err}
	}
	defer func() { end.out = log.String() }()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case end.err = <-ended:
		return end
	case <-time.After(deadline):
		end.hung = true
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	select {
	case end.err = <-ended:
	case <-time.After(10 * time.Second):
		end.stuck = true
	}
	return end
}
