package integration

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// insider is a shell in a mount namespace of its own, as in a container or in one.
type insider struct {
	dir   string // where it has what was bound
	stdin io.Writer
	out   *bufio.Reader
	end   func()
}

// binding is what an insider has of the mount.
type binding int

const (
	theMount  binding = iota // the mount itself, of which it learns nothing more
	itsParent                // its parent, with whatever is mounted below from now on
)

// insiders are the ways to be inside.
var insiders = map[string]func(testing.TB, *mount, binding) *insider{"a namespace": inOwnNamespace, "a container": inOwnContainer}

func inOwnNamespace(t testing.TB, m *mount, b binding) *insider {
	t.Helper()
	propagation := map[binding]string{theMount: "private", itsParent: "slave"}[b]
	i := startInsider(t, need(t, "unshare"), "--mount", "--propagation", propagation)
	i.dir = m.dir
	return i
}

func inOwnContainer(t testing.TB, m *mount, b binding) *insider {
	t.Helper()
	podman, volume, dir := need(t, "podman"), m.dir+":/mnt", "/mnt"
	if b == itsParent {
		volume, dir = m.parent+":/mnt:rslave", "/mnt/"+filepath.Base(m.dir)
	}
	run, name := podmanWith(t, podman, volume)
	i := startInsider(t, append(run, "--rootfs", "/:O")...)
	i.dir = dir
	ended := i.end
	i.end = func() {
		removeContainer(t, podman, name)
		ended()
	}
	return i
}

// startInsider starts a shell that does what it reads.
func startInsider(t testing.TB, wrapper ...string) *insider {
	t.Helper()
	cmd := exec.Command(wrapper[0], append(wrapper[1:], "sh", "-c", `echo "rc 0"; while read -r line; do eval "$line"; echo "rc $?"; done`)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	i := &insider{stdin: stdin, out: bufio.NewReader(out)}
	i.end = sync.OnceFunc(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(func() { i.end() })
	i.hear(t)
	return i
}

// does has the shell do something where it has the mount, and reports whether that succeeded.
func (i *insider) does(t testing.TB, script string) bool {
	t.Helper()
	fmt.Fprintf(i.stdin, "cd %s && { %s; }\n", i.dir, script)
	ok := i.hear(t)
	fmt.Fprintln(i.stdin, "cd /")
	i.hear(t)
	return ok
}

func (i *insider) hear(t testing.TB) bool {
	t.Helper()
	silent := time.AfterFunc(commandDeadline, i.end)
	defer silent.Stop()
	for {
		line, err := i.out.ReadString('\n')
		if err != nil {
			t.Fatalf("no word from inside: %v", err)
		}
		if code, is := strings.CutPrefix(line, "rc "); is {
			return strings.TrimSpace(code) == "0"
		}
	}
}

// Who bound the mount itself keeps it, and its arbiter, alive after the unmount; meanwhile
// no second one may start.
func TestScenario34_MountKept(t *testing.T) {
	for where, enter := range insiders {
		scenario{34, "who bound the mount itself, in " + where + ", keeps it, and no second arbiter starts"}.once(t, func(r *run) {
			needRoot(r)
			m := newMount(r)
			mountKept(r, m, enter(r, m, theMount))
		})
	}
}

func mountKept(t *run, m *mount, keeper *insider) {
	code, said := program(t, "unmount", m.dir)
	if code != 0 || !strings.Contains(said, "sh (PID ") {
		t.Errorf("unmount: %d, does not name who keeps it: %s", code, said)
	}
	if served(m.dir) {
		t.Error("still mounted here")
	}
	mustSay(t, exitTaken, []string{"arbiter already", "(PID "}, "mount", m.dir)
	if !keeper.does(t, "set -C; echo $$ > kept.lock; cat kept.lock; rm kept.lock") {
		t.Error("the one who keeps the mount is not served any more")
	}
	select {
	case <-m.exited:
		t.Error("the arbiter left the one who keeps the mount alone")
	default:
	}
	keeper.end()
	select {
	case <-m.exited:
	case <-time.After(unmountDeadline):
		t.Fatal("the arbiter does not end when nobody has the mount any more")
	}
	m.start(t)
}

// Who bound the parent with rslave sees the mount go and come.
func TestScenario34_MountSeenThroughItsParent(t *testing.T) {
	for where, enter := range insiders {
		scenario{34, "who bound the parent with rslave, in " + where + ", sees the new mount"}.once(t, func(r *run) {
			needRoot(r)
			m := newMount(r)
			mountSeen(r, m, enter(r, m, itsParent))
		})
	}
}

func mountSeen(t *run, m *mount, inside *insider) {
	const isMount = "cat .sessionlockfs/locks" // which is there in the mount only
	if !inside.does(t, isMount) {
		t.Error("the mount is not seen")
	}
	m.stop(t)
	if inside.does(t, isMount) {
		t.Error("the mount is seen after the unmount")
	}
	m.start(t)
	if !inside.does(t, isMount) {
		t.Error("the new mount is not seen")
	}
	if !inside.does(t, "echo > x") || !m.exists("x") {
		t.Error("what is made inside is not there")
	}
}

// A directory that was unmounted can be mounted over again at once, though its arbiter may need a moment to end.
func TestMountAgainAtOnce(t *testing.T) {
	m := newMount(t)
	shell(t, m.dir, `for i in $(seq 2000); do : > file-$i; done`)
	for range 5 {
		if out, err := m.command("ls", "-l", m.dir).CombinedOutput(); err != nil {
			t.Fatalf("ls: %v\n%s", err, out)
		}
		if out, err := m.unmount(); err != nil {
			t.Fatalf("unmount: %v\n%s", err, out)
		}
		m.start(t)
	}
}
