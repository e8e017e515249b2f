package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// lockedProject is a directory with files that have a lock's name and are data.
var lockedProject = map[string]string{
	"Chart.lock":          "dependencies:\n- name: postgresql\n  version: 12.1.0\ndigest: sha256:0123\n",
	"weird.lock":          "---\npid: 1\nkind: not a lock\n",
	"deps.lock/index.txt": "left-pad 1.3.0\n",
	"deps.lock/more.txt":  "is-number 7.0.0\n",
}

// arrivals are the ways such a project comes into the tree; $src is the project, the working directory the mount. All
// of them create exclusively, and their maker is gone right after.
var arrivals = map[string]string{
	"cp":  `cp -r "$src" cp`,
	"tar": `mkdir tar && tar -C "$src" -cf - . | tar -C tar -xf -`,
	"git": `git init -q "$src" && git -C "$src" add . && git -C "$src" commit -qm all && git clone -q "$src" git`,
	"checkout": `git init -q checkout && cd checkout && git fetch -q "$src" && git checkout -q FETCH_HEAD &&
		rm -rf weird.lock deps.lock && git checkout -q -- .`,
	"mv": `cp -r "$src" "$src.copy" && mkdir mv && mv "$src.copy"/* mv/`,
	"rename": `mkdir rename && cd rename && cp "$src/Chart.lock" a && mv a Chart.lock && cp "$src/weird.lock" b && mv b weird.lock &&
		cp -r "$src/deps.lock" c && mv c deps.lock`,
}

func TestScenario31_DataWithALocksName(t *testing.T) {
	scenario{31, "data with a lock's name comes in"}.once(t, func(r *run) {
		need(r, "git")
		m := newMount(r)
		source := filepath.Join(m.parent, "project")
		for name, text := range lockedProject {
			writeFile(r, filepath.Join(source, name), text)
		}
		for _, way := range []string{"cp", "tar", "git", "checkout", "mv", "rename"} {
			shell(r, m.dir, "src='"+source+"'\n"+arrivals[way])
			m.waitUnheld(r)
			mustBeComplete(r, m, way)
			mustExist(r, m, way)
		}
		for _, way := range []string{"cp", "git", "mv"} {
			mustBeRemovable(r, m, way)
		}
	})
}

// waitUnheld waits until the server has heard of the death of all who made something with a lock's name.
func (m *mount) waitUnheld(t testing.TB) {
	t.Helper()
	waitFor(t, "no lock is held", waitDeadline, func() bool {
		for _, entry := range m.locks(t) {
			if entry.State == "held" {
				return false
			}
		}
		return true
	})
}

func mustBeComplete(r *run, m *mount, dir string) {
	r.Helper()
	for name, want := range lockedProject {
		got, err := os.ReadFile(m.path(filepath.Join(dir, name)))
		if err != nil || string(got) != want {
			r.Errorf("%s/%s: %v, %q, want %q", dir, name, err, got, want)
		}
	}
}

// mustExist checks that such a name is not free for who wants a lock.
func mustExist(r *run, m *mount, dir string) {
	r.Helper()
	if err := os.Mkdir(m.path(dir+"/deps.lock"), 0o755); !errors.Is(err, syscall.EEXIST) {
		r.Errorf("mkdir %s/deps.lock: %v, want EEXIST", dir, err)
	}
	for _, name := range []string{"Chart.lock", "weird.lock"} {
		if _, err := createExclusively(m.path(filepath.Join(dir, name))); !errors.Is(err, syscall.EEXIST) {
			r.Errorf("create %s/%s: %v, want EEXIST", dir, name, err)
		}
	}
	mustBeComplete(r, m, dir)
}

// mustBeRemovable has a user who may write the directories remove everything, as on a plain directory.
func mustBeRemovable(r *run, m *mount, dir string) {
	r.Helper()
	shell(r, m.dir, "chmod 777 "+dir+" "+dir+"/deps.lock")
	for _, name := range []string{"Chart.lock", "weird.lock", "deps.lock/index.txt", "deps.lock/more.txt"} {
		if errno := removeAs(r, nobody, m.path(filepath.Join(dir, name))); errno != 0 {
			r.Errorf("another user's removal of %s/%s: %v", dir, name, errno)
		}
	}
	shell(r, m.dir, "rmdir "+dir+"/deps.lock")
}

// manifests are what package managers write beside a project, and their tools' names.
var manifests = []string{"yarn.lock", "Cargo.lock", "uv.lock", "poetry.lock", "bun.lock", "Gemfile.lock"}

// writings are the ways in which such a file comes to be, $1 its name; each in a process of its own, which is gone after.
var writings = map[string]string{
	"exclusively":  `set -C; printf 'pid: 1\nversion 1\n' > "$1"`,
	"plainly":      `printf 'pid: 1\nversion 1\n' > "$1"`,
	"by rename":    `printf 'pid: 1\nversion 1\n' > "$1.tmp" && mv "$1.tmp" "$1"`,
	"by mv -n":     `printf 'pid: 1\nversion 1\n' > "$1.tmp" && mv -n "$1.tmp" "$1"`,
	"by link":      `printf 'pid: 1\nversion 1\n' > "$1.tmp" && ln "$1.tmp" "$1" && rm "$1.tmp"`,
	"and anew":     `printf 'old\n' > "$1"; printf 'pid: 1\nversion 1\n' > "$1.tmp" && mv "$1.tmp" "$1"`,
	"empty":        `: > "$1"; printf 'pid: 1\nversion 1\n' >> "$1"`,
	"with own PID": `printf '%s\n' $$ > "$1" && printf 'pid: 1\nversion 1\n' > "$1"`,
}

func TestScenario20_PackageManagersLocks(t *testing.T) {
	scenario{20, "yarn.lock, Cargo.lock and their kind"}.once(t, func(r *run) {
		m := newMount(r)
		for way, script := range writings {
			for _, name := range manifests {
				path := filepath.Join(way, name)
				if err := os.MkdirAll(m.path(way), 0o777); err != nil {
					r.Fatal(err)
				}
				shell(r, m.dir, "sh -c '"+strings.ReplaceAll(script, "'", `'\''`)+"' sh '"+path+"'")
			}
		}
		m.waitUnheld(r)
		for way := range writings {
			for _, name := range manifests {
				text, err := os.ReadFile(m.path(filepath.Join(way, name)))
				if err != nil || string(text) != "pid: 1\nversion 1\n" {
					r.Errorf("%s %s: %q, %v", name, way, text, err)
				}
			}
		}
		mustHaveNoLocks(r, m)
	})
}

// The real yarn, without a network: the package that is added is a directory.
func TestScenario20_RealYarn(t *testing.T) {
	scenario{20, "the real yarn"}.once(t, func(r *run) {
		if suite.node == "" || suite.packages == "" {
			skip(r, "no Node or no packages: run scripts/deps.sh")
		}
		m := newMount(r)
		writeFile(r, m.parent+"/tiny/package.json", `{"name":"tiny","version":"1.0.0"}`)
		writeFile(r, m.path("app/package.json"), `{"name":"app","version":"1.0.0","license":"MIT"}`)
		yarn := fmt.Sprintf("'%s' '%s/yarn/bin/yarn.js' --offline --no-progress --cache-folder '%s/yarn-cache' ", suite.node, suite.packages, m.parent)
		shell(r, m.path("app"), yarn+"add file:../../tiny")
		first := shell(r, m.path("app"), "cat yarn.lock")
		m.waitUnheld(r)
		if again := shell(r, m.path("app"), "cat yarn.lock"); again != first || !strings.Contains(first, "tiny@") {
			r.Errorf("yarn.lock:\n%s\nthen:\n%s", first, again)
		}
		shell(r, m.path("app"), yarn+"install --frozen-lockfile && "+yarn+"install --force")
		if again := shell(r, m.path("app"), "cat yarn.lock"); again != first {
			r.Errorf("yarn.lock changed:\n%s\nfrom:\n%s", again, first)
		}
		mustHaveNoLocks(r, m)
	})
}
