package fsnode

import (
	"encoding/binary"
	"hash/fnv"
	"sync"

	"sessionlockfs/lockmgr"
)

// numbering gives inodes the numbers under which they are seen. All of the mount has one device number, so the real
// numbers of two file systems in one tree, of which one is mounted below the real directory, would make hard links of
// strangers for cp -a, tar and rsync -H, which then copy one of them only. The root's own device keeps its numbers.
//
// mu guards the map, and nothing is locked inside it.
type numbering struct {
	home uint64 // the root's device

	mu      sync.Mutex
	devices map[uint64]uint64 // others, counted as they are met
	next    uint64
}

// A stranger's number is its device's place in the count and its own number, above all that the disk file systems
// number inodes with, and below 2^53, where a program that keeps numbers as doubles (JavaScript) loses the last bits.
// A number that does not fit is hashed into the upper half of the uint64 instead.
const (
	foreignNumbers = 1 << 52
	foreignBits    = 32 // of an inode number
	mostDevices    = 1 << (52 - foreignBits)
	hashedNumbers  = 3 << 62
)

func newNumbering(home uint64) *numbering {
	return &numbering{home: home, devices: map[uint64]uint64{}}
}

// of is the number that a real inode is seen under, the same as long as the mount lives.
func (n *numbering) of(real lockmgr.InodeID) uint64 {
	if real.Dev == n.home {
		return real.Ino
	}
	device := n.device(real.Dev)
	if real.Ino < 1<<foreignBits && device < mostDevices {
		return foreignNumbers | device<<foreignBits | real.Ino
	}
	hash := fnv.New64a()
	hash.Write(binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, real.Dev), real.Ino))
	return hashedNumbers | hash.Sum64()
}

// restore has a device have the place in the count that it had when one of its inodes was seen under a number.
func (n *numbering) restore(dev, seen uint64) {
	if dev == n.home || seen&foreignNumbers == 0 || seen >= hashedNumbers {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.devices[dev] = (seen &^ foreignNumbers) >> foreignBits
	n.next = max(n.next, n.devices[dev]+1)
}

func (n *numbering) device(dev uint64) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	place, met := n.devices[dev]
	if !met {
		place = n.next
		n.devices[dev] = place
		n.next++
	}
	return place
}
