package integration

import (
	"fmt"
	"os/exec"
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

// Both writers use the log's shared memory and its byte-range locks through the mount.
func TestToolsSQLite(t *testing.T) {
	t.Parallel()
	scenario{26, "SQLite in WAL mode, two writers"}.once(t, func(r *run) {
		sqlite := need(r, "sqlite3")
		m := newMount(r)
		const rows = 300
		db := m.path("state.db")
		query := func(sql string) *exec.Cmd {
			cmd := command(r, sqlite, "-bail", "-cmd", ".timeout 20000", db)
			cmd.Stdin = strings.NewReader(sql)
			return cmd
		}
		mustAnswer(r, query("PRAGMA journal_mode=WAL; CREATE TABLE log(writer, n);"), "wal")
		writers := []*exec.Cmd{query(inserts("a", rows)), query(inserts("b", rows))}
		for _, writer := range writers {
			writer.Stderr = &logBuffer{}
			if err := writer.Start(); err != nil {
				r.Fatal(err)
			}
		}
		for _, writer := range writers {
			if err := writer.Wait(); err != nil {
				r.Errorf("sqlite3: %v, %s", err, writer.Stderr)
			}
		}
		mustAnswer(r, query("PRAGMA integrity_check; SELECT count(*), count(DISTINCT writer||n) FROM log;"),
			fmt.Sprintf("ok\n%d|%d", 2*rows, 2*rows))
	})
}

func inserts(writer string, rows int) string {
	var sql strings.Builder
	for n := range rows {
		fmt.Fprintf(&sql, "INSERT INTO log VALUES('%s', %d);\n", writer, n)
	}
	return sql.String()
}

func mustAnswer(r *run, cmd *exec.Cmd, want string) {
	r.Helper()
	out, err := cmd.CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != want {
		r.Fatalf("%v: %v, %q, want %q", cmd.Args, err, got, want)
	}
}

// mustHaveNoLocks checks that a tool left none behind.
func mustHaveNoLocks(r *run, m *mount) {
	r.Helper()
	for _, entry := range m.locks(r) {
		r.Errorf("%s is %s", entry.Path, entry.State)
	}
}
