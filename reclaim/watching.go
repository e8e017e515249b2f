package reclaim

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// Watches reports whether a process watches a directory with inotify, given the device
// number of the mount as stat(2) has it. The process must wait for our answer, outside
// execve(2).
//
// It reads the links of up to maxDescriptors open files, 1 to 2 µs each, and what the
// kernel says of those that are inotify's, 4 to 8 µs for each watch. Since an agent may
// list a directory over and over, an answer is good for ten times as long as it took to
// find: with the few files that most processes have open that is about a millisecond.
func (p *Processes) Watches(id lockmgr.Identity, dev, ino uint64) bool {
	asked := time.Now()
	q := watchQuestion{id, dev, ino}
	if yes, known := p.watching.get(q, asked); known {
		return yes
	}
	yes := p.proc.watches(id.PID, dev, ino)
	p.watching.put(q, watchAnswer{yes, time.Now().Add(answerTrust * time.Since(asked))})
	return yes
}

const (
	maxDescriptors = 4096    // of a process; inotify's are opened early and have small numbers
	maxWatches     = 1 << 20 // bytes read of an inotify's watches, some 110 each
	answerTrust    = 10
	maxAnswers     = 256
)

// watches looks for the watch among all inotify instances of a process.
func (p procfs) watches(pid int32, dev, ino uint64) (found bool) {
	want := watchOf(dev, ino)
	left := maxDescriptors
	p.descriptors(pid, func(d descriptor) (stop bool) {
		left--
		if link, err := d.path(); err == nil && strings.HasSuffix(link, "inotify") && strings.HasPrefix(link, "anon_inode:") {
			found = lists(p.of(pid, "fdinfo/"+d.name), want)
		}
		return found || left == 0
	})
	return found
}

// watchOf is how an inotify's file in /proc/PID/fdinfo names what a watch is on: both
// numbers in hex, the device as the kernel keeps it, MKDEV of its kdev_t.h.
func watchOf(dev, ino uint64) []byte {
	return fmt.Appendf(nil, " ino:%x sdev:%x ", ino, uint64(unix.Major(dev))<<20|uint64(unix.Minor(dev)))
}

// lists reports whether a file has the text, within its first maxWatches bytes.
func lists(path string, text []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	buf := make([]byte, 0, 16<<10)
	for read := 0; read < maxWatches; {
		n, err := f.Read(buf[len(buf):cap(buf)])
		read += n
		buf = buf[:len(buf)+n]
		if bytes.Contains(buf, text) {
			return true
		}
		if err != nil {
			return false
		}
		keep := min(len(buf), len(text)) // it may have been cut
		buf = slices.Delete(buf, 0, len(buf)-keep)
	}
	return false
}

// watchQuestion is what Watches was asked.
type watchQuestion struct {
	id       lockmgr.Identity
	dev, ino uint64
}

type watchAnswer struct {
	yes   bool
	until time.Time
}

// watchCache remembers answers for the short time that they are good for.
type watchCache struct {
	mu      sync.Mutex
	answers map[watchQuestion]watchAnswer
}

func (c *watchCache) get(q watchQuestion, now time.Time) (yes, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.answers[q]
	return a.yes, now.Before(a.until)
}

// put remembers an answer. When there are too many it forgets them all: they are about to
// expire anyway.
func (c *watchCache) put(q watchQuestion, a watchAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) >= maxAnswers {
		clear(c.answers)
	}
	c.answers[q] = a
}
