package reclaim

import (
	"fmt"
	"slices"
	"time"

	"sessionlockfs/lockmgr"
)

// Subject is an untracked lock file to be judged.
type Subject struct {
	Inode     lockmgr.InodeID // of the real file
	Name      string          // of its entry, without directories
	UID       uint32          // owner of the file
	Age       time.Duration   // now minus the latest of mtime and ctime
	KeepsOpen bool            // it has the shape of clients that keep it open while they hold it
	PID       int32           // that it names, if it is a bare integer or JSON of another shape; 0 else
	Written   time.Time       // the latest of mtime and ctime: what it says is no younger, whoever had the file before
	Grace     time.Duration   // how old it must be to be judged dead
	Remote    bool            // it lies on a network file system, where another machine may have made it
	Unopened  bool            // the kernel says that nobody has the real file open; see fcntl(2), F_SETLEASE
}

func (s *Subject) judgeable() bool { return s.KeepsOpen || s.PID > 0 }

// Judge gives the verdict on one untracked lock file.
//
// A client that keeps its lock file open is alive if some process has the file open:
// directly, or through an earlier mount over the same tree, where it bears the same name
// and inode number on another device, and is open for writing, as who made it has it: who only
// reads it through the mount is a contender. If nobody has, the verdict is Dead, unless the file is
// younger than its grace or a process that could well have it can't be looked at.
// A file that names a PID is alive also if a process may have written it that has closed it:
// see bearer. Files of other clients are Unknown here.
//
// It reads all of /proc: one statx for each open file of each process, and all of it
// twice before anything is called dead, because a process may hand its files to a child
// while we look. That is some milliseconds per thousand open files, so many
// files are better judged by one JudgeAll. Never asks a file system, but see descriptor.inode.
func (p *Processes) Judge(s Subject) lockmgr.Finding {
	return p.JudgeAll([]Subject{s})[0]
}

// JudgeAll gives the verdicts on many, in their order, for the cost of one.
func (p *Processes) JudgeAll(subjects []Subject) []lockmgr.Finding {
	c := newCensus(subjects)
	if len(c.byName) > 0 {
		for range 2 {
			if err := c.take(p); err != nil {
				c.failed = err
				break
			}
			if c.everybodyFound() {
				break
			}
		}
	}
	findings := make([]lockmgr.Finding, len(subjects))
	for i, s := range subjects {
		findings[i] = p.find(c, i, s)
	}
	return findings
}

func (p *Processes) find(c *census, i int, s Subject) lockmgr.Finding {
	if !s.judgeable() {
		return lockmgr.Finding{Reason: "nothing tells whether its maker holds it"}
	}
	if f, ok := p.oldest(c.holders[i]); ok {
		return f
	}
	f := p.unheld(c, s)
	if readers := c.readers[i]; len(readers) > 0 && (f.Verdict == lockmgr.Dead || f.Verdict == lockmgr.Recycled) {
		return lockmgr.Finding{Reason: p.proc.named(readers[0]) + " has it open"}
	}
	return f
}

// unheld is the finding on one that no maker has open.
func (p *Processes) unheld(c *census, s Subject) lockmgr.Finding {
	if c.failed != nil {
		return lockmgr.Finding{Reason: fmt.Sprintf("can't tell who has it open: %v", c.failed)}
	}
	if who, ok := p.hiddenFrom(c.opaque, s.UID); ok && !s.Unopened {
		return lockmgr.Finding{Reason: "can't see whether " + who + " has it open"}
	}
	if s.Remote {
		return lockmgr.Finding{Reason: "it lies on a network file system: another machine may hold it"}
	}
	if !s.KeepsOpen {
		return p.bearer(s)
	}
	if s.Age < s.Grace {
		return lockmgr.Finding{Reason: fmt.Sprintf("nobody has it open, but it is younger than %v", s.Grace)}
	}
	return lockmgr.Finding{Verdict: lockmgr.Dead, Reason: "nobody has it open"}
}

// oldest makes the finding that a file is held. Of several processes the one that
// started first is the owner: the others are its children, mostly. One that has died since
// it was seen may have left the file to another, so there is a finding all the same.
func (p *Processes) oldest(pids []int32) (lockmgr.Finding, bool) {
	if len(pids) == 0 {
		return lockmgr.Finding{}, false
	}
	var first lockmgr.Identity
	for _, pid := range pids {
		id, err := p.identityOf(pid)
		if err == nil && (!first.Known() || id.StartTime < first.StartTime) {
			first = id
		}
	}
	if !first.Known() {
		return lockmgr.Finding{Reason: fmt.Sprintf("PID %d kept it open until just now", pids[0])}, true
	}
	owner := p.Describe(first)
	return lockmgr.Finding{
		Verdict: lockmgr.Alive,
		Reason:  processName(owner.Comm, owner.PID) + " keeps it open",
		Owner:   owner,
	}, true
}

// hiddenFrom names a process that we may not look into and that has the file owner's
// user id, as real, effective, saved or file system one.
func (p *Processes) hiddenFrom(pids []int32, uid uint32) (string, bool) {
	for _, pid := range pids {
		text, err := p.proc.status(pid)
		if err == nil && slices.Contains(statusNumbers(text, "Uid"), int64(uid)) {
			return p.proc.named(pid), true
		}
	}
	return "", false
}

// census is who has which of the subjects open.
type census struct {
	subjects []Subject
	byInode  map[uint64][]int // subjects by inode number, on whatever device
	byName   map[string][]int
	holders  map[int][]int32 // PIDs by subject
	readers  map[int][]int32 // those that only read what need not be kept open, as anybody may
	opaque   []int32         // processes we may not look into
	failed   error           // /proc can't be read at all
}

func newCensus(subjects []Subject) *census {
	c := &census{subjects: subjects, holders: map[int][]int32{}, readers: map[int][]int32{}, byInode: map[uint64][]int{}, byName: map[string][]int{}}
	for i, s := range subjects {
		if s.judgeable() {
			c.byInode[s.Inode.Ino] = append(c.byInode[s.Inode.Ino], i)
			c.byName[s.Name] = append(c.byName[s.Name], i)
		}
	}
	return c
}

func (c *census) everybodyFound() bool {
	for i, s := range c.subjects {
		if s.judgeable() && len(c.holders[i]) == 0 {
			return false
		}
	}
	return true
}

// take looks at every process but our own.
func (c *census) take(p *Processes) error {
	pids, err := p.proc.pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if !p.ours(pid) {
			c.visit(p, pid)
		}
	}
	return nil
}

// visit looks at one. What its links lead to is not told while it is inside execve(2): then
// it may have anything open.
func (c *census) visit(p *Processes, pid int32) {
	type glance struct {
		holds, reads []int // subjects
		hidden       bool
	}
	got, ok := patiently(&p.waits, pid, muchPatience, func() (g glance, _ error) {
		s := p.proc.descriptors(pid, func(d descriptor) bool {
			found, sight := c.match(d)
			for _, i := range found {
				if c.subjects[i].KeepsOpen || d.writable() {
					g.holds = append(g.holds, i)
				} else {
					g.reads = append(g.reads, i)
				}
			}
			g.hidden = sight == opaque
			return g.hidden
		})
		g.hidden = g.hidden || s == opaque
		return g, nil
	})
	note(c.holders, got.holds, pid)
	note(c.readers, got.reads, pid)
	if !ok || got.hidden {
		c.opaque = append(c.opaque, pid)
	}
}

func note(who map[int][]int32, subjects []int, pid int32) {
	for _, i := range subjects {
		if !slices.Contains(who[i], pid) {
			who[i] = append(who[i], pid)
		}
	}
}

// match returns the subjects that an open file is. The link is read only when the number
// fits or when there is none to be had, which is so for a mount that is broken or private.
func (c *census) match(d descriptor) (found []int, s sight) {
	dev, ino, err := d.inode()
	if vanished(err) {
		return nil, seen
	}
	candidates := c.byInode[ino]
	if err == nil && len(candidates) == 0 {
		return nil, seen
	}
	base, linkErr := d.base()
	if err != nil {
		return c.byName[base], sightOf(linkErr)
	}
	for _, i := range candidates {
		past := c.subjects[i].Inode.Dev == dev
		if past || linkErr == nil && c.subjects[i].Name == base && d.writable() {
			found = append(found, i)
		}
	}
	return found, seen
}
