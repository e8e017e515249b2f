package fsnode

import (
	"hash/maphash"
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
	seed maphash.Seed

	mu      sync.Mutex
	devices map[uint64]uint64 // others, counted as they are met
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
	return &numbering{home: home, seed: maphash.MakeSeed(), devices: map[uint64]uint64{}}
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
	return hashedNumbers | maphash.Comparable(n.seed, real)
}

func (n *numbering) device(dev uint64) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	place, met := n.devices[dev]
	if !met {
		place = uint64(len(n.devices))
		n.devices[dev] = place
	}
	return place
}
