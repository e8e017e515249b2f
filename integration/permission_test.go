package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The flags of a lock are protected like its mode, and tools can set those of other files.
func TestFlags(t *testing.T) {
	m := newMount(t)
	lsattr, chattr := need(t, "lsattr"), need(t, "chattr")
	writeFile(t, m.path("file"), "data")
	mustRun(t, chattr, "+d", m.path("file"))
	if flags, err := getFlags(m.pathBelow("file")); err != nil || flags != flagNamed["nodump"] {
		t.Errorf("flags underneath: %x, %v", flags, err)
	}
	mustRun(t, lsattr, "-d", m.dir)
	holder := startHelper(t, nil, "hold", m.path("some.lock"))
	holder.line(t)
	mustBe(t, setFlags(m.path("some.lock"), flagNamed["nodump"]), syscall.EBUSY)
}

// An ordinary user's mount for others: the access control lists and modes count for them, and the umask does not where a
// default list counts.
func TestOrdinaryUsersMountForOthers(t *testing.T) {
	needRoot(t)
	need(t, "fusermount3")
	if os.Getenv(openFuseEnv) == "" {
		withOwnFuseConfiguration(t)
		return
	}
	m := newMount(t, asUser(nobody), withFlags("-o", "allow_other"))
	mine := func(name, acl string) string {
		writeFile(t, m.pathBelow(name), "data")
		err := firstError(os.Chmod(m.pathBelow(name), 0o640), os.Chown(m.pathBelow(name), int(nobody.Uid), int(nobody.Gid)))
		if acl != "" {
			err = firstError(err, unix.Setxattr(m.pathBelow(name), aclName["acl"], encodeACL(acl), 0))
		}
		if err != nil {
			t.Fatal(err)
		}
		return m.path(name)
	}
	stranger := startHelper(t, nil, "call", "stranger")
	for list, want := range map[string]string{
		"":                            "EACCES",
		"u::rw,u:1004:r,g::,m::r,o::": `opened: "data"`,
		"u::rw,u:1005:r,g::,m::r,o::": "EACCES",
	} {
		path := mine("file"+strconv.Itoa(len(want)+len(list)), list)
		if got := stranger.ask(t, m.dir+"\tread "+filepath.Base(path)+" r"); !strings.HasPrefix(got, want) {
			t.Errorf("a stranger reads a file with the list %q: %s, want %s", list, got, want)
		}
	}
	if err := unix.Setxattr(m.pathBelow(""), aclName["dacl"], encodeACL("u::rwx,g::rwx,o::rwx"), 0); err != nil {
		t.Fatal(err)
	}
	if out, err := m.command("sh", "-c", `umask 077; : > "$1"`, "sh", m.path("new")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if mode := m.stateBelow(t, "new").mode & 0o777; mode != 0o666 {
		t.Errorf("a file made in a directory with a default list has mode %o, want 666", mode)
	}
}

// withOwnFuseConfiguration runs the test once more in a mount namespace where /dev/fuse is open to everybody and users may
// mount for others. What the machine has stays as it is.
func withOwnFuseConfiguration(t *testing.T) {
	t.Helper()
	private := filepath.Join(suite.dir, "fuse")
	if err := os.Mkdir(private, 0o755); err != nil {
		t.Fatal(err)
	}
	script := `mount -t tmpfs none "$1" && mknod -m 666 "$1/fuse" c 10 229 && echo user_allow_other > "$1/fuse.conf" &&
		mount --bind "$1/fuse" /dev/fuse && mount --bind "$1/fuse.conf" /etc/fuse.conf && shift && exec "$@"`
	cmd := exec.Command(need(t, "unshare"), "--mount", "--propagation", "private", "sh", "-c", script, "sh", private,
		suite.helper, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "2m")
	cmd.Env = append(os.Environ(), openFuseEnv+"=1", "SESSIONLOCKFS_BINARY="+suite.binary)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with a configuration of its own: %v\n%s", err, out)
	}
}
