package integration

import (
	"strings"
	"testing"
)

func TestToolsGit(t *testing.T) {
	t.Parallel()
	scenario{0, "git clone and commits in the tree"}.once(t, func(r *run) {
		need(r, "git")
		m := newMount(r)
		shell(r, m.parent, `git init -q -b main origin && cd origin && for i in 1 2 3; do echo $i >$i.txt; git add .; git commit -qm $i; done`)
		shell(r, m.dir, `git clone -q ../origin work && cd work && for i in 4 5 6; do echo $i >$i.txt; git add .; git commit -qm $i; done
			git checkout -q -b side HEAD~2 && git mv 1.txt one.txt && git commit -qm side && git checkout -q main && git merge -q -m merge side
			git stash list && git gc -q && git fsck --strict && test -z "$(git status --porcelain)"`)
		if count := shell(r, m.path("work"), "git rev-list --count HEAD"); count != "8" {
			r.Errorf("%s commits, want 8", count)
		}
		mustHaveNoLocks(r, m)
	})
}

func TestToolsNPM(t *testing.T) {
	t.Parallel()
	scenario{0, "npm install in the tree"}.once(t, func(r *run) {
		need(r, "npm")
		m := newMount(r)
		writeFile(r, m.parent+"/tiny/package.json", `{"name":"tiny","version":"1.0.0","main":"index.js","bin":"index.js"}`)
		writeFile(r, m.parent+"/tiny/index.js", "#!/usr/bin/env node\nmodule.exports = 42\n")
		tarball := shell(r, m.parent, "npm pack --silent ./tiny")
		writeFile(r, m.path("app/package.json"), `{"name":"app","version":"1.0.0"}`)
		// No network: the cache is empty and the package is a file.
		npm := "npm --offline --no-audit --no-fund --loglevel=error --cache " + m.parent + "/npm-cache "
		shell(r, m.path("app"), npm+"install ../../"+tarball+" && "+npm+"ci && test -x node_modules/.bin/tiny")
		if out := shell(r, m.path("app"), "cat node_modules/tiny/index.js"); !strings.Contains(out, "42") {
			r.Errorf("installed file: %q", out)
		}
		mustHaveNoLocks(r, m)
	})
}

// mustHaveNoLocks checks that a tool left none behind.
func mustHaveNoLocks(r *run, m *mount) {
	r.Helper()
	for _, entry := range m.locks(r) {
		r.Errorf("%s is %s", entry.Path, entry.State)
	}
}
