package mount

import "fmt"

// Cause says why something about a mount could not be done. Each is an exit code of the
// commands, documented in the README.
type Cause int

// The causes, with their exit codes.
const (
	BadDirectory Cause = 3 // there is no directory, or it can't be used
	Taken        Cause = 4 // another arbiter, or a mount of ours, has the tree
	NoFUSE       Cause = 5 // no device, no helper, no permission, or the kernel is too old
	InUse        Cause = 6 // somebody uses the mount
	NotMounted   Cause = 7 // there is no mount of ours
	Dead         Cause = 8 // the mount's process is gone ("Transport endpoint is not connected")
)

// Refusal is an error for a person: what happened, to what, and what to do.
type Refusal struct {
	Cause  Cause
	What   string // one line: what is wrong with what
	Advice string // one line: what to do
	Err    error  // what the system said; may be nil
}

func (r *Refusal) Error() string {
	text := r.What
	if r.Err != nil {
		text += fmt.Sprintf(" (%v)", r.Err)
	}
	if r.Advice != "" {
		text += ": " + r.Advice
	}
	return text
}

func (r *Refusal) Unwrap() error { return r.Err }
