package integration

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// within runs a program that may hang, and returns what it said. It fails the test if the program has not ended at the
// deadline; the program and its children are killed then. A process that not even SIGKILL ends is left to itself.
func within(t testing.TB, deadline time.Duration, cmd *exec.Cmd) (string, error) {
	t.Helper()
	out, err, hung := bounded(deadline, cmd)
	if hung {
		t.Fatalf("%v has not ended after %v\n%s", cmd.Args, deadline, out)
	}
	return out, err
}

// bounded is within for who goes on after a hang.
func bounded(deadline time.Duration, cmd *exec.Cmd) (out string, err error, hung bool) {
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second // for the output of children that outlive it
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return "", err, false
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return log.String(), err, false
	case <-time.After(deadline):
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
	}
	return log.String(), fmt.Errorf("killed after %v", deadline), true
}
