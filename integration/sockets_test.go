package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/internal/control"
)

// Where a mount can be asked past the mount, and by whom.

// Without an address of another kind nobody but this machine's processes can ask.
func TestMetricsListen(t *testing.T) {
	for name, test := range map[string]struct {
		flags []string
		want  []string
	}{
		"nowhere":          {nil, nil},
		"port":             {[]string{"--metrics-listen", "0"}, []string{"127.0.0.1"}},
		"port and colon":   {[]string{"--metrics-listen", ":0"}, []string{"127.0.0.1"}},
		"given explicitly": {[]string{"--metrics-listen", "0.0.0.0:0"}, []string{"0.0.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, withFlags(test.flags...))
			if test.flags != nil {
				mustTellMetricsOnly(t, m.metricsAddress(t))
			}
			var hosts []string
			for _, address := range listening(t, m.serverPID(t)) {
				hosts = append(hosts, address.Addr().String())
			}
			if !slices.Equal(hosts, test.want) {
				t.Errorf("listens on %q, want %q", hosts, test.want)
			}
		})
	}
}

// metricsAddress is what the log says of it.
func (m *mount) metricsAddress(t testing.TB) (address string) {
	t.Helper()
	waitFor(t, "metrics are told", waitDeadline, func() bool {
		for line := range strings.Lines(m.log.String()) {
			var said struct{ Message, Address string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Message == "metrics" {
				address = said.Address
			}
		}
		return address != ""
	})
	return address
}

func mustTellMetricsOnly(t testing.TB, address string) {
	t.Helper()
	ask := http.Client{Timeout: waitDeadline}
	defer ask.CloseIdleConnections()
	answer, err := ask.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusOK || !strings.Contains(string(text), "\nsessionlockfs_locks{") {
		t.Errorf("GET /metrics: %s\n%.200s", answer.Status, text)
	}
	if kind := answer.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Errorf("the metrics are %q", kind)
	}
	for _, path := range []string{"/", "/locks", "/events"} {
		other, err := ask.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		other.Body.Close()
		if other.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s", path, other.Status)
		}
	}
	command, err := ask.Post("http://"+address+"/command", "text/plain", strings.NewReader("release --force a.lock"))
	if err != nil {
		t.Fatal(err)
	}
	command.Body.Close()
	if command.StatusCode != http.StatusNotFound {
		t.Errorf("POST /command: %s", command.Status)
	}
}

// listening are the addresses of TCP on which a process listens.
func listening(t testing.TB, pid int) (addresses []netip.AddrPort) {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	sockets := map[string]bool{}
	for _, link := range links {
		to, _ := os.Readlink(link)
		sockets[to] = true
	}
	const listens = "0A" // TCP_LISTEN
	for _, file := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(readText(t, fmt.Sprintf("/proc/%d/net/%s", pid, file))) {
			fields := strings.Fields(line)
			if fields[3] == listens && sockets["socket:["+fields[9]+"]"] {
				addresses = append(addresses, procAddress(t, fields[1]))
			}
		}
	}
	return addresses
}

// procAddress reads an address of /proc/net/tcp: words of 32 bits, each in the order of the machine.
func procAddress(t testing.TB, text string) netip.AddrPort {
	t.Helper()
	words, port, _ := strings.Cut(text, ":")
	var bytes []byte
	for ; len(words) >= 8; words = words[8:] {
		var word [4]byte
		if _, err := fmt.Sscanf(words[:8], "%02X%02X%02X%02X", &word[3], &word[2], &word[1], &word[0]); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		bytes = append(bytes, word[:]...)
	}
	addr, ok := netip.AddrFromSlice(bytes)
	var number uint16
	if _, err := fmt.Sscanf(port, "%04X", &number); err != nil || !ok {
		t.Fatalf("%s is no address: %v", text, err)
	}
	return netip.AddrPortFrom(addr, number)
}

func TestControlSocketIsPrivate(t *testing.T) {
	m := newMount(t)
	var st unix.Stat_t
	if err := unix.Stat(m.dir, &st); err != nil {
		t.Fatal(err)
	}
	path := control.Path(st.Dev)
	waitFor(t, "there is a control socket", waitDeadline, func() bool {
		_, err := os.Lstat(path)
		return err == nil
	})
	var asked unix.Stat_t
	if err := unix.Lstat(path, &asked); err != nil || asked.Mode != unix.S_IFSOCK|0o600 || asked.Uid != 0 {
		t.Errorf("%s: mode %o of user %d, %v; want a socket with mode 600 of root", path, asked.Mode, asked.Uid, err)
	}
	for who, test := range map[string]struct {
		user *syscall.Credential
		want string
	}{
		"root":                  {nil, "connected"},
		"nobody":                {nobody, syscall.EACCES.Error()},
		"another user's groups": {&syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{100}}, syscall.EACCES.Error()},
	} {
		if said := startHelper(t, test.user, "connect", path).line(t); said != test.want {
			t.Errorf("%s: %s, want %s", who, said, test.want)
		}
	}
}

// helpConnect says whether it can connect to a socket.
func helpConnect(arguments []string) error {
	var errno syscall.Errno
	c, err := net.DialTimeout("unix", arguments[0], time.Second)
	switch {
	case err == nil:
		fmt.Println("connected")
		return c.Close()
	case errors.As(err, &errno):
		fmt.Println(errno.Error())
		return nil
	}
	return err
}
