package lockmgr

import (
	"errors"
	"fmt"
)

// clearOrphan makes way for a create. errData if it has become something that could be
// data since it was recognised: then it is abandoned.
func (m *Manager) clearOrphan(e *entry, c Identity) error {
	content, err := m.Tree.Content(e.key, e.inode)
	switch {
	case unreadable(e, err):
		return fmt.Errorf("read orphan %q: %w", e.key.Name, err)
	case err == nil && !m.mayGo(e, content):
		return errData
	}
	switch err := m.remove(e, content); {
	case err == errData:
		return err
	case err != nil && !errors.Is(err, ErrGone):
		return fmt.Errorf("remove orphan %q: %w", e.key.Name, err)
	}
	if !e.leaving { // else it was told when it was put on its way
		m.tell(e, Event{What: Reclaimed, By: c, Cause: Wanted, Reason: "an exclusive create wanted the name", Payload: content.Record()})
	}
	m.forget(e)
	return nil
}

// unreadable reports that nobody can tell whether the orphan is still what it was.
func unreadable(e *entry, err error) bool {
	return err != nil && !errors.Is(err, ErrGone) && !e.sure
}

// errData says that an orphan is not to be removed after all.
var errData = errors.New("the orphan could be data now")

// remove takes what may go out of the real directory, a directory with what is in it.
// errData if that has become something else meanwhile.
func (m *Manager) remove(e *entry, content Content) error {
	if err := m.empty(e, content); err != nil {
		return err
	}
	err := m.Tree.Remove(e.key, e.inode)
	if err != nil && content.Kind == KindDir { // somebody may have put something into it
		return m.again(e, err)
	}
	return err
}

// empty takes the files out of a lock directory that may go. A person's word is for a
// directory as well, but not for what is more than a lock.
func (m *Manager) empty(e *entry, content Content) error {
	switch {
	case content.Kind != KindDir:
		return nil
	case content.Full || m.holdsLocks(e):
		return fmt.Errorf("%q holds more than lock files", e.key.Name)
	case len(content.Files) == 0:
		return nil
	}
	if err := m.Tree.Empty(e.key, e.inode, content.Files); err != nil {
		return m.again(e, err)
	}
	for _, f := range content.Files {
		m.forgetInside(Key{Dir: e.inode, Name: f.Name})
	}
	return nil
}

// forgetInside forgets what was known of a name in a directory that was emptied: nobody
// will come across it. It is the one place where a second turn is taken, and it does
// not wait for that: who has it finds the entry gone by itself.
func (m *Manager) forgetInside(k Key) {
	m.mu.Lock()
	e := m.names.at(k)
	if e == nil || !e.turn.TryLock() {
		m.mu.Unlock()
		return
	}
	e.uses++
	m.mu.Unlock()
	m.forget(e)
	m.leave(e)
}

// again looks again into a directory that could not be removed: the error, or errData.
func (m *Manager) again(e *entry, err error) error {
	if content, look := m.Tree.Content(e.key, e.inode); look == nil && !m.mayGo(e, content) {
		return errData
	}
	return err
}

// mayGo looks once more before an orphan is removed: anyone may have written into it
// since it was recognised. What could be data now is abandoned.
func (m *Manager) mayGo(e *entry, content Content) bool {
	if m.recognised(e, content) {
		return true
	}
	e.state, e.leaving = Abandoned, false
	m.tell(e, Event{What: AbandonedBy, Reason: "somebody wrote into it; it could be data, so it stays"})
	return false
}

// recognised is what may be removed of a lock whose owner is done with it: what is surely
// that owner's, or what was judged. Everything else could be data.
func (m *Manager) recognised(e *entry, content Content) bool {
	switch {
	case e.sure:
		return true
	case e.git: // by its name, whatever its size (rule 9)
		return content.Kind == KindFile
	case !e.owner.Known():
		p, ok := ParsePayload(content)
		return ok && p == e.judged().shape && Judgeable(content, e.key.Name)
	case e.second && KeepsOpen(content, e.key.Name): // given up by its owner
		return true
	case e.owner.ByHelper && !e.killed && !Names(content, e.owner.NSPIDs):
		return false // a shell that ended may have left it on purpose (rule 7)
	}
	return Recognise(content, e.owner.NSPIDs) && !(content.Kind == KindDir && m.holdsLocks(e))
}
