package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// place is where a client runs.
type place int

const (
	onHost      place = iota
	inContainer       // PID 1 of a container
	inNamespace       // PID 1 of a PID namespace, with a /proc of its own that may be written
	unreaped          // a child of a process that never waits for it: it stays a zombie
)

// hostPIDSource finds the client's PID in our namespace once it runs.
type hostPIDSource func(t testing.TB, cmd *exec.Cmd, inside int) int

// wrap returns the command line that runs argv in the place with the mount in reach.
func (p place) wrap(t testing.TB, m *mount, argv []string) ([]string, hostPIDSource) {
	switch p {
	case inContainer:
		if podman, err := exec.LookPath("podman"); err == nil {
			return podmanRun(t, podman, m, argv)
		}
		return unshareRun(t, argv)
	case inNamespace:
		return unshareRun(t, argv)
	case unreaped:
		return neverWait(argv), samePID
	}
	return argv, samePID
}

func samePID(_ testing.TB, _ *exec.Cmd, inside int) int { return inside }

// neverWait has a shell start argv and become a process that does not know it has a child. An asynchronous command of
// a shell loses its stdin, hence the copy of it.
func neverWait(argv []string) []string {
	return append([]string{"sh", "-c", `exec 3<&0; "$@" <&3 3<&- & exec sleep 1000000`, "sh"}, argv...)
}

func unshareRun(t testing.TB, argv []string) ([]string, hostPIDSource) {
	unshare := []string{need(t, "unshare"), "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child", "--mount-proc"}
	return append(unshare, argv...), func(t testing.TB, cmd *exec.Cmd, _ int) int { return onlyChild(t, cmd.Process.Pid) }
}

var containers atomic.Int32

// podmanRun starts a container on the machine's own root, with a throw-away layer over it. The parent of the sessions
// directory is bound, not the mount itself, and what we run in case it lies on another file system than the root.
func podmanRun(t testing.TB, podman string, m *mount, argv []string) ([]string, hostPIDSource) {
	run, name := podmanWith(t, podman, m.parent+":"+m.parent+":rslave")
	pidFile := filepath.Join(suite.dir, name+".pid")
	run = append(run, "--pidfile", pidFile)
	if suite.compiled != "" {
		run = append(run, "--env", compiledEnv+"="+suite.compiled)
	}
	for _, dir := range []string{filepath.Dir(suite.driver), filepath.Dir(suite.node), suite.clients, suite.packages, suite.compiled} {
		if dir != "." && dir != "" {
			run = append(run, "-v", dir+":"+dir+":ro")
		}
	}
	run = append(run, "--rootfs", "/:O")
	return append(run, argv...), func(t testing.TB, _ *exec.Cmd, _ int) int { return readPID(t, pidFile) }
}

// podmanWith begins the command line that starts a container with a volume, which is removed when the test ends.
func podmanWith(t testing.TB, podman, volume string) (run []string, name string) {
	name = fmt.Sprintf("%s-%d", suite.tag, containers.Add(1))
	t.Cleanup(func() { removeContainer(t, podman, name) })
	return []string{podman, "--runtime", "runc", "run", "--rm", "-i", "--name", name,
		"--network=none", "--log-driver=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
		"--env", runEnv + "=" + suite.tag, "-v", volume}, name
}

func readPID(t testing.TB, file string) int {
	t.Helper()
	var pid int
	waitFor(t, "the container's PID file", readyDeadline, func() bool {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid != 0
	})
	return pid
}

// removeContainer is for a container that did not go by itself: --rm removes the others.
func removeContainer(t testing.TB, podman, name string) {
	if command(t, podman, "container", "exists", name).Run() == nil {
		command(t, podman, "rm", "-f", "-t", "0", name).Run()
	}
}

// ourContainers lists those left of this run.
func ourContainers() []string {
	podman, err := exec.LookPath("podman")
	if err != nil || containers.Load() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandDeadline)
	defer cancel()
	out, _ := exec.CommandContext(ctx, podman, "ps", "-a", "--filter", "name="+suite.tag+"-", "--format", "container {{.Names}}").Output()
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}
