package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	readyDeadline = 120 * time.Second // a client loads tens of megabytes of JavaScript
	replyDeadline = 60 * time.Second  // beyond the time a command was given itself
)

// args are the parameters of a command for the driver.
type args map[string]any

// reply is the driver's answer; which fields are set depends on the command.
type reply struct {
	ID    int     `json:"id"`
	Ready bool    `json:"ready"`
	OK    bool    `json:"ok"`
	MS    float64 `json:"ms"`
	At    float64 `json:"at"` // when it ended, in milliseconds since the epoch
	Error string  `json:"error"`
	Code  string  `json:"code"`
	Tries []try   `json:"tries"`

	PID      int      `json:"pid"`
	Lock     string   `json:"lock"`
	Handle   string   `json:"handle"`
	Ino      string   `json:"ino"`
	Text     string   `json:"text"`
	Names    []string `json:"names"`
	Locks    []string `json:"locks"`
	Cleaned  []string `json:"cleaned"`
	Warnings []string `json:"warnings"`
	Held     bool     `json:"held"`
	Status   int      `json:"status"`
	Stderr   string   `json:"stderr"`
}

// try is an exclusive create of the lock that a command asked for.
type try struct {
	At   float64 `json:"at"`   // when it was asked for, in milliseconds since the epoch
	Code string  `json:"code"` // "" if it was made
}

func moment(epochMS float64) time.Time { return time.UnixMicro(int64(epochMS * 1000)) }

// since says how long after a moment the command ended.
func (rep reply) since(start time.Time) time.Duration { return moment(rep.At).Sub(start) }

func (rep reply) String() string {
	if rep.OK {
		return fmt.Sprintf("ok after %.0f ms", rep.MS)
	}
	return fmt.Sprintf("%q (%s) after %.0f ms", rep.Error, rep.Code, rep.MS)
}

// client is a driver process: the lock functions of one OpenClaw, or only file operations.
type client struct {
	pid   int // in our PID namespace
	nsPID int // in its own

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	exited chan struct{}
	ready  chan reply
	log    *logBuffer

	mu      sync.Mutex
	serial  int
	pending map[int]chan reply
}

// clientSpec says which driver to start and where.
type clientSpec struct {
	where       place
	version     string // "": only file operations
	gateway     bool
	packages    bool // the lock functions of other packages
	noStartTime bool // the client can't tell the start time of any process
}

func needClients(t testing.TB) {
	t.Helper()
	if suite.node == "" || suite.clients == "" {
		skip(t, "no Node or no clients: run scripts/deps.sh")
	}
}

// clients starts one client of the run's version in each place, side by side.
func (r *run) clients(m *mount, where ...place) []*client {
	r.Helper()
	var specs []clientSpec
	for _, place := range where {
		specs = append(specs, r.spec(place))
	}
	return startClients(r, m, specs...)
}

func (r *run) spec(where place) clientSpec {
	return clientSpec{where: where, version: r.version, gateway: r.gateway}
}

// starting is for whoever starts clients: such a one keeps a processor busy for a second or two. No more do that at a
// time than there are processors, so that those who measure a time, or wait for it to pass, are not held up. It returns
// what is to be called when they have started.
func starting() (done func()) {
	suite.starting <- struct{}{}
	return func() { <-suite.starting }
}

// place starts what a client runs commands in: a worker thread or a child.
func (c *client) place(t testing.TB, op string, parameters args) reply {
	t.Helper()
	defer starting()()
	return c.must(t, op, parameters)
}

func startClients(t testing.TB, m *mount, specs ...clientSpec) []*client {
	t.Helper()
	needClients(t)
	defer starting()()
	var list []*client
	var sources []hostPIDSource
	for _, spec := range specs {
		c, source := launch(t, m, spec)
		list, sources = append(list, c), append(sources, source)
		if spec.where == inContainer {
			// The next one starts after this one is there: clients tell processes apart by start times in ticks of 10 ms.
			c.pid = source(t, c.cmd, 0)
		}
	}
	for i, c := range list {
		c.waitReady(t)
		if c.pid != 0 {
			continue
		}
		c.pid = sources[i](t, c.cmd, c.nsPID)
	}
	return list
}

func (s clientSpec) argv(t testing.TB) []string {
	argv := []string{suite.node, suite.driver}
	if s.version != "" {
		dir, err := filepath.EvalSymlinks(filepath.Join(suite.clients, "openclaw-"+s.version, "node_modules/openclaw"))
		if err != nil {
			skip(t, err.Error())
		}
		argv = append(argv, "--openclaw", dir)
	}
	if s.packages {
		if suite.packages == "" {
			skip(t, "no packages: run scripts/deps.sh")
		}
		argv = append(argv, "--packages", suite.packages)
	}
	if s.gateway {
		argv = append(argv, "--title")
	}
	if s.noStartTime {
		argv = append(argv, "--no-start-time")
	}
	return argv
}

func launch(t testing.TB, m *mount, spec clientSpec) (*client, hostPIDSource) {
	t.Helper()
	argv, source := spec.where.wrap(t, m, spec.argv(t))
	c := &client{
		cmd: exec.Command(argv[0], argv[1:]...), log: &logBuffer{},
		exited: make(chan struct{}), ready: make(chan reply, 1), pending: map[int]chan reply{},
	}
	c.cmd.Stderr = c.log
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go c.listen(stdout)
	t.Cleanup(func() { c.end(t) })
	return c, source
}

// listen hands out answers until the client is gone; what waits then learns that.
func (c *client) listen(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var rep reply
		// A client may print lines of its own.
		if json.Unmarshal(lines.Bytes(), &rep) != nil {
			continue
		}
		if rep.Ready {
			c.ready <- rep
			continue
		}
		c.take(rep.ID) <- rep
	}
	c.cmd.Wait()
	close(c.exited)
}

// take removes a waiting command; answers to unknown ones go nowhere.
func (c *client) take(id int) chan reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting, ok := c.pending[id]
	if !ok {
		return make(chan reply, 1)
	}
	delete(c.pending, id)
	return waiting
}

func (c *client) waitReady(t testing.TB) {
	t.Helper()
	select {
	case rep := <-c.ready:
		c.nsPID = rep.PID
	case <-c.exited:
		t.Fatalf("client ended: %v\n%s", c.cmd.ProcessState, c.log)
	case <-time.After(readyDeadline):
		t.Fatalf("client is not ready after %v\n%s", readyDeadline, c.log)
	}
}

// end makes sure the client is gone, with whatever it runs in.
func (c *client) end(t testing.TB) {
	if text := c.log.String(); t.Failed() && text != "" {
		t.Logf("client %d says:\n%s", c.pid, text)
	}
	c.stdin.Close()
	if c.pid != 0 {
		syscall.Kill(c.pid, syscall.SIGKILL)
	}
	select {
	case <-c.exited:
		return
	case <-time.After(100 * time.Millisecond):
		// Where a parent of ours outlives the client; podman instead has a container to remove.
		if filepath.Base(c.cmd.Path) != "podman" {
			c.cmd.Process.Kill()
		}
	}
	select {
	case <-c.exited:
	case <-time.After(30 * time.Second):
		c.cmd.Process.Kill()
		t.Errorf("client %d did not end", c.pid)
	}
}

// pendingReply is a command under way.
type pendingReply struct {
	client   *client
	op       string
	answer   chan reply
	deadline time.Duration
}

// begin sends a command and does not wait for the answer.
func (c *client) begin(t testing.TB, op string, parameters args) *pendingReply {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serial++
	command := args{"id": c.serial, "op": op}
	for name, value := range parameters {
		command[name] = value
	}
	pending := &pendingReply{c, op, make(chan reply, 1), replyDeadline}
	if ms, ok := parameters["timeoutMs"].(int); ok {
		pending.deadline += time.Duration(ms) * time.Millisecond
	}
	c.pending[c.serial] = pending.answer
	line, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.stdin.Write(append(line, '\n')); err != nil {
		t.Fatalf("%s: %v\n%s", op, err, c.log)
	}
	return pending
}

func (p *pendingReply) wait(t testing.TB) reply {
	t.Helper()
	select {
	case rep := <-p.answer:
		return rep
	case <-p.client.exited:
		t.Fatalf("%s: the client ended\n%s", p.op, p.client.log)
	case <-time.After(p.deadline):
		t.Fatalf("%s: no answer after %v\n%s", p.op, p.deadline, p.client.log)
	}
	return reply{}
}

// do sends a command and waits for its answer, which may be an error.
func (c *client) do(t testing.TB, op string, parameters args) reply {
	t.Helper()
	return c.begin(t, op, parameters).wait(t)
}

// must is for commands that can't fail in a working world.
func (c *client) must(t testing.TB, op string, parameters args) reply {
	t.Helper()
	rep := c.do(t, op, parameters)
	if !rep.OK {
		t.Fatalf("%s %v: %v", op, parameters, rep)
	}
	return rep
}

// kill returns the moment just before the signal.
func (c *client) kill(t testing.TB) time.Time {
	t.Helper()
	before := time.Now()
	c.signal(t, syscall.SIGKILL)
	return before
}

func (c *client) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(c.pid, signal); err != nil {
		t.Fatalf("%v to %d: %v", signal, c.pid, err)
	}
}

// waitState waits until the client's process is in one of the states of /proc/PID/stat; "" stands for gone.
func (c *client) waitState(t testing.TB, states string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("state %q of process %d", states, c.pid), waitDeadline, func() bool {
		state := processState(c.pid)
		return state == 0 && states == "" || state != 0 && strings.IndexByte(states, state) >= 0
	})
}

// waitDead waits until the kernel calls the process dead.
func (c *client) waitDead(t testing.TB) {
	t.Helper()
	waitFor(t, fmt.Sprintf("death of process %d", c.pid), waitDeadline, func() bool { return isDead(c.pid) })
}

// writeLock makes a lock by hand and keeps it open, as all these clients do.
func (c *client) writeLock(t testing.TB, path, payload string) reply {
	t.Helper()
	opened := c.must(t, "open", args{"path": path, "flags": "wx"})
	c.must(t, "write", args{"handle": opened.Handle, "text": payload})
	return opened
}

// payload is what clients up to 2026.3.1 write.
func payload(pid int, created time.Time) string {
	return fmt.Sprintf("{\n  \"pid\": %d,\n  \"createdAt\": %q\n}", pid, created.UTC().Format("2006-01-02T15:04:05.000Z"))
}
