package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
	"sessionlockfs/internal/control"
	"sessionlockfs/reclaim"
)

// mounted looks at a mount of ours, and at what is below it.
func (x *examination) mounted(p *place) {
	a := lookAtArbiter(p)
	x.add(checkMount(p.path, a))
	if a.pulse == dead {
		x.deadMount(p)
	}
	if a.pulse != dead && a.pulse != private {
		x.add(checkSocket(a.socketErr))
	}
	if a.dump != nil {
		x.add(checkHolder(a), checkProgram(p.path, a.dump.Mount, x.version))
	}
	x.ground(p, a.holder)
	if !p.overItself() {
		x.add(ok("real directory", "%s is not covered: whoever uses it goes past the mount", cli.Printable(p.source)))
	}
	if a.pulse != dead && a.server == 0 {
		x.add(ok("bystanders", "not looked for: which processes are the mount's own can't be told"))
	} else {
		x.bystanders(p, a.family())
	}
	if a.dump != nil {
		x.add(checkLocks(p.path, a.dump.Locks, x.now)...)
	}
}

// deadMount can be cleared, but for who has the mount in another namespace.
func (x *examination) deadMount(p *place) {
	x.cures = append(x.cures, clearing(p.path))
	holders := cli.Ask(func() []string { return reclaim.New(reclaim.Options{}).MountHolders(p.top.Device) })
	if len(holders) > 0 {
		x.add(fail("mount", "end them", "the dead mount is still there, in other mount namespaces, for %s", cli.PrintableText(cli.Some(holders))))
	}
}

// clearing takes dead mounts away, with the sockets that they have left.
func clearing(path string) cure {
	return cure{"mount", "the dead mount " + cli.Printable(path) + " is cleared", func() error {
		top, _ := mount.Top(path)
		if err := mount.ClearDead(path); err != nil {
			return err
		}
		for _, s := range control.Sockets() {
			if s.Device == top.Device {
				_ = s.RemoveDead()
			}
		}
		return nil
	}}
}

func checkMount(path string, a *arbiter) Finding {
	const check = "mount"
	name := cli.Printable(path)
	switch a.pulse {
	case dead:
		return fail(check, fmt.Sprintf("`sessionlockfs doctor --fix %s` clears it; then `sessionlockfs mount %s`", name, name),
			"%s is a dead mount (\"Transport endpoint is not connected\"): its processes are gone", name)
	case silent:
		return checkSilent(name, a)
	case failing:
		return fail(check, "see the log of the mount: its servers may be dying one after the other", "%s answers: %v", name, a.err)
	case private:
		return ok(check, "%s is another user's, and lets nobody else in: ask again as that user", name)
	}
	return ok(check, "%s answers%s%s", name, a.who(), a.waits())
}

// checkSilent says what can be seen of a mount that gives no answer.
func checkSilent(name string, a *arbiter) Finding {
	found := fmt.Sprintf("%s gives no answer within %s%s%s", name, answerWithin, a.waits(), a.who())
	if len(a.stopped) > 0 {
		pids := strings.Trim(fmt.Sprint(a.stopped), "[]")
		return fail("mount", "kill -CONT "+pids, "%s; stopped: %s", found, pids)
	}
	fix := fmt.Sprintf("it is replaced when it has hung for %s; if not, see its log", mount.DefaultHangLimit)
	if a.server != 0 {
		fix += fmt.Sprintf(", and kill -QUIT %d has it say what it does, and be replaced", a.server)
	}
	return fail("mount", fix, "%s", found)
}

func (a *arbiter) who() string {
	if a.server == 0 {
		return ""
	}
	return fmt.Sprintf(", server PID %d, holder PID %d", a.server, a.holder)
}

func (a *arbiter) waits() string {
	switch {
	case a.waiting <= 0:
		return ""
	case a.waiting == 1:
		return ", 1 request waits"
	}
	return fmt.Sprintf(", %d requests wait", a.waiting)
}

// checkHolder is about the process that has another server go on if this one dies.
func checkHolder(a *arbiter) Finding {
	const check = "holder"
	if a.orphaned {
		return warn(check, "when it suits you: sessionlockfs unmount, and mount again", "the holder (PID %d) is gone: if the server dies, the mount does", a.holder)
	}
	return ok(check, "if the server dies, another one goes on")
}

// checkProgram compares the program that serves with this one.
func checkProgram(path string, m fsnode.MountDump, own string) Finding {
	const check = "program"
	var news mount.News
	upgrade := "sessionlockfs upgrade " + cli.Printable(path)
	if m.Upgrade != nil && json.Unmarshal(m.Upgrade, &news) == nil && news.Failed != "" {
		return warn(check, "see the log of the mount; then "+upgrade, "the last upgrade failed: %s", cli.PrintableText(news.Failed))
	}
	if m.Release != own {
		return warn(check, upgrade, "%s serves, and this is %s", cli.PrintableText(m.Release), own)
	}
	return ok(check, "the mount is served by this version (%s)", own)
}

// checkSocket is about how a mount that hangs can be asked what hangs.
func checkSocket(err error) Finding {
	const check = "control socket"
	switch {
	case err == nil:
		return ok(check, "answers")
	case errors.Is(err, fs.ErrPermission):
		return ok(check, "is not for us to ask: for root, who mounted, and the group of --control-group")
	case errors.Is(err, fs.ErrNotExist) && os.Geteuid() != 0 && os.Getenv("XDG_RUNTIME_DIR") == "":
		return ok(check, "there is none: a user's is in $XDG_RUNTIME_DIR, which is not set")
	case errors.Is(err, fs.ErrNotExist):
		return warn(check, "look from the host, if this is a container; else see the log of the mount, and `sessionlockfs upgrade`", "there is none: if the mount hangs, it can't be asked why")
	case errors.Is(err, unix.ECONNREFUSED):
		return warn(check, "see the log of the mount, and `sessionlockfs upgrade`", "nobody listens on it: if the mount hangs, it can't be asked why")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fail(check, "see what is said of the mount", "gives no answer within %s", answerWithin)
	}
	return fail(check, "see the log of the mount", "does not answer: %s", cli.PrintableText(err.Error()))
}
