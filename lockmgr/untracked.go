package lockmgr

import (
	"errors"
	"time"
)

// judgeAgain is how long an unknown verdict stands before the entry is judged anew
// when it is in somebody's way: a judgement costs a walk over all processes.
const judgeAgain = time.Second

// inquiry is what is known of who made an untracked entry.
type inquiry struct {
	finding Finding
	shape   Payload   // if it was judged dead: what that is about
	at      time.Time // when it was last sent to the judge
}

// judged is the entry's inquiry, zero if there is none.
func (e *entry) judged() inquiry {
	if e.inquiry == nil {
		return inquiry{}
	}
	return *e.inquiry
}

// judging is the same to be filled in.
func (e *entry) judging() *inquiry {
	if e.inquiry == nil {
		e.inquiry = &inquiry{}
	}
	return e.inquiry
}

// meet takes notice of an untracked entry that stands in the way of an exclusive
// create, and has it judged. The turn is taken.
func (m *Manager) meet(e *entry, found InodeID) {
	if m.Now().Sub(e.judged().at) < judgeAgain {
		return
	}
	content, err := m.Tree.Content(e.key, found)
	if err != nil {
		return
	}
	if e.state == Free {
		e.state, e.since = Untracked, m.Now()
		m.track(e, found)
	}
	e.kind = content.Kind
	j := e.judging()
	j.at = m.Now()
	if e.git {
		j.finding = Finding{Reason: "it is git's own, and git judges none"}
		return
	}
	if !Judgeable(content, e.key.Name) {
		j.finding = Finding{Reason: notJudged(content)}
		return
	}
	j.finding.Reason = "not judged yet"
	m.Judge.Judge(e.key, found)
}

// notJudged says why nobody is asked about an entry.
func notJudged(c Content) string {
	switch p, ok := ParsePayload(c); {
	case c.Kind == KindDir:
		return "it is a directory, and nothing tells who made it"
	case !ok:
		return "it could be data"
	case p.Empty:
		return "it is empty, and nothing tells who made it"
	}
	return "it names no process that there could be"
}

// Met takes notice of an untracked entry that was there before the mount.
func (m *Manager) Met(k Key, inode InodeID) {
	e := m.enter(k)
	defer m.leave(e)
	if e.state == Free {
		m.meet(e, inode)
	}
}

// MetInGit is Met for a lock of git's own, which a person wants released: it is not judged,
// and no rule but git's holds for it (rule 9).
func (m *Manager) MetInGit(k Key, inode InodeID) {
	e := m.enter(k)
	defer m.leave(e)
	if e.state != Free {
		return
	}
	e.git = true
	if m.meet(e, inode); e.state == Free { // it went meanwhile
		e.git = false
	}
}

// Judged is the judge's answer. Alive, by a process that is known: adopted, protected
// and shown as held. Dead: an orphan. Anything else leaves it as it is.
func (m *Manager) Judged(k Key, inode InodeID, f Finding) {
	e := m.enterKnown(k)
	if e == nil {
		return
	}
	defer m.leave(e)
	if e.state != Untracked || e.inode != inode {
		return
	}
	e.judging().finding = f
	switch f.Verdict {
	case Alive:
		m.adopt(e, f)
	case Dead, Recycled:
		m.orphanUntracked(e, f)
	}
}

// adopt grants an untracked lock to the process that is found to hold it. Its handle
// was not opened through us, so the owner's death alone makes it an orphan.
func (m *Manager) adopt(e *entry, f Finding) {
	if !f.Owner.Known() {
		return
	}
	if _, err := m.Tree.Content(e.key, e.inode); errors.Is(err, ErrGone) {
		m.forget(e)
		return
	}
	e.state, e.owner, e.adopted = Held, &f.Owner, true
	e.token, e.since = m.nextToken(), m.Now()
	m.own(e)
	m.guard(e)
	m.rewrite(e)
	m.watch(e)
	m.tell(e, Event{What: Adopted, Reason: f.Reason})
}

func (m *Manager) orphanUntracked(e *entry, f Finding) {
	content, err := m.Tree.Content(e.key, e.inode)
	if err != nil {
		m.forget(e)
		return
	}
	e.judging().shape = f.About
	if !m.recognised(e, content) { // it changed since it was judged
		return
	}
	if m.Policy().IsEvidence(e.key.Name) {
		e.state = Orphan
		m.tell(e, Event{What: Orphaned, Reason: f.Reason})
		return
	}
	m.depart(e, Judged, f.Reason, content.Record())
}
