package integration

import (
	"errors"
	"os"
	"path/filepath"
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
