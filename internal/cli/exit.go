// Package cli holds what the commands do, apart from serving a mount.
package cli

import (
	"errors"
	"fmt"
	"io"

	"sessionlockfs/fsnode/mount"
)

// Exit codes besides those of mount.Cause; all are in the README.
const (
	OK      = 0
	Failure = 1
	Usage   = 2
	Unwell  = 9
)

// ErrUsage is the cause of every error in how a command was called.
var ErrUsage = errors.New("usage")

// ErrTold is an error that a person has heard of.
var ErrTold = errors.New("told already")

// ErrUnwell says that something is not as it should be, and that a person has been told what.
var ErrUnwell = errors.New("not everything is as it should be")

// Exit says what went wrong in one line, and gives the exit code.
func Exit(err error, stderr io.Writer) int {
	if err == nil {
		return OK
	}
	if errors.Is(err, ErrTold) {
		return Failure
	}
	if errors.Is(err, ErrUnwell) {
		return Unwell
	}
	fmt.Fprintln(stderr, "sessionlockfs:", err)
	var refusal *mount.Refusal
	switch {
	case errors.As(err, &refusal):
		return int(refusal.Cause)
	case errors.Is(err, ErrUsage):
		return Usage
	}
	return Failure
}
