package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

func (a *Answer) headline() string {
	lock, owner := Printable(a.Lock), "somebody"
	if o := a.owner(); o != nil {
		owner = named(o.Comm, o.PID)
	}
	switch {
	case a.ownerGone():
		return fmt.Sprintf("%s is held: %s is dead, and left it open to another process.", lock, owner)
	case a.State == "held":
		return fmt.Sprintf("%s is held by %s, for %s.", lock, owner, age(a.Known.CreatedAt, a.At))
	case a.State == "unknown_owner":
		return fmt.Sprintf("%s is held by a process that can't be named, for %s.", lock, age(a.Known.CreatedAt, a.At))
	case a.State == "orphan":
		return fmt.Sprintf("%s is free to take: %s, which held it, is dead.", lock, owner)
	case a.State == "abandoned":
		return fmt.Sprintf("%s is in the way: %s, which made it, is dead, and it could be data.", lock, owner)
	case a.State == "untracked", a.unnoticed():
		return fmt.Sprintf("%s is in the way, and nobody was granted it.", lock)
	}
	if a.blind() {
		return lock + " is free, as far as can be told."
	}
	return lock + " is free."
}

func (a *Answer) since() string {
	text := fmt.Sprintf("%s, %s ago", a.Known.CreatedAt.In(a.At.Location()).Format(time.DateTime), age(a.Known.CreatedAt, a.At))
	if a.Known.Token != 0 {
		text += fmt.Sprintf("; token %d", a.Known.Token)
	}
	return text
}

func (a *Answer) ownerLabel() string {
	if a.State == "held" && !a.ownerGone() {
		return "owner"
	}
	return "left by"
}

func (a *Answer) knownLabel() string {
	if a.State == "held" && !a.ownerGone() {
		return "it lives"
	}
	return "because"
}

// howKnown says what the state rests on.
func (a *Answer) howKnown() string {
	switch a.State {
	case "held":
		return a.howHeld()
	case "unknown_owner":
		return "It was granted, but the kernel can't name its owner to the mount: it is outside the mount's PID namespace, " +
			"or a proxy such as nfsd or smbd. Nobody can tell whether it lives, so the lock stays until its like removes it."
	case "orphan":
		return a.howOrphan()
	case "abandoned":
		return "The kernel says that its owner is dead. But what it holds is not surely a lock, so nobody takes it away: anybody may remove it."
	case "untracked":
		return "It was there before the mount, or came past it, or was not made exclusively. Verdict: " +
			PrintableText(a.Known.Verdict) + ", " + PrintableText(a.Known.Reason) + ". Whoever wants it has it judged anew."
	}
	return a.howFree()
}

func (a *Answer) howOrphan() string {
	text := "The kernel says that all of its owner is dead, and nobody has the lock open that it made. "
	if a.File != nil && !a.File.Evidence {
		return text + "It should have been removed at once: see below, and the log, why it was not."
	}
	return text + "It stays as the sign of a turn that was cut off, until somebody takes or removes it."
}

func (a *Answer) howHeld() string {
	if a.ownerGone() {
		if !a.Known.HandleOpen {
			return "It was alive when the mount was asked, and is gone now: ask again."
		}
		return "Its owner is dead, but some process, a child as a rule, has the lock open that it made: the lock goes when that closes it."
	}
	text := "The kernel (its pidfd) says so, asked just now."
	switch {
	case a.EventsError != "":
		text = "The mount says so, asked just now."
	case !a.Watched:
		text = "/proc says so, asked just now. The kernel could not watch it: its death is noticed when somebody asks."
	}
	return strings.TrimSpace(text + " " + a.condition() + " " + a.openness())
}

func (a *Answer) openness() string {
	if a.File != nil && a.File.Git {
		return "It is git's own, which anybody may remove."
	}
	return only(a.Known.HandleOpen, "The handle that made the lock is open.")
}

// condition says what a living process is at.
func (a *Answer) condition() string {
	switch {
	case a.Hidden:
		return "From here it can't be seen: PIDs are as the mount sees them."
	case a.Process == nil:
		return ""
	}
	switch a.Process.State {
	case "R":
		return "It is running."
	case "S", "I":
		return "It sleeps."
	case "D":
		return "It waits for the kernel, or a file system, and can't be interrupted (D)."
	case "T", "t":
		return "It is stopped (SIGSTOP): that is no death, and it keeps the lock."
	case "Z":
		return "Its first thread has ended, others live."
	}
	return ""
}

func (a *Answer) howFree() string {
	switch {
	case a.unnoticed():
		return "An entry of that name is there that nobody asked for under this mount: the next exclusive create has it judged."
	case a.blind():
		return "The mount knows nothing of the name. An entry from before the mount, that nobody asked for since, could be there."
	}
	return "The mount knows nothing of the name, and nothing is there."
}

// guarded is the name of the file that the lock is for, "" if for none.
func (a *Answer) guarded() string {
	file, _ := strings.CutSuffix(filepath.Base(a.Path), ".lock")
	return only(file != filepath.Base(a.Path), file)
}

// advice is what to do now.
func (a *Answer) advice() []string {
	lock := Printable(a.Lock)
	switch {
	case a.overdue():
		return append([]string{"It is held for longer than its hold limit: anybody may remove it now, and its owner is fenced then."}, a.ending()...)
	case a.ownerGone():
		return []string{"Wait. Or end who has it open: a child of the dead one.", a.force()}
	case a.State == "held":
		return append(a.waiting(), a.ending()...)
	case a.State == "unknown_owner":
		return []string{"Find out whether its owner lives, where that runs: it can't be told here.", a.force()}
	case a.State == "orphan":
		return []string{"Nothing: the next one who asks has it at once.",
			"`sessionlockfs release " + lock + "` removes it; then no agent sees that a turn was cut off."}
	case a.Verdict == IsUnknown && !a.blind():
		return []string{"Look at what it is. If it is no data and nobody uses it, remove it:",
			"`sessionlockfs release --force " + lock + "`, or with rm, as on any directory."}
	}
	return []string{"Nothing. If an agent says that it is locked, that agent does not see this mount: " +
		"look at what is mounted where it runs (in its container)."}
}

// waiting is all that is to be done as a rule.
func (a *Answer) waiting() []string {
	if a.Process != nil && a.Process.State == "T" {
		return nil
	}
	return []string{"Nothing: who waits gets it as soon as its owner lets go, or dies."}
}

// ending is how to be rid of an owner that lives.
func (a *Answer) ending() []string {
	pid := a.owner().PID
	end := fmt.Sprintf("If it hangs, end it: `kill %d`. The lock is free as soon as it is dead.", pid)
	if a.Process != nil && a.Process.State == "T" {
		end = fmt.Sprintf("Have it go on: `kill -CONT %d`. Or end it: `kill -KILL %d`; the lock is free as soon as it is dead.", pid, pid)
	}
	if a.Hidden {
		end = fmt.Sprintf("If it hangs, end it: PID %d where the mount runs. The lock is free as soon as it is dead.", pid)
	}
	return []string{end, a.force()}
}

// force says what becomes of a former owner that lives on.
func (a *Answer) force() string {
	text := "Last resort: `sessionlockfs release --force " + Printable(a.Lock) + "`. "
	file := Printable(a.guarded())
	switch {
	case a.ownerGone():
		return text + "Who has it open does not hear of it."
	case a.guarded() == "":
		return text + "Its owner, if it lives on, does not hear of it."
	case a.State == "unknown_owner":
		return text + "Its owner, if it lives, can go on writing to " + file + ": what has no name can't be fenced."
	}
	return text + "Its owner, if it lives on, " + a.fence(file)
}

// fence is what the write guard does about that.
func (a *Answer) fence(file string) string {
	guard := ""
	if a.File != nil {
		guard = a.File.Guard
	}
	switch guard {
	case "off":
		return "can go on writing to " + file + ": the write guard is off."
	case "deny":
		return "is fenced by the write guard: its writes to " + file + " fail until it gets the lock anew."
	case "log":
		return "can go on writing to " + file + ": the write guard (--guard=log) reports that, and does not refuse it."
	}
	return "is fenced by the write guard: its writes to " + file + " are refused or reported, as --guard says."
}
