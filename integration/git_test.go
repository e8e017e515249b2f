package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// repository makes a repository in the mount with this many files, none of them committed.
func repository(t testing.TB, m *mount, files int) string {
	t.Helper()
	dir := m.path("work")
	shell(t, m.dir, "git init -q -b main work")
	for i := range files {
		writeFile(t, fmt.Sprintf("%s/d%d/f%d.txt", dir, i/100, i), fmt.Sprintf("file %d\n", i))
	}
	return dir
}

// Git's hooks change the index under the lock of the commit that runs them, from processes of their own.
func TestScenario33_HookThatAdds(t *testing.T) {
	scenario{33, "git commit -a with a hook that runs git add"}.once(t, func(r *run) {
		need(r, "git")
		m := newMount(r)
		dir := repository(r, m, 5000)
		shell(r, dir, `git add . && git commit -qm first
			printf '#!/bin/sh\nset -e\necho formatted >>d0/f0.txt\ngit add d0/f0.txt d1\n' >.git/hooks/pre-commit && chmod +x .git/hooks/pre-commit
			for i in 0 100 200 4999; do echo changed >>d$((i / 100))/f$i.txt; done
			git commit -qam second && test -z "$(git status --porcelain)" && git fsck --strict`)
		if text := shell(r, dir, "git show HEAD:d0/f0.txt"); !strings.HasSuffix(text, "formatted") {
			r.Errorf("committed: %q", text)
		}
		shell(r, dir, `git branch side && git pack-refs --all && git config user.color blue && git stash list && git worktree add -q ../tree side &&
			cd ../tree && echo x >>d0/f0.txt && git commit -qam third --no-verify && cd ../work && git merge -q --no-edit side && git gc -q`)
		mustHaveNoLocks(r, m)
	})
}

// A killed git leaves its lock behind; the next one must not find it.
func TestScenario19_KilledCommit(t *testing.T) {
	scenario{19, "git: a killed commit"}.once(t, func(r *run) {
		need(r, "git")
		m := newMount(r)
		dir := repository(r, m, 50)
		shell(r, dir, `git add . && git commit -qm first && echo more >>d0/f0.txt
			printf '#!/bin/sh\ntouch ../held; exec sleep 1000\n' >.git/hooks/pre-commit && chmod +x .git/hooks/pre-commit`)
		commit := exec.Command("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qam", "second")
		commit.Dir = dir
		commit.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := commit.Start(); err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() { syscall.Kill(-commit.Process.Pid, syscall.SIGKILL) })
		waitFor(r, "the hook runs", waitDeadline, func() bool { return m.exists("held") })
		if entry := m.lock(r, "work/.git/index.lock"); entry.State != "held" || entry.Owner.PID != commit.Process.Pid {
			r.Errorf("index.lock: %q by %d, want held by %d", entry.State, entry.Owner.PID, commit.Process.Pid)
		}
		if out, err := exec.Command("git", "-C", dir, "add", ".").CombinedOutput(); err == nil || !strings.Contains(string(out), "index.lock") {
			r.Errorf("another git while the commit runs: %v\n%s", err, out)
		}
		commit.Process.Kill()
		commit.Wait()
		died := time.Now()
		waitFor(r, "the orphan goes", waitDeadline, func() bool { return !m.exists("work/.git/index.lock") })
		r.note("%d ms", time.Since(died).Milliseconds())
		shell(r, dir, "rm .git/hooks/pre-commit && git commit -qam second && test -z \"$(git status --porcelain)\"")
		mustHaveNoLocks(r, m)
	})
}

// Agents' locks that happen to lie in a git directory are no locks of git's.
func TestAgentsLockInAGitDirectory(t *testing.T) {
	m := newMount(t)
	repository(t, m, 1)
	name := "work/.git/a.jsonl.lock"
	h := startHelper(t, nil, "hold", m.path(name))
	h.line(t)
	m.mustBeHeldBy(t, name, h.cmd.Process.Pid)
	if got := removeAs(t, nil, m.path(name)); got != syscall.EBUSY {
		t.Errorf("a stranger removes it: %v", got)
	}
	if err := os.Rename(m.path("work/d0/f0.txt"), m.path(name)); err == nil {
		t.Errorf("a stranger renames over it")
	}
}
