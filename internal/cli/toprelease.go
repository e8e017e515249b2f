package cli

import (
	"fmt"
	"path"
	"strings"

	tea "charm.land/bubbletea/v2"

	"sessionlockfs/fsnode"
)

// releaseQuestion is whether a lock is to be released.
type releaseQuestion struct {
	lock fsnode.LockDump // as it was when it was asked
	sure bool            // it goes by force, and that was answered with yes once
}

// byForce tells whether the mount wants force for it: for all but an orphan.
func (q *releaseQuestion) byForce() bool { return q.lock.State != "orphan" }

// wonder asks about the lock that the cursor is on, or that is explained.
func (m *top) wonder() {
	l := m.selected()
	if m.panel != nil {
		l = findLock(m.dump, m.panel.lock.Path)
	}
	if l == nil {
		m.notice = "there is no lock to release"
		return
	}
	m.panel, m.question = nil, &releaseQuestion{lock: *l}
}

// reply takes the answer: what is no yes is a no. The yes to force is another key, so that the same one pressed twice is none.
func (m *top) reply(key string) tea.Cmd {
	q := m.question
	switch {
	case q.byForce() && !q.sure && key == "y":
		q.sure = true
		return nil
	case !q.byForce() && key == "y", q.sure && key == "f":
		m.question, m.notice = nil, "releasing "+Printable(q.lock.Path)
		return m.do.release(q.lock.Path, q.byForce())
	}
	m.question, m.notice = nil, Printable(q.lock.Path)+" is not released"
	return nil
}

// doubt takes a question back when the lock is no longer the one that it was about.
func (m *top) doubt() {
	if m.question == nil {
		return
	}
	was := m.question.lock
	now := findLock(m.dump, was.Path)
	if now != nil && now.Token == was.Token && now.State == was.State {
		return
	}
	m.question, m.notice = nil, Printable(was.Path)+" is not released: it is gone meanwhile"
	if now != nil {
		m.notice = fmt.Sprintf("%s is not released: meanwhile it is %s: %s", Printable(was.Path), stateName(now.State), holder(*now))
	}
}

func (r releasedMsg) text() string {
	if r.err != nil {
		return fmt.Sprintf("%s is not released: %s", Printable(r.lock), PrintableText(r.err.Error()))
	}
	return "released " + Printable(r.lock)
}

// questionLines fill the room below the table, and more if the question is longer.
func (m *top) questionLines(room int) []string {
	text := m.question.text(m)
	lines := []string{m.paint(bold, shortened(text[0], m.width))}
	for _, part := range text[1:] {
		lines = append(lines, wrapped(part, m.width, mostLines)...)
	}
	for len(lines) < 1+room {
		lines = append(lines, "")
	}
	return lines
}

func (q *releaseQuestion) text(m *top) []string {
	name, who := Printable(q.lock.Path), holder(q.lock)
	switch {
	case !q.byForce():
		return []string{"RELEASE " + name + "?",
			"It is an orphan: " + who + ". It is removed, as the next exclusive create would do."}
	case !q.sure:
		return []string{"RELEASE " + name + "?",
			fmt.Sprintf("It is %s (%s), for %s: to release it is to take it away by force.", stateName(q.lock.State), who, age(q.lock.CreatedAt, m.now)),
			q.consequence()}
	}
	return []string{"BY FORCE: take away " + name + "?", "It is " + stateName(q.lock.State) + ": " + who + ".", q.consequence()}
}

// consequence is what a person should know before.
func (q *releaseQuestion) consequence() string {
	switch q.lock.State {
	case "held", "overdue":
		data := strings.TrimSuffix(path.Base(q.lock.Path), ".lock")
		return fmt.Sprintf("%s lives on and may believe that it still has the lock. It is fenced: what it writes to %s from then on is "+
			"reported, or with --guard=deny refused, until it has the lock anew.", holder(q.lock), Printable(data))
	case "unknown_owner":
		return "Whoever holds it may live and is not told."
	}
	return "It could be data: " + meaning(q.lock.State) + "."
}

func (q *releaseQuestion) keys() string {
	switch {
	case !q.byForce():
		return "y release it   any other key: leave it"
	case !q.sure:
		return "y by force (you are asked again)   any other key: leave it"
	}
	return "f TAKE IT AWAY BY FORCE   any other key: leave it"
}
