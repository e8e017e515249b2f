package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// roleEnv makes this program another process of a work.
const roleEnv = "SESSIONLOCKFS_BENCH_ROLE"

// roles do their part for each line on stdin, and say so with a line; they are ready with the first.
var roles = map[string]func(arguments []string) error{"hold": hold, "lock": lock, "keep": keep}

type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

func startRole(role string, arguments ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, arguments...)}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), roleEnv+"="+role), os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, p.hear()
}

func (p *process) say() error {
	_, err := fmt.Fprintln(p.stdin)
	return err
}

func (p *process) hear() error {
	_, err := p.stdout.ReadString('\n')
	return err
}

// end has it end as it would by itself.
func (p *process) end() {
	p.stdin.Close()
	_ = p.cmd.Wait()
}

// kill is what nobody can see coming.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// allAtOnce has processes do their part at the same time.
func allAtOnce(all []*process) error {
	for _, p := range all {
		if err := p.say(); err != nil {
			return err
		}
	}
	for _, p := range all {
		if err := p.hear(); err != nil {
			return err
		}
	}
	return nil
}

// forEachLine does something for each line on stdin, after it has said that it is ready.
func forEachLine(do func() error) error {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := do(); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return in.Err()
}

// hold holds a lock.
func hold(arguments []string) error {
	fd, err := makeLock(arguments[0])
	if err != nil {
		return err
	}
	err = forEachLine(func() error { return nil })
	return errors.Join(err, unix.Close(fd), unix.Unlink(arguments[0]))
}

// lock takes a lock and gives it back, as often as it is told.
func lock(arguments []string) error {
	times, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	return forEachLine(func() error {
		_, err := timed(times, func() error { return lockCycle(arguments[0]) })
		return err
	})
}

// keep makes many locks, closes them, and keeps them until it dies: arguments are a path without a number, and how many.
func keep(arguments []string) error {
	count, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	for i := range count {
		fd, err := makeLock(fmt.Sprintf("%s%d.jsonl.lock", arguments[0], i))
		if err != nil {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return forEachLine(func() error { time.Sleep(time.Millisecond); return nil })
}
