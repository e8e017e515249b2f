package integration

import "testing"

// Callers outside the mount's PID namespace are all process 0 to it: it can't tell one from another.
func TestScenario24_CallerOutsideThePIDNamespace(t *testing.T) {
	scenario{24, "callers outside the mount's PID namespace"}.eachVersion(t, func(r *run) {
		m := newMount(r, inPIDNamespace())
		both := r.clients(m, onHost, onHost)
		a, b := both[0], both[1]
		released := a.must(r, "acquire", ask(m, longWait))
		m.mustBeOfUnknown(r)
		a.must(r, "release", args{"lock": released.Lock})
		if m.exists(sessionLock) {
			r.Fatalf("the lock is there after its release")
		}

		path := args{"path": m.path(sessionLock)}
		a.must(r, "acquire", ask(m, longWait))
		mustFail(r, "another caller's create", b.do(r, "open", args{"path": path["path"], "flags": "wx"}), "EEXIST")
		a.kill(r)
		a.waitDead(r)
		mustFail(r, "another caller's create after the death", b.do(r, "open", args{"path": path["path"], "flags": "wx"}), "EEXIST")
		m.mustBeOfUnknown(r)
		b.must(r, "unlink", path)
		mustWinAtOnce(r, "the other caller", b.do(r, "acquire", ask(m, longWait)))
	})
}

func (m *mount) mustBeOfUnknown(t testing.TB) {
	t.Helper()
	if entry := m.lock(t, sessionLock); entry.State != "unknown_owner" {
		t.Errorf("%s is %q, want unknown_owner", sessionLock, entry.State)
	}
	if !m.exists(sessionLock) {
		t.Errorf("%s is not on disk", sessionLock)
	}
}
