package serve

import (
	"sync"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/lockmgr"
	"sessionlockfs/reclaim"
)

// judge answers about untracked entries, in the background and many at a time, since a
// judgement means a walk over all processes.
//
// mu guards the queue and is held for nothing else, so that Judge never waits.
type judge struct {
	fs        *fsnode.FS
	processes *reclaim.Processes
	locks     *lockmgr.Manager // set before run

	mu   sync.Mutex
	more *sync.Cond
	todo []untracked
}

type untracked struct {
	key   lockmgr.Key
	inode lockmgr.InodeID
}

func newJudge(fs *fsnode.FS, p *reclaim.Processes) *judge {
	j := &judge{fs: fs, processes: p}
	j.more = sync.NewCond(&j.mu)
	return j
}

// Judge queues an entry. Its inode is kept until the verdict is out, so that it can't be
// one on a later file with the same number.
func (j *judge) Judge(k lockmgr.Key, inode lockmgr.InodeID) {
	j.fs.Pin(inode)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.todo = append(j.todo, untracked{k, inode})
	j.more.Signal()
}

// run judges for as long as the process lives.
func (j *judge) run() {
	for {
		batch := j.next()
		subjects := make([]reclaim.Subject, len(batch))
		about := make([]lockmgr.Payload, len(batch))
		for i, u := range batch {
			subjects[i], about[i] = j.subject(u)
		}
		for i, finding := range j.processes.JudgeAll(subjects) {
			u, s := batch[i], subjects[i]
			finding.About = about[i]
			j.locks.Judged(u.key, u.inode, finding)
			if (s.KeepsOpen || s.PID > 0) && finding.Verdict == lockmgr.Unknown && s.Age < s.Grace {
				time.AfterFunc(s.Grace-s.Age, func() { j.Judge(u.key, u.inode) })
			}
			j.fs.Unpin(u.inode)
		}
	}
}

func (j *judge) next() (batch []untracked) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.todo) == 0 {
		j.more.Wait()
	}
	batch, j.todo = j.todo, nil
	return batch
}

// subject is what the processes are held against. What can't be read can't be judged.
func (j *judge) subject(u untracked) (s reclaim.Subject, about lockmgr.Payload) {
	s = reclaim.Subject{Inode: u.inode, Name: u.key.Name}
	content, err := j.fs.Content(u.key, u.inode)
	if err != nil {
		return s, about
	}
	a, err := j.fs.Attributes(u.key, u.inode)
	if err != nil {
		return s, about
	}
	s.UID, s.Age, s.Unopened = a.UID, time.Since(a.Changed), a.Unopened
	s.KeepsOpen = lockmgr.KeepsOpen(content, u.key.Name)
	s.PID, _ = lockmgr.NamesMaker(content)
	s.Written, s.Remote = a.Changed, a.Remote
	s.Grace = lockmgr.DefaultGrace
	if l := j.locks.Policy().Of(u.key.Name); l != nil {
		s.Grace = l.Grace
	}
	about, _ = lockmgr.ParsePayload(content)
	return s, about
}
