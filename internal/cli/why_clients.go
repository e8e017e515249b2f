package cli

// Expectation is what a kind of client would do now, as far as its published releases tell.
type Expectation struct {
	Client string `json:"client"`
	Does   string `json:"does"`
}

// look is how a lock looks to who asks for it.
type look int

const (
	gone     look = iota // an exclusive create wins at once
	left                 // so it is, but a dead one's lock is there to be read until then
	fresh                // a create fails, and what can be read says that it is held, just now
	readable             // a create fails, and what can be read is the real thing; a removal is refused
	loose                // a create fails, what can be read is the real thing, and anybody may remove it
	looks
)

func (a *Answer) look() look {
	switch {
	case a.State == "orphan":
		return left
	case a.Verdict == IsFree, a.blind():
		return gone
	case a.State != "held" && a.State != "unknown_owner", a.overdue():
		return loose
	case a.File != nil && a.File.Raw:
		return readable
	}
	return fresh
}

// client is a kind of client with what it does for each look.
type client struct {
	name string
	does [looks]string
}

// What the releases of OpenClaw do with a lock that they can judge by what is in it: see the table of the README.
var openClaw = []client{
	{"OpenClaw to 2026.3.1", [looks]string{
		"takes it at once", "takes it at once", "waits 10 s, then gives up",
		"waits 10 s; fails if it thinks it stale",
		"takes it if its PID looks dead, or at 30 min",
	}},
	{"OpenClaw 2026.3.2", [looks]string{
		"takes it at once", "takes it at once", "waits 10 s, then gives up",
		"waits 10 s; fails if it thinks it stale",
		"as above, or if the start time differs",
	}},
	{"OpenClaw 2026.5+", [looks]string{
		"takes it at once", "takes it at once; its gateway resumes the turn", "waits 60 s, then gives up",
		"waits 60 s, or reports it as stale",
		"as above, or past the maxHoldMs in it",
	}},
}

var properLockfile = client{"proper-lockfile", [looks]string{
	"takes it at once", "takes it at once", "ELOCKED, after its retries if it has any",
	"ELOCKED, and EBUSY if it thinks it stale",
	"takes it when it is empty and its time 10 s old",
}}

var scripts = client{"shell scripts", [looks]string{
	"take it at once", "take it at once, unless they test -e before", "wait or give up, as they are written; rm: busy",
	"judge it by kill -0, wait or give up; rm: busy",
	"wait or give up until somebody removes it",
}}

var git = client{"git", [looks]string{
	"takes it at once", "takes it at once", "fails: File exists", "fails: File exists", "fails: File exists",
}}

// expectations are those of the clients that such a lock can be of.
func (a *Answer) expectations() (all []Expectation) {
	add := func(clients ...client) {
		for _, c := range clients {
			all = append(all, Expectation{c.name, c.does[a.look()]})
		}
	}
	switch kind := a.kind(); {
	case a.File != nil && a.File.Git:
		add(git)
	case kind == "dir":
		add(properLockfile, scripts)
	case kind == "file":
		add(openClaw...)
		add(scripts)
	case kind == "":
		add(openClaw...)
		add(properLockfile, scripts)
	default:
		add(scripts)
	}
	return all
}

// kind is what sort of entry it is, "" if there is none.
func (a *Answer) kind() string {
	switch {
	case a.File != nil && a.File.Kind != "":
		return a.File.Kind
	case a.Known != nil:
		return a.Known.Kind
	}
	return ""
}
