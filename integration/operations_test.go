package integration

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"
)

// A program is a string of operations of recordSize bytes each. Every string is a program, so a fuzzer may change any
// byte, and an operation may be dropped without changing the others.
const recordSize = 20

// operation is one system call, or two that belong together, by one user. All fields come from its record alone.
type operation struct {
	kind         *kind
	user         int  // index into users
	umask        int  // in force during the call
	watched      bool // the times of what it touches are looked at before and after
	at           bool // paths start at the directory open in the second slot, if one is
	path, path2  string
	slot, slot2  int // which of the descriptors that are kept open
	flags        uint16
	mode         uint32
	offset       int64
	offset2      int64
	length       int
	fill         byte // of data that is written
	pick, choice byte // select from the table that the call has
}

// slots is how many descriptors the operations of one program keep open at a time.
const slots = 3

// user is who makes a call.
type user struct {
	name     string
	uid, gid int
	groups   []int
}

const sharedGroup = 5000

func users() []user {
	return []user{{"root", 0, 0, nil}, {"member", 1001, 1001, []int{sharedGroup}}, {"stranger", 1002, 1002, nil}}
}

// randomProgram gives the program of a seed.
func randomProgram(seed uint64, operations int) []byte {
	program := make([]byte, operations*recordSize)
	random := rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), seed)))
	random.Read(program)
	return program
}

// decode reads a program. A rest that is no whole record is left out.
func decode(program []byte) []operation {
	var operations []operation
	table := kinds()
	for ; len(program) >= recordSize; program = program[recordSize:] {
		operations = append(operations, decodeOne(table, program[:recordSize]))
	}
	return operations
}

func decodeOne(table []*kind, r []byte) operation {
	o := operation{
		kind:    table[int(binary.LittleEndian.Uint16(r))%len(table)],
		user:    int(r[2]&15) % len(users()),
		watched: r[2]&0x30 == 0,
		at:      r[2]&0xc0 == 0 && r[3]&0xc0 == 0,
		umask:   one(r[3], 0o022, 0o022, 0o002, 0o077, 0o027, 0, 0, 0o700),
		path:    pathFrom(binary.LittleEndian.Uint16(r[4:])),
		path2:   pathFrom(binary.LittleEndian.Uint16(r[6:])),
		slot:    int(r[8]) % slots,
		slot2:   int(r[8]>>4) % slots,
		flags:   binary.LittleEndian.Uint16(r[9:]),
		mode:    modeFrom(r[11], r[12]),
		offset:  offsetFrom(r[13]),
		offset2: offsetFrom(r[14]),
		length:  one(r[15], 0, 1, 3, 10, 10, 100, 100, 512, 1000, 4095, 4096, 4097, 8192, 10000, 20000, 70000),
		fill:    r[16], pick: r[17], choice: r[18],
	}
	return o
}

// one selects from a short table.
func one[T any](selector byte, table ...T) T { return table[int(selector)%len(table)] }

// pathFrom makes a path of one to three of a few names, so that operations meet: in most cases one that starts with a
// directory of the first tree. Now and then a strange one.
func pathFrom(bits uint16) string {
	name := func(shift, of int) string { return string("abcdefgh"[int(bits>>shift)%of]) }
	dir := one(byte(bits>>3), "a", "a", "b", "b", "c", "d", "g", "a/b", "h", name(6, 8))
	path := one(byte(bits), name(3, 8), name(3, 8), name(3, 8), dir+"/"+name(7, 4), dir+"/"+name(7, 4), dir+"/"+name(7, 8),
		dir+"/"+name(7, 8), dir+"/"+name(7, 3)+"/"+name(9, 2))
	switch bits >> 11 {
	case 31:
		strange := one(byte(bits>>3), ".", "..", "", "sp ace", "new\nline", "\xff\xfe", "Cargo.lock",
			strings.Repeat("n", unix.NAME_MAX), strings.Repeat("n", unix.NAME_MAX+1), "a.lockfile")
		return one(byte(bits), strange, dir+"/"+strange)
	case 30:
		return path + "/"
	case 29:
		return "/" + path
	}
	return path
}

func modeFrom(selector, random byte) uint32 {
	if selector >= 224 {
		return uint32(selector&15)<<8 | uint32(random)
	}
	return one(selector, uint32(0o644), 0o644, 0o600, 0o666, 0o755, 0o777, 0o777, 0, 0o4755, 0o2755, 0o6777, 0o2644,
		0o2770, 0o1777, 0o700, 0o444, 0o111, 0o220, 0o660, 0o2775)
}

// beyondExt4 is where no file of ext4 with blocks of 4 KiB can have anything.
const beyondExt4 = 1 << 45

func offsetFrom(selector byte) int64 {
	return one(selector, int64(0), 0, 0, 1, 7, 100, 4095, 4096, 4096, 5000, 8192, 12288, 65536, 100000, 1<<20, 16384,
		20480, 1<<40, -1, beyondExt4, 2048, 3)
}

// String tells the operation as a reader would write it.
func (o operation) String() string {
	text := fmt.Sprintf("%-8s %s(%s)", users()[o.user].name, o.kind.name, o.kind.call(o).arguments)
	if o.at {
		text += fmt.Sprintf(" at fd%d", o.slot2)
	}
	if o.umask != 0o022 {
		text += fmt.Sprintf(" umask %03o", o.umask)
	}
	return text
}
