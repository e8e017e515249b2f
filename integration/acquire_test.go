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

// mustWinAtOnce is for a contender that asks when the lock is free, or its owner dead: its first try wins.
func mustWinAtOnce(t testing.TB, who string, rep reply) {
	t.Helper()
	mustWinAtTry(t, who, rep, 1)
}

// mustWinAtTry is for a client that removes by itself what it finds, and tries again.
func mustWinAtTry(t testing.TB, who string, rep reply, most int) {
	t.Helper()
	mustWin(t, who, rep)
	if len(rep.Tries) == 0 || len(rep.Tries) > most {
		t.Errorf("%s got the lock with %d tries, want 1 to %d: %v", who, len(rep.Tries), most, rep.Tries)
	}
}

// mustWinSoon is for a contender that was waiting when the lock became free: its next try wins. The lock was held until
// held and was free from free on.
func mustWinSoon(r *run, who string, rep reply, held, free time.Time) {
	r.Helper()
	mustWin(r, who, rep)
	if took := rep.since(held); took < 0 {
		r.Errorf("%s got the lock %v before it was free", who, -took)
	}
	for _, try := range rep.Tries[:len(rep.Tries)-1] {
		if late := moment(try.At).Sub(free); late > 0 {
			r.Errorf("%s was refused (%s) %v after the lock was free", who, try.Code, late)
		}
	}
	r.note("%d ms", rep.since(held).Milliseconds())
}

func mustFail(t testing.TB, what string, rep reply, code string) {
	t.Helper()
	if rep.OK {
		t.Errorf("%s went through, want %s", what, code)
	} else if rep.Code != code {
		t.Errorf("%s: %v, want %s", what, rep, code)
	}
}
