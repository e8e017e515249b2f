package reclaim

import (
	"sync"
	"time"

	"sessionlockfs/lockmgr"
)

const (
	// cacheEntries bounds the memory to about half a megabyte; a busy gateway and its
	// agents have some hundred threads.
	cacheEntries = 4096
	// commTrust is how long a command name is believed: exec changes it, and a proxy
	// may have been a shell a moment ago. An identity is believed for good.
	commTrust = time.Second
)

// caller is what is known of a thread.
type caller struct {
	thread   uint64 // the thread's own pidfs inode: the entry is void for any other
	identity lockmgr.Identity
	proxy    bool
	comm     string
	parent   int32
	flags    uint32
	shell    bool      // its program is one; of those that called exec it is asked only as somebody's parent
	seen     time.Time // when the command was read
}

// callerCache remembers callers by thread id. A thread belongs to one process as long
// as it lives, also when it calls exec (it then takes on its leader's id).
type callerCache struct {
	mu      sync.Mutex
	entries map[int32]caller
}

func newCallerCache() *callerCache {
	return &callerCache{entries: make(map[int32]caller)}
}

// get returns what is known of the thread with this id and this pidfs inode.
func (c *callerCache) get(tid int32, thread uint64, now time.Time) (caller, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[tid]
	return e, ok && e.thread == thread && now.Sub(e.seen) < commTrust
}

// put remembers a caller, and forgets any other when there are too many.
func (c *callerCache) put(tid int32, e caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, had := c.entries[tid]; !had && len(c.entries) >= cacheEntries {
		for victim := range c.entries { // the order of a map is random
			delete(c.entries, victim)
			break
		}
	}
	c.entries[tid] = e
}
