package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// firstID is what user and group 0 of a container are on the host, in the tests' user namespaces and idmapped mounts.
const (
	firstID = 100000
	idCount = 65536
)

var containerIDs = []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: idCount}}

// actor is a process that acts in one directory, and its double that does the same in another.
type actor struct {
	name     string
	uid      uint32 // in its namespace
	inside   bool   // it is in a user namespace of its own
	on, bare *helper
}

const actsPerComparison = 400

// What callers in a user namespace may do, see and get is as on a bare directory.
func TestUserNamespaces(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	bare := bareDirectory(t, m)
	compareActors(t, m.dir, bare, m.pathBelow("."), bare)
}

// A mount of root's can be idmapped, as for a volume with :idmap: the files of the directory belong to others then.
func TestIdmappedMount(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	bare := bareDirectory(t, m)
	idmapped, idmappedBare := idmap(t, m.dir), idmap(t, bare)
	compareActors(t, idmapped, idmappedBare, m.pathBelow("."), bare)
	lockOfMappedOwner(t, m, idmapped)
}

// lockOfMappedOwner is held through the idmapped mount, and protected in both.
func lockOfMappedOwner(t *testing.T, m *mount, idmapped string) {
	t.Helper()
	mustDo(t, os.Chmod(m.pathBelow("."), 0o777))
	user := &syscall.Credential{Uid: firstID + 1000, Gid: firstID + 1000}
	holder := startHelper(t, user, "hold-remove", filepath.Join(idmapped, "mapped.lock"))
	holder.line(t)
	m.mustBeHeldBy(t, "mapped.lock", holder.cmd.Process.Pid)
	if uid := m.stateBelow(t, "mapped.lock").uid; uid != 1000 {
		t.Errorf("the lock belongs to %d underneath, want 1000", uid)
	}
	for _, path := range []string{m.path("mapped.lock"), filepath.Join(idmapped, "mapped.lock")} {
		if errno := removeAs(t, nil, path); errno != syscall.EBUSY {
			t.Errorf("removal of %s: %v, want EBUSY", path, errno)
		}
	}
	holder.stdin.Close()
	waitFor(t, "the lock goes", seenWithin, func() bool { return !m.exists("mapped.lock") })
}

// An ordinary user's mount can't be idmapped: the kernel says so, and nothing changes.
func TestUsersMountIsNotIdmapped(t *testing.T) {
	needRoot(t)
	m := newMount(t, asUser(nobody))
	clone, err := cloneIdmapped(t, m.dir)
	if err == nil {
		unix.Close(clone)
	}
	mustBe(t, err, syscall.EINVAL)
}

func bareDirectory(t testing.TB, m *mount) string {
	t.Helper()
	bare := filepath.Join(m.parent, "bare")
	mustDo(t, os.Mkdir(bare, 0o777))
	mustDo(t, os.Chmod(bare, 0o777))
	return bare
}

// idmap mounts a directory elsewhere with the containers' ids.
func idmap(t testing.TB, dir string) string {
	t.Helper()
	clone, err := cloneIdmapped(t, dir)
	if err != nil {
		t.Fatalf("idmap %s: %v", dir, err)
	}
	defer unix.Close(clone)
	point, err := os.MkdirTemp(suite.dir, "idmapped-")
	mustDo(t, err)
	mustDo(t, unix.MoveMount(clone, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH))
	t.Cleanup(func() {
		mustDo(t, unix.Unmount(point, unix.MNT_DETACH))
		os.Remove(point)
	})
	return point
}

func cloneIdmapped(t testing.TB, dir string) (int, error) {
	t.Helper()
	userns := startInUserNamespace(t, 0, "act", "/")
	userns.line(t)
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", userns.cmd.Process.Pid))
	mustDo(t, err)
	defer ns.Close()
	clone, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	mustDo(t, err)
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(clone, "", unix.AT_EMPTY_PATH, attr); err != nil {
		unix.Close(clone)
		return -1, err
	}
	return clone, nil
}

func startInUserNamespace(t testing.TB, uid uint32, name string, arguments ...string) *helper {
	t.Helper()
	return startHelperWith(t, name, arguments, &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: containerIDs, GidMappings: containerIDs,
		GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{Uid: uid, Gid: uid},
	})
}

// compareActors has several processes do the same random acts in two directories, and compares what they are told and
// what comes of it underneath.
func compareActors(t *testing.T, on, bare, onBelow, bareBelow string) {
	t.Helper()
	actors := []*actor{
		{name: "root"}, {name: "user", uid: 1000}, {name: "mapped root", uid: firstID}, {name: "mapped user", uid: firstID + 1000},
		{name: "root inside", inside: true}, {name: "user inside", uid: 1000, inside: true},
	}
	for _, a := range actors {
		a.on, a.bare = a.start(t, on), a.start(t, bare)
	}
	random := rand.New(rand.NewPCG(25, 26))
	answers := map[string]int{}
	for i := range actsPerComparison {
		a := actors[random.IntN(len(actors))]
		act := a.randomAct(random)
		got, want := a.on.ask(t, act), a.bare.ask(t, act)
		if got != want {
			t.Fatalf("act %d: %s, %q: %q, but on a bare directory %q", i, a.name, act, got, want)
		}
		result, _, _ := strings.Cut(want, " ")
		answers[result]++
	}
	t.Log(answers)
	if got, want := treeOf(t, onBelow), treeOf(t, bareBelow); !slices.Equal(got, want) {
		t.Errorf("the trees differ:\n%s\nbare:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (a *actor) start(t testing.TB, dir string) (h *helper) {
	t.Helper()
	if a.inside {
		h = startInUserNamespace(t, a.uid, "act", dir)
	} else {
		h = startHelper(t, &syscall.Credential{Uid: a.uid, Gid: a.uid}, "act", dir)
	}
	if line := h.line(t); line != "ready" {
		t.Fatal(line)
	}
	return h
}

// randomAct is one that a helper understands. Owners are those that mean something to the actor.
func (a *actor) randomAct(r *rand.Rand) string {
	names := []string{"a", "b", "c", "d/a", "d/b", "d", "e"}
	modes := []string{"0", "600", "644", "666", "755", "777", "1777"}
	owners := []int{0, 1000, 1001, firstID, firstID + 1000, firstID + 1001}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	owner := func() string { return strconv.Itoa(owners[r.IntN(len(owners))]) }
	name := pick(names)
	switch op := pick(slices.Sorted(maps.Keys(namespaceActs))); op {
	case "create", "mkdir", "chmod":
		return op + " " + name + " " + pick(modes)
	case "chown":
		return op + " " + name + " " + owner() + " " + owner()
	case "rename", "link":
		return op + " " + name + " " + pick(names)
	default:
		return op + " " + name
	}
}

// namespaceActs are what a helper can do; a directory's mode and owner decide who may.
var namespaceActs = map[string]func(words []string) (string, error){
	"create": func(w []string) (string, error) {
		fd, err := unix.Open(w[0], unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, octal(w[1]))
		return "", errors.Join(err, closed(fd))
	},
	"mkdir":   func(w []string) (string, error) { return "", unix.Mkdir(w[0], octal(w[1])) },
	"mkfifo":  func(w []string) (string, error) { return "", unix.Mkfifo(w[0], 0o644) },
	"symlink": func(w []string) (string, error) { return "", unix.Symlink("a", w[0]) },
	"link":    func(w []string) (string, error) { return "", unix.Link(w[0], w[1]) },
	"rename":  func(w []string) (string, error) { return "", unix.Rename(w[0], w[1]) },
	"unlink":  func(w []string) (string, error) { return "", unix.Unlink(w[0]) },
	"rmdir":   func(w []string) (string, error) { return "", unix.Rmdir(w[0]) },
	"chmod":   func(w []string) (string, error) { return "", unix.Chmod(w[0], octal(w[1])) },
	"chown": func(w []string) (string, error) {
		uid, _ := strconv.Atoi(w[1])
		gid, _ := strconv.Atoi(w[2])
		return "", unix.Lchown(w[0], uid, gid)
	},
	"write": func(w []string) (string, error) {
		fd, err := unix.Open(w[0], unix.O_WRONLY|unix.O_TRUNC|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte("text"))
		}
		return "", errors.Join(err, closed(fd))
	},
	"touch":  func(w []string) (string, error) { return "", unix.Utimes(w[0], nil) },
	"past":   func(w []string) (string, error) { return "", unix.Utimes(w[0], make([]unix.Timeval, 2)) },
	"xattr":  func(w []string) (string, error) { return "", unix.Setxattr(w[0], "user.x", []byte("v"), 0) },
	"access": func(w []string) (string, error) { return "", unix.Access(w[0], unix.R_OK|unix.W_OK) },
	"stat": func(w []string) (string, error) {
		var st unix.Stat_t
		err := unix.Lstat(w[0], &st)
		return fmt.Sprintf("%o %d %d %d", st.Mode, st.Uid, st.Gid, st.Nlink), err
	},
	"list": func(w []string) (string, error) {
		entries, err := os.ReadDir(w[0])
		var list []string
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return strings.Join(list, ","), err
	},
}

func closed(fd int) error {
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}

// helpAct does in a directory what it is told, one line an act, and answers each with its error and result.
func helpAct(arguments []string) error {
	unix.Umask(0)
	if err := os.Chdir(arguments[0]); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Fields(lines.Text())
		result, err := namespaceActs[words[0]](words[1:])
		var errno syscall.Errno
		if errors.As(err, &errno) {
			result = unix.ErrnoName(errno)
		}
		fmt.Println(result)
	}
	return nil
}

// treeOf says of everything in a directory what it is and whose.
func treeOf(t testing.TB, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir+"/", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if path == dir+"/" {
			path = filepath.Clean(dir)
		}
		xattr := make([]byte, 64)
		n, _ := unix.Lgetxattr(path, "user.x", xattr)
		lines = append(lines, fmt.Sprintf("%q %o %d:%d %d names, xattr %q",
			strings.TrimPrefix(path, filepath.Clean(dir)), st.Mode, st.Uid, st.Gid, st.Nlink, xattr[:max(n, 0)]))
		return nil
	})
	mustDo(t, err)
	return lines
}

// A volume with :idmap, as pods with user namespaces have.
func TestIdmappedVolume(t *testing.T) {
	needRoot(t)
	m := newMount(t)
	writeFile(t, m.path("before"), "made on the host\n")
	script := `stat -c '%u:%g' /s/before && echo inside >/s/made && mkdir /s/dir && ln -s made /s/link && chown 5:6 /s/dir &&
		stat -c '%u:%g' /s/made /s/dir && set -C && echo $$ >/s/inside.lock && cat /s/before`
	out, err := mappedContainer(t, m.dir+":/s:idmap", script).CombinedOutput()
	if want := "0:0\n0:0\n5:6\nmade on the host\n"; err != nil || string(out) != want {
		t.Errorf("in the container: %v, %q, want %q", err, out, want)
	}
	if dir := m.stateBelow(t, "dir"); dir.uid != 5 || dir.gid != 6 {
		t.Errorf("what the container gave to 5:6 belongs to %d:%d underneath", dir.uid, dir.gid)
	}
	if made := m.stateBelow(t, "made"); made.uid != 0 || made.bytes != "inside\n" {
		t.Errorf("what the container made: owner %d, %q", made.uid, made.bytes)
	}
	waitFor(t, "the lock of the container's shell goes", seenWithin, func() bool { return !m.exists("inside.lock") })
}

// mappedContainer runs a script in a container with a user namespace. crun refuses to work where both versions of
// control groups are mounted, so it does not get to see the second.
func mappedContainer(t testing.TB, volume, script string) *exec.Cmd {
	t.Helper()
	podman, name := need(t, "podman"), fmt.Sprintf("%s-%d", suite.tag, containers.Add(1))
	ids := fmt.Sprintf("0:%d:%d", firstID, idCount)
	t.Cleanup(func() { removeContainer(t, podman, name) })
	return exec.Command(need(t, "unshare"), "--mount", "--propagation", "slave", "sh", "-c",
		`umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"`, "sh",
		podman, "--runtime", need(t, "crun"), "run", "--rm", "--name", name, "--network=none", "--log-driver=none", "--cgroups=disabled",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--env", runEnv+"="+suite.tag, "--uidmap", ids, "--gidmap", ids,
		"-v", volume, "-v", "/usr:/usr:ro", "--rootfs", mappedRoot(t), "timeout", "30", "sh", "-c", script)
}

// mappedRoot is a root directory that belongs to the container's root: the machine's own does not.
func mappedRoot(t testing.TB) string {
	t.Helper()
	root := filepath.Join(suite.dir, "mapped-root")
	for _, dir := range []string{"", "usr", "proc", "sys", "dev", "run", "etc", "tmp", "s"} {
		mustDo(t, os.Mkdir(filepath.Join(root, dir), 0o755))
		mustDo(t, os.Chown(filepath.Join(root, dir), firstID, firstID))
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} { // as wherever /usr is all there is
		mustDo(t, os.Symlink("usr/"+link, filepath.Join(root, link)))
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	return root
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
