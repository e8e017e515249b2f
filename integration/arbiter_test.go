package integration

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// namespace is a process in a mount namespace of its own, as a container is.
func namespace(t testing.TB, propagation string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(need(t, "unshare"), "--mount", "--propagation", propagation, "sh", "-c", "echo ready; exec sleep 300")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	silent := time.AfterFunc(commandDeadline, func() { cmd.Process.Kill() })
	defer silent.Stop()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Who bound the mount itself keeps it, and its arbiter, alive after the unmount; meanwhile
// no second one may start.
func TestScenario34_MountKeptInAnotherNamespace(t *testing.T) {
	scenario{34, "who bound the mount itself keeps it, and no second arbiter starts"}.once(t, mountKept)
}

func mountKept(t *run) {
	needRoot(t)
	m := newMount(t)
	keeper := namespace(t, "private")
	code, said := program(t, "unmount", m.dir)
	if code != 0 || !strings.Contains(said, "sleep (PID ") {
		t.Errorf("unmount: %d, does not name who keeps it: %s", code, said)
	}
	if served(m.dir) {
		t.Error("still mounted here")
	}
	mustSay(t, exitTaken, []string{"arbiter already", "(PID "}, "mount", m.dir)
	select {
	case <-m.exited:
		t.Error("the arbiter left the one who keeps the mount alone")
	default:
	}
	keeper.Process.Kill()
	keeper.Wait()
	select {
	case <-m.exited:
	case <-time.After(unmountDeadline):
		t.Fatal("the arbiter does not end when nobody has the mount any more")
	}
	m.start(t)
}

// Who bound the parent with rslave sees the mount go and come.
func TestScenario34_MountSeenThroughItsParent(t *testing.T) {
	scenario{34, "who bound the parent with rslave sees the new mount"}.once(t, mountSeen)
}

func mountSeen(t *run) {
	needRoot(t)
	m := newMount(t)
	inside := namespace(t, "slave")
	seen := func() bool {
		// The control directory is there in the mount only.
		out, _ := command(t, need(t, "nsenter"), "--target", strconv.Itoa(inside.Process.Pid), "--mount",
			"cat", m.path(".sessionlockfs/locks")).Output()
		return len(out) > 0
	}
	if !seen() {
		t.Error("the mount is not seen")
	}
	m.stop(t)
	if seen() {
		t.Error("the mount is seen after the unmount")
	}
	m.start(t)
	if !seen() {
		t.Error("the new mount is not seen")
	}
	if err := os.WriteFile(m.path("x"), nil, 0o644); err != nil {
		t.Error(err)
	}
}
