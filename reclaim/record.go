package reclaim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"os"
	"strings"
	"sync"
	"time"

	"sessionlockfs/lockmgr"
)

// Place says where and when a record was made: what a PID and a start time mean depends on it.
type Place struct {
	Machine uint64 // from /etc/machine-id; 0 if there is none
	Boot    uint64 // from the kernel's boot_id
	PIDNS   uint32 // inode of the PID namespace
}

// Here is this process's place.
func (p *Processes) Here() Place {
	machine, _ := os.ReadFile("/etc/machine-id")
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return NewPlace(string(machine), string(boot), p.proc.namespace(int32(os.Getpid()), "pid"))
}

// NewPlace makes a Place of a machine id and a boot id.
func NewPlace(machine, boot string, pidns uint64) Place {
	place := Place{Boot: hash(boot), PIDNS: uint32(pidns)}
	if strings.TrimSpace(machine) != "" {
		place.Machine = hash(machine)
	}
	return place
}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, s := range parts {
		h.Write([]byte(strings.TrimSpace(s)))
	}
	return h.Sum64()
}

// Mark tells a name that is an inode from all others in the tree: a record that is found elsewhere is a copy.
func Mark(k lockmgr.Key, inode lockmgr.InodeID) uint64 {
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, k.Dir.Ino), inode.Ino))
	h.Write([]byte(k.Name))
	return h.Sum64()
}

// A record is as short as it can be: ext4 has about 70 bytes for it in an inode of 256 bytes, and takes a block for what is longer.
// After the version and the flags come, little-endian: a checksum (CRC-32C) of everything else, token,
// seconds since 1970 (4 bytes), machine (4), boot, PID namespace (4), PID (4), start time, pidfs inode, mark; how many
// further PIDs the owner has, and those; and then the same of each shell above it: PID, start time, pidfs inode, PIDs.
const (
	recordVersion = 1
	checksumAt    = 2
	recordStart   = 6
	shortest      = recordStart + 8 + 4 + 4 + 8 + 4 + 20 + 8 + 1
)

const (
	flagByHelper = 1 << iota
	flagAdopted
	flagSecond
	flagClosed
	flagGit
)

// Why a record is not believed. What it is on counts as untracked.
var (
	ErrForged    = errors.New("it is damaged, or not this lock's")
	ErrVersion   = errors.New("another version of this program made it")
	ErrElsewhere = errors.New("it was made on another machine, or in another PID namespace: nobody here knows whether its owner lives")
	ErrFuture    = errors.New("it says that its owner began later than now")
)

// Encode makes a record's bytes.
func (at Place) Encode(k lockmgr.Key, inode lockmgr.InodeID, r lockmgr.Record) []byte {
	le := binary.LittleEndian
	b := make([]byte, recordStart, shortest+64)
	b[0], b[1] = recordVersion, flagsOf(r)
	b = le.AppendUint64(b, uint64(r.Token))
	b = le.AppendUint32(b, uint32(r.Since.Unix()))
	b = le.AppendUint32(b, uint32(at.Machine))
	b = le.AppendUint64(b, at.Boot)
	b = le.AppendUint32(b, at.PIDNS)
	b = appendIdentity(b, r.Owner)
	b = le.AppendUint64(b, Mark(k, inode))
	b = appendPIDs(b, r.NSPIDs)
	for _, shell := range r.Shells {
		b = appendPIDs(appendIdentity(b, shell.Identity), shell.NSPIDs)
	}
	le.PutUint32(b[checksumAt:], checksum(b))
	return b
}

func flagsOf(r lockmgr.Record) (flags byte) {
	for _, f := range []struct {
		is   bool
		flag byte
	}{
		{r.ByHelper, flagByHelper}, {r.Adopted, flagAdopted}, {r.Second, flagSecond}, {r.Closed, flagClosed}, {r.Git, flagGit},
	} {
		if f.is {
			flags |= f.flag
		}
	}
	return flags
}

func appendIdentity(b []byte, id lockmgr.Identity) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(id.PID))
	b = binary.LittleEndian.AppendUint64(b, id.StartTime)
	return binary.LittleEndian.AppendUint64(b, id.Pidfs)
}

// appendPIDs leaves out the first, which the identity has.
func appendPIDs(b []byte, pids []int32) []byte {
	if len(pids) > 0 {
		pids = pids[1:]
	}
	pids = pids[:min(len(pids), 32)] // PID namespaces are nested 32 deep at most (MAX_PID_NS_LEVEL)
	b = append(b, byte(len(pids)))
	for _, pid := range pids {
		b = binary.LittleEndian.AppendUint32(b, uint32(pid))
	}
	return b
}

func checksum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(b[:checksumAt], table), table, b[recordStart:])
}

// Decode reads the record of a name that is this inode. Rebooted says that the machine was started again since.
func (at Place) Decode(k lockmgr.Key, inode lockmgr.InodeID, b []byte) (r lockmgr.Record, rebooted bool, err error) {
	if len(b) > 0 && b[0] != recordVersion {
		return r, false, fmt.Errorf("%w: %d", ErrVersion, b[0])
	}
	if len(b) < shortest || binary.LittleEndian.Uint32(b[checksumAt:]) != checksum(b) {
		return r, false, ErrForged
	}
	d := decoder{rest: b[recordStart:]}
	flags := b[1]
	r = lockmgr.Record{
		ByHelper: flags&flagByHelper != 0, Adopted: flags&flagAdopted != 0, Second: flags&flagSecond != 0,
		Closed: flags&flagClosed != 0, Git: flags&flagGit != 0,
	}
	r.Token, r.Since = lockmgr.Token(d.uint64()), time.Unix(int64(d.uint32()), 0)
	machine, boot, ns := d.uint32(), d.uint64(), d.uint32()
	r.Owner = d.identity()
	mark := d.uint64()
	r.NSPIDs = d.pids(r.Owner)
	for len(d.rest) > 0 && !d.short {
		shell := lockmgr.Process{Identity: d.identity()}
		shell.NSPIDs = d.pids(shell.Identity)
		r.Shells = append(r.Shells, shell)
	}
	switch {
	case d.short || mark != Mark(k, inode):
		return r, false, ErrForged
	case boot != at.Boot && (at.Machine == 0 || machine != uint32(at.Machine)):
		return r, false, ErrElsewhere
	case boot != at.Boot:
		return r, true, nil
	case ns != at.PIDNS:
		return r, false, ErrElsewhere
	}
	return r, false, nil
}

// decoder reads what Encode wrote. After the end everything is zero.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if len(d.rest) < n {
		d.rest, d.short = nil, true
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

func (d *decoder) identity() lockmgr.Identity {
	return lockmgr.Identity{PID: int32(d.uint32()), StartTime: d.uint64(), Pidfs: d.uint64()}
}

func (d *decoder) pids(id lockmgr.Identity) []int32 {
	pids := []int32{id.PID}
	for range d.take(1)[0] {
		pids = append(pids, int32(d.uint32()))
	}
	return pids
}

// Roll finds out how things are with the owners of many records, and asks after each only once. Its methods may be called by many
// goroutines at once. mu guards owners.
type Roll struct {
	processes *Processes
	began     uint64 // latestStart, when the roll was

	mu     sync.Mutex
	owners map[lockmgr.Identity]*calling
}

// calling is what is found out of one owner, once.
type calling struct {
	once    sync.Once
	verdict lockmgr.Verdict
	living  lockmgr.Process
}

// Roll begins to call the roll.
func (p *Processes) Roll() *Roll {
	return &Roll{processes: p, began: latestStart(), owners: map[lockmgr.Identity]*calling{}}
}

// Standing finds out how things are with the owner of a record.
func (r *Roll) Standing(rec lockmgr.Record, rebooted bool) (lockmgr.Standing, error) {
	s := lockmgr.Standing{Rebooted: rebooted}
	s.Owner = lockmgr.Process{Identity: rec.Owner, NSPIDs: rec.NSPIDs, ByHelper: rec.ByHelper, Shells: rec.Shells}
	switch {
	case rebooted:
		s.Verdict = lockmgr.Dead
		return s, nil
	case !rec.Owner.Known():
		return s, nil
	case rec.Owner.StartTime > r.began:
		return s, ErrFuture
	}
	c := r.call(rec.Owner)
	if s.Verdict = c.verdict; s.Verdict == lockmgr.Alive {
		s.Owner = c.living
		s.Owner.NSPIDs, s.Owner.ByHelper, s.Owner.Shells = rec.NSPIDs, rec.ByHelper, rec.Shells
	}
	return s, nil
}

func (r *Roll) call(id lockmgr.Identity) *calling {
	r.mu.Lock()
	c := r.owners[id]
	if c == nil {
		c = &calling{}
		r.owners[id] = c
	}
	r.mu.Unlock()
	c.once.Do(func() {
		if c.verdict = r.processes.Alive(id); c.verdict == lockmgr.Alive {
			c.living = r.processes.Describe(id)
		}
	})
	return c
}

// latestStart is now as start times are counted: in ticks of 1/100 s (USER_HZ), suspended time included; one more for
// the rounding.
func latestStart() uint64 {
	text, err := os.ReadFile("/proc/uptime")
	var up float64
	if _, e := fmt.Sscan(string(text), &up); err != nil || e != nil {
		return ^uint64(0)
	}
	return uint64(up*100) + 2
}
