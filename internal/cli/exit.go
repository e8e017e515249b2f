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

	// What `doctor` answers with besides OK: something is not as it should be.
	Unwell = 9

	// What `why` answers with besides OK, which means that somebody holds the lock.
	Free    = 10 // an exclusive create wins at once
	Unknown = 11 // nobody can tell whether somebody holds it
)

// ErrUsage is the cause of every error in how a command was called.
var ErrUsage = errors.New("usage")

// ErrTold is an error that a person has heard of.
var ErrTold = errors.New("told already")

// Answered is the exit code of a command that has said all it has to say.
type Answered int

func (a Answered) Error() string { return fmt.Sprintf("answered with code %d", int(a)) }

// Exit says what went wrong in one line, and gives the exit code.
func Exit(err error, stderr io.Writer) int {
	if err == nil {
		return OK
	}
	if errors.Is(err, ErrTold) {
		return Failure
	}
	var answered Answered
	if errors.As(err, &answered) {
		return int(answered)
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
