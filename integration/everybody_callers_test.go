package integration

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// person is a caller: its ids, and for which capabilities it has power beyond them.
type person struct {
	name         string
	uid, gid     int
	groups       []int
	capabilities func(all uint64) uint64
	ofFew        bool // one of the few
}

// ownerUID has a name on every system: fusermount3 wants one of who mounts.
const ownerUID, ownerGID = 65534, 2001

var everybody = []person{
	{"root", 0, 0, nil, func(all uint64) uint64 { return all }, true},
	{"powerless", 0, 0, nil, nil, false}, // a root without capabilities
	{"owner", ownerUID, ownerGID, nil, nil, true},
	{"member", 1002, ownerGID, nil, nil, false},
	{"supplementary", 1003, 2003, []int{ownerGID, 2009}, nil, false},
	{"stranger", 1004, 2004, []int{2009}, nil, true},
	{"keeper", 1005, 2005, nil, func(uint64) uint64 { return 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID }, false},
	{contained, 0, 0, nil, func(all uint64) uint64 { return all }, false},
}

// contained is root in a user namespace of its own, where it is known as containedID to us and has power over
// the ids that are mapped there.
const (
	contained   = "contained"
	containedID = 100000
)

// takesPart is where it makes a difference that this caller asks: of a user namespace, where its ids are.
func (p person) takesPart(setUp string, few bool) bool {
	if p.name == contained {
		return strings.Contains(setUp, strconv.Itoa(containedID+5))
	}
	return !few || p.ofFew
}

func startCaller(t testing.TB, name string) *helper {
	t.Helper()
	if name != contained {
		return startHelper(t, nil, "call", name)
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: containedID, Size: 1000}}
	cmd := commandAs(nil, suite.helper, name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: 0, Gid: 0},
	}
	return startAsHelper(t, cmd, "call")
}

// helpCall makes calls as somebody: it reads a directory and calls per line and answers with what came of them.
func helpCall(arguments []string) error {
	runtime.LockOSThread() // credentials are the thread's here
	for _, p := range everybody {
		if p.name == arguments[0] {
			if err := become(p); err != nil {
				return fmt.Errorf("become %s: %w", p.name, err)
			}
		}
	}
	unix.Umask(0o022)
	for scan := bufio.NewScanner(os.Stdin); scan.Scan(); {
		dir, steps, _ := strings.Cut(scan.Text(), "\t")
		var results []string
		for _, step := range strings.Split(steps, ";") {
			words := strings.Fields(step)
			results = append(results, perform(dir, words)+sight(dir, words))
		}
		fmt.Println(strings.Join(results, "; "))
	}
	return nil
}

func become(p person) error {
	groups := make([]uint32, len(p.groups)+1)
	for i, g := range p.groups {
		groups[i] = uint32(g)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had, data [2]unix.CapUserData
	if err := unix.Capget(&header, &had[0]); err != nil {
		return err
	}
	call := func(number uintptr, a, b, c uintptr) error {
		if _, _, errno := unix.RawSyscall(number, a, b, c); errno != 0 {
			return errno
		}
		return nil
	}
	err := firstError(
		unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0),
		call(unix.SYS_SETGROUPS, uintptr(len(p.groups)), uintptr(unsafe.Pointer(&groups[0])), 0),
		call(unix.SYS_SETRESGID, uintptr(p.gid), uintptr(p.gid), uintptr(p.gid)),
		call(unix.SYS_SETRESUID, uintptr(p.uid), uintptr(p.uid), uintptr(p.uid)),
	)
	if err != nil {
		return err
	}
	var keep uint64
	if p.capabilities != nil {
		keep = p.capabilities(uint64(had[1].Permitted)<<32 | uint64(had[0].Permitted))
	}
	for i := range data {
		data[i].Effective, data[i].Permitted = uint32(keep>>(32*i)), uint32(keep>>(32*i))
	}
	return unix.Capset(&header, &data[0])
}
