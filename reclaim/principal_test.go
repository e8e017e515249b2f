package reclaim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// acting asks about cat, which stands for a helper program here: it waits as long as is needed.
func acting(f Features, pid int32) (lockmgr.Identity, bool) {
	return New(Options{Features: f, Helpers: []string{"cat"}}).Acting(uint32(pid))
}

// script starts a shell that says the PID of whoever is to be asked about.
func script(t *testing.T, shell, text string) (sh child, pid int32) {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		t.Skip(shell + " is not installed")
	}
	args := []string{"-c", "exec 3<&0; " + text} // what runs in the background has no other stdin
	if shell == "busybox" {
		args = append([]string{"sh"}, args...)
	}
	sh = start(t, exec.Command(shell, args...))
	return sh, sh.number(t)
}

// asCat waits until a child of a shell has become cat.
func asCat(t *testing.T, pid int32) {
	t.Helper()
	until(t, "the child is cat", func() bool {
		st, err := procfs("/proc").stat(pid)
		return err == nil && st.comm == "cat"
	})
}

func TestActing(t *testing.T) {
	for _, shell := range []string{"sh", "bash", "dash"} {
		for title, row := range map[string]struct {
			script string
			cat    bool // the PID is that of a cat
			shell  bool // it acts for the shell
			helper bool
		}{
			"helper":               {"cat <&3 & echo $!; wait; true", true, true, true},
			"subshell":             {"(read x) <&3 & echo $!; wait; true", false, true, true},
			"helper of a subshell": {"(cat <&3 & echo $!; wait; true); true", true, true, true},
			"the shell itself":     {"echo $$; read x; true", false, true, false},
			"a shell of its own":   {"sh -c 'echo $$; read x; true'; true", false, false, false},
			"exec":                 {"echo $$; exec cat", true, true, true},
		} {
			t.Run(shell+" "+title, func(t *testing.T) {
				sh, pid := script(t, shell, row.script)
				if row.cat {
					asCat(t, pid)
				}
				for way, f := range ways() {
					p := New(Options{Features: f})
					want := identify(t, p, pid)
					if row.shell {
						want = identify(t, p, sh.pid())
					}
					if got, helper := acting(f, pid); got != want || helper != row.helper {
						t.Errorf("%s: acts for %v, helper %t; want %v, %t", way, got, helper, want, row.helper)
					}
				}
			})
		}
	}
}

// A program that would be a helper acts for no program but a shell, and none because of its name alone.
func TestActingForNoShell(t *testing.T) {
	alone := startCat(t)
	asCat(t, alone.pid())
	if id, helper := acting(Probe(), alone.pid()); id.PID != alone.pid() || !helper {
		t.Errorf("a child of a program acts for %d, helper %t", id.PID, helper)
	}
	cmd := exec.Command("sh", "-c", "exec 3<&0; /proc/"+"$PPID"+"/exe <&3 & echo $!; wait; true")
	cmd.Env = append(os.Environ(), helperEnv+"=named cat")
	sh := start(t, cmd)
	pid := sh.number(t)
	if said := sh.line(t); said != "named" {
		t.Fatal(said)
	}
	if id, helper := acting(Probe(), pid); id.PID != pid || helper {
		t.Errorf("a program of another's name acts for %d, helper %t", id.PID, helper)
	}
}

// A helper whose shell is gone acts for itself, and is known for one.
func TestHelperWithoutItsShell(t *testing.T) {
	sh, pid := script(t, "bash", "cat <&3 & echo $!; exit 0")
	asCat(t, pid)
	if _, err := sh.cmd.Process.Wait(); err != nil { // which leaves cat its input
		t.Fatal(err)
	}
	id, helper := acting(Probe(), pid)
	want := pid
	if adopter, err := procfs("/proc").stat(st0(t, pid).parent); err == nil && slices.Contains(shells, adopter.comm) {
		want = st0(t, pid).parent // a shell that takes over orphans can't be told from their own
	}
	if id.PID != want || !helper {
		t.Errorf("acts for %d, helper %t; want %d", id.PID, helper, want)
	}
}

func st0(t *testing.T, pid int32) procStat {
	t.Helper()
	st, err := procfs("/proc").stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestDescribeNamesTheShellsAbove(t *testing.T) {
	sh, pid := script(t, "bash", "sh -c 'cat <&3 & echo $!; wait; true'; true")
	asCat(t, pid)
	p := New(Options{Features: Probe()})
	d := p.Describe(identify(t, p, pid))
	var above []int32
	for _, shell := range d.Shells {
		above = append(above, shell.PID)
		if !slices.Contains(shell.NSPIDs, shell.PID) {
			t.Errorf("%d bears %v", shell.PID, shell.NSPIDs)
		}
	}
	if len(above) < 2 || above[0] != st0(t, pid).parent || above[1] != sh.pid() {
		t.Errorf("shells above: %v, want %d, then %d", above, st0(t, pid).parent, sh.pid())
	}
}

// Whether a signal ended a process is known when its death is told, reaped or not.
func TestKilled(t *testing.T) {
	for title, row := range map[string]struct {
		end    func(c child)
		killed bool
	}{
		"signal": {func(c child) { _ = unix.Kill(int(c.pid()), unix.SIGTERM) }, true},
		"exit":   {func(c child) { c.in.Close() }, false},
	} {
		for _, reaped := range []bool{false, true} {
			w, err := NewWatcher(Options{Features: Probe()})
			if err != nil {
				t.Fatal(err)
			}
			c := startCat(t)
			id := identify(t, New(Options{Features: Probe()}), c.pid())
			asCat(t, c.pid())
			told := make(chan bool, 1)
			if err := w.Watch(id, func(id lockmgr.Identity) { told <- w.Killed(id) }); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			if reaped {
				go func() { ended <- c.cmd.Wait() }()
			}
			row.end(c)
			if got := <-told; got != row.killed {
				t.Errorf("%s, reaped at once %t: killed %t", title, reaped, got)
			}
			w.Close()
			if reaped {
				<-ended
			}
		}
	}
}

// A shell that runs a script by its "#!" has the script's name, and helpers and subshells
// all the same; what only calls itself a shell has none.
func TestActingForAScript(t *testing.T) {
	dir := t.TempDir()
	for _, shell := range []string{"sh", "bash", "dash", "busybox"} {
		at, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		if shell == "busybox" {
			at += " sh"
		}
		for title, text := range map[string]string{
			"helper":   "cat <&3 & echo $!; wait; true",
			"subshell": "(read x) <&3 & echo $!; wait; true",
		} {
			path := filepath.Join(dir, "agent-"+shell+"-"+title)
			script := fmt.Sprintf("#!%s\nexec 3<&0; %s\n", at, text)
			if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			sh := start(t, exec.Command(path))
			pid := sh.number(t)
			if title == "helper" {
				asCat(t, pid)
			}
			for way, f := range ways() {
				want := identify(t, New(Options{Features: f}), sh.pid())
				if got, helper := acting(f, pid); got != want || !helper {
					t.Errorf("%s of %s, %s: acts for %v, helper %t; want %v", title, shell, way, got, helper, want)
				}
			}
		}
	}
	if isShell := New(Options{}).isShell(startCat(t).pid(), "bash"); isShell {
		t.Error("cat is a shell when it is called bash")
	}
}
