package integration

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// What a random history found: a name of git's that is remembered only for who had to give it up is git's all the same.
func TestGivenUpGitLockIsNotJudged(t *testing.T) {
	m := newMount(t, withContent(gitDirectory))
	const name = "g/index.lock"
	for _, force := range []string{"--force ", ""} {
		startHelper(t, nil, "hold", m.path(name)).line(t)
		mustRelease(t, m, name)
		waitFor(t, "it goes", waitDeadline, func() bool { return !m.exists(name) })
		writeFile(t, m.path(name), "not created exclusively\n")
		if _, err := createExclusively(m.path(name)); !os.IsExist(err) {
			t.Errorf("a create: %v", err)
		}
		if known := m.lock(t, name); known.State != "" {
			t.Errorf("%+v is known of it", known)
		}
		os.WriteFile(m.path(".sessionlockfs/control"), []byte("release "+force+name), 0)
		if reason := m.lock(t, name).Reason; force == "" && reason != "it is git's own, and git judges none" {
			t.Errorf("asked to release it: %q", reason)
		}
		if err := os.Remove(m.path(name)); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}

// What a random history found: a directory that becomes a lock by an exchange is its owner's inside, as any other.
func TestExchangedLockDirectoryIsProtectedInside(t *testing.T) {
	m := newMount(t)
	owner := startActor(t, 1, nil, nil)
	for _, e := range []errand{
		{Act: "create", Lock: m.path("x.lock")},
		{Act: "exchange", Lock: m.path("x.lock"), Text: m.path("directory")},
	} {
		if err := os.MkdirAll(m.path("directory"), 0o777); err != nil {
			t.Fatal(err)
		}
		if got := owner.do(t, e); got.Errno != 0 {
			t.Fatalf("%s: %v", e.Act, got.Errno)
		}
	}
	if known := m.lock(t, "x.lock"); known.Kind != "dir" || known.State != "held" {
		t.Errorf("known as %+v", known)
	}
	if _, err := createExclusively(m.path("x.lock/intruder")); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("somebody else puts something into it: %v", err)
	}
}
