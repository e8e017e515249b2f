package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Every call has, by everybody, the same result on the mount as on a bare directory, and leaves the same tree.
func TestEveryCallByEverybody(t *testing.T) {
	c := comparison{acts: everyAct(func(person) bool { return true })}
	c.run(t, withFlags("-o", "allow_other,suid,dev"))
}

// The same by an ordinary user on a mount of its own, where the kernel checks nothing.
func TestEveryCallByTheUserWhoMounts(t *testing.T) {
	needRoot(t) // to become one
	need(t, "fusermount3")
	if !openToEverybody(t, "/dev/fuse") {
		withOwnFuseConfiguration(t)
		return
	}
	c := comparison{acts: everyAct(func(p person) bool { return p.uid == ownerUID })}
	c.run(t, asUser(&syscall.Credential{Uid: ownerUID, Gid: ownerGID}))
}

// comparison makes the same calls on a mount and on a bare directory.
type comparison struct {
	acts   []act
	m      *mount
	bare   string
	failed map[string]bool // of the acts' directories
}

func (c *comparison) run(t *testing.T, options ...mountOption) {
	c.failed = map[string]bool{}
	c.m = newMount(t, append(options, withContent(func(dir string) {
		c.bare = filepath.Join(filepath.Dir(dir), "bare")
		layOut(t, dir, c.acts)
		layOut(t, c.bare, c.acts)
	}))...)
	below := c.m.pathBelow("")
	t.Cleanup(func() { unprotect(below); unprotect(c.bare) })
	underneath, beside := lookThrough(t, below), lookThrough(t, c.bare)
	c.results(t)
	c.trees(t, lookThrough(t, below).since(underneath).byAct(), lookThrough(t, c.bare).since(beside).byAct())
	t.Logf("%d calls", len(c.acts))
}

func (c *comparison) results(t *testing.T) {
	helpers := map[string]*helper{}
	for _, a := range c.acts {
		by := helpers[a.caller]
		if by == nil {
			by = startCaller(t, a.caller)
			helpers[a.caller] = by
		}
		got, want := by.ask(t, a.in(c.m.dir)), by.ask(t, a.in(c.bare))
		if got != want && !c.known(a) {
			t.Errorf("%s: %s, want %s", a, got, want)
			c.failed[a.dir] = true
		}
	}
}

func (c *comparison) trees(t *testing.T, got, want map[string]tree) {
	for _, a := range c.acts {
		if difference := got[a.dir].differ(want[a.dir]); difference != "" && !c.failed[a.dir] && !c.known(a) {
			t.Errorf("%s left\n%s", a, difference)
		}
	}
}

// act is one call, or several in a row, by somebody in a directory of its own.
type act struct {
	dir, setUp, call, caller string
}

func (a act) String() string        { return fmt.Sprintf("%s with [%s]: %s", a.caller, a.setUp, a.call) }
func (a act) in(root string) string { return filepath.Join(root, a.dir) + "\t" + a.call }

func everyAct(by func(person) bool) (acts []act) {
	for i, row := range everyCall {
		for j, call := range strings.Split(row.calls, "|") {
			for _, caller := range everybody {
				if !by(caller) || !caller.takesPart(row.setUp, row.few) {
					continue
				}
				dir := fmt.Sprintf("%d-%d-%s", i, j, caller.name)
				acts = append(acts, act{dir, row.setUp, strings.TrimSpace(call), caller.name})
			}
		}
	}
	return acts
}
