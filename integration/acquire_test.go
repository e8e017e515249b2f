package integration

import (
	"strings"
	"testing"
	"time"
)

// How long clients are told to wait, in milliseconds. Real ones wait 10 to 60 s; nothing here depends on it.
const (
	shortWait = 2500  // for those that must not get the lock
	longWait  = 12000 // for those that must
)

// pollGap is the longest pause between two tries of a waiting client, and some time for a busy machine.
const pollGap = 3 * time.Second

// firstTry is for a client whose very first try must win; a second one comes 50 ms later at the soonest, after the
// client removed what it took for a leftover by itself.
const firstTry = 2500.0

const (
	session     = "main.jsonl"
	sessionLock = "main.jsonl.lock"
)

// ask is a client's acquire with a time-out.
func ask(m *mount, timeoutMs int, more ...args) args {
	all := args{"session": m.path(session), "timeoutMs": timeoutMs}
	for _, some := range more {
		for name, value := range some {
			all[name] = value
		}
	}
	return all
}

// on makes a command run in a worker thread or child process of the driver.
func on(name string) args { return args{"at": name} }

func inSession(m *mount, name string) args { return args{"session": m.path(name)} }

// mustTimeOut requires that the client waited its time through and then gave up in its usual way.
func mustTimeOut(t testing.TB, who string, rep reply, timeoutMs int) {
	t.Helper()
	switch {
	case rep.OK:
		t.Errorf("%s got the lock after %.0f ms", who, rep.MS)
	case !strings.Contains(rep.Error, "session file locked (timeout"):
		t.Errorf("%s ended with %v, want a time-out", who, rep)
	case rep.MS < float64(timeoutMs)-20:
		t.Errorf("%s gave up after %.0f of %d ms", who, rep.MS, timeoutMs)
	}
}

func mustWin(t testing.TB, who string, rep reply) {
	t.Helper()
	if !rep.OK {
		t.Fatalf("%s did not get the lock: %v", who, rep)
	}
}

// mustWinAtOnce is for a contender that asks after the owner's death.
func mustWinAtOnce(t testing.TB, who string, rep reply) {
	t.Helper()
	mustWin(t, who, rep)
	if rep.MS > firstTry {
		t.Errorf("%s waited %.0f ms for a dead owner's lock", who, rep.MS)
	}
}

// mustWinSoon is for a contender that was waiting when the lock became free.
func mustWinSoon(r *run, who string, rep reply, free time.Time) {
	r.Helper()
	mustWin(r, who, rep)
	took := rep.since(free)
	if took < 0 {
		r.Errorf("%s got the lock %v before it was free", who, -took)
	} else if took > pollGap {
		r.Errorf("%s got the lock %v after it was free", who, took)
	}
	r.note("%d ms", took.Milliseconds())
}

func mustFail(t testing.TB, what string, rep reply, code string) {
	t.Helper()
	if rep.OK {
		t.Errorf("%s went through, want %s", what, code)
	} else if rep.Code != code {
		t.Errorf("%s: %v, want %s", what, rep, code)
	}
}
