package fsnode

import (
	"bytes"
	"iter"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Request is a request as the kernel sends it (include/uapi/linux/fuse.h).
type Request []byte

// The operations that are told apart here.
const (
	opLookup      = 1
	opForget      = 2
	opSymlink     = 6
	opMknod       = 8
	opMkdir       = 9
	opUnlink      = 10
	opRmdir       = 11
	opRename      = 12
	opLink        = 13
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opRelease     = 18
	opSetxattr    = 21
	opGetxattr    = 22
	opListxattr   = 23
	opRemovexattr = 24
	opFlush       = 25
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opCreate      = 35
	opIoctl       = 39
	opBatchForget = 42
	opFallocate   = 43
	opReaddirplus = 44
	opRename2     = 45
	opTmpfile     = 51
)

const (
	inHeaderSize  = int(unsafe.Sizeof(fuse.InHeader{}))
	outHeaderSize = int(unsafe.Sizeof(fuse.OutHeader{}))
	entrySize     = int(unsafe.Sizeof(fuse.EntryOut{}))

	// resent marks a request that an earlier server took and did not answer (FUSE_UNIQUE_RESEND).
	resent = 1 << 63
)

// Valid reports whether it is long enough for what all requests begin with.
func (r Request) Valid() bool { return len(r) >= inHeaderSize }

func (r Request) header() *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&r[0])) }

// Unique is the request's number, the same when it is sent again.
func (r Request) Unique() uint64 { return r.header().Unique &^ resent }

// Begins reports whether it is the kernel's first.
func (r Request) Begins() bool { return r.header().Opcode == opInit }

// Unanswered reports whether no answer is expected.
func (r Request) Unanswered() bool {
	switch r.header().Opcode {
	case opForget, opBatchForget:
		return true
	}
	return false
}

// Room is how long the answer may be, in bytes.
func (r Request) Room() int {
	const most = 4096 + 512 // what a link says, or what is told of an entry
	switch r.header().Opcode {
	case opRead, opReaddir, opReaddirplus:
		if in := as[fuse.ReadIn](r); in != nil {
			return most + int(in.Size)
		}
	case opGetxattr, opListxattr:
		if in := as[fuse.GetXAttrIn](r); in != nil {
			return most + int(in.Size)
		}
	case opIoctl:
		return MaxRequest
	}
	return most
}

// MaxRequest is the largest read or write request, in bytes: the kernel's own limit.
const MaxRequest = 1 << 20

// as is the fixed part of a request; nil if it is too short.
func as[T any](r Request) *T {
	var t T
	if len(r) < int(unsafe.Sizeof(t)) {
		return nil
	}
	return (*T)(unsafe.Pointer(&r[0]))
}

// names are the strings that follow a fixed part of this size.
func (r Request) names(fixed int) (first, second string) {
	if len(r) < fixed {
		return "", ""
	}
	a, rest, _ := bytes.Cut(r[fixed:], []byte{0})
	b, _, _ := bytes.Cut(rest, []byte{0})
	return string(a), string(b)
}

// entry is the name of the entry that the request is about, in the directory that it is about; "" for none.
func (r Request) entry() string {
	fixed := 0
	switch r.header().Opcode {
	case opLookup, opUnlink, opRmdir, opSymlink:
		fixed = inHeaderSize
	case opMknod:
		fixed = int(unsafe.Sizeof(fuse.MknodIn{}))
	case opMkdir:
		fixed = int(unsafe.Sizeof(fuse.MkdirIn{}))
	case opCreate:
		fixed = int(unsafe.Sizeof(fuse.CreateIn{}))
	case opLink:
		fixed = int(unsafe.Sizeof(fuse.LinkIn{}))
	default:
		return ""
	}
	name, _ := r.names(fixed)
	return name
}

// renaming is what a rename says.
func (r Request) renaming() (dir uint64, flags uint32, old, new string) {
	fixed := inHeaderSize + 8
	if r.header().Opcode == opRename2 {
		if in := as[fuse.RenameIn](r); in != nil {
			flags = in.Flags
		}
		fixed += 8
	}
	if len(r) < fixed {
		return 0, 0, "", ""
	}
	old, new = r.names(fixed)
	return *(*uint64)(unsafe.Pointer(&r[inHeaderSize])), flags, old, new
}

// response is an answer as the kernel gets it.
type response []byte

func (r response) ok() bool {
	return len(r) >= outHeaderSize && (*fuse.OutHeader)(unsafe.Pointer(&r[0])).Status == 0
}

// gives are the node and the handle that an answer to this operation gives to the kernel; 0 for none.
func (r response) gives(op uint32) (node, fh uint64) {
	if !r.ok() {
		return 0, 0
	}
	at := func(offset int) uint64 {
		if len(r) < offset+8 {
			return 0
		}
		return *(*uint64)(unsafe.Pointer(&r[offset]))
	}
	switch op {
	case opLookup, opSymlink, opMknod, opMkdir, opLink:
		return at(outHeaderSize), 0
	case opCreate, opTmpfile:
		return at(outHeaderSize), at(outHeaderSize + entrySize)
	case opOpen, opOpendir:
		return 0, at(outHeaderSize)
	}
	return 0, 0
}

// lookedUp are the entries of a directory to which an answer to READDIRPLUS gives the kernel a reference each; more than one may be to one node.
func (r response) lookedUp() iter.Seq2[uint64, string] {
	return func(yield func(node uint64, name string) bool) {
		if !r.ok() {
			return
		}
		listed, entries, _ := fuse.ParseDirLookupEntries(r[outHeaderSize:])
		for i, e := range entries {
			if e.NodeId >= firstNode && !yield(e.NodeId, listed[i].Name) {
				return
			}
		}
	}
}

// Answer makes an answer that has nothing but a status, and a number that some have.
func Answer(r Request, st fuse.Status, rest ...byte) []byte {
	out := make([]byte, outHeaderSize, outHeaderSize+len(rest))
	*(*fuse.OutHeader)(unsafe.Pointer(&out[0])) = fuse.OutHeader{
		Length: uint32(outHeaderSize + len(rest)), Status: -int32(st), Unique: r.header().Unique,
	}
	return append(out, rest...)
}

// other is the second node that a request is about; 0 for none.
func (r Request) other() (node uint64) {
	switch r.header().Opcode {
	case opLink:
		if in := as[fuse.LinkIn](r); in != nil {
			node = in.Oldnodeid
		}
	case opRename, opRename2:
		node, _, _, _ = r.renaming()
	}
	return node
}

// Closes reports whether the request is the last of a handle.
func (r Request) Closes() (fh uint64, yes bool) {
	switch r.header().Opcode {
	case opRelease, opReleasedir:
		if in := as[fuse.ReleaseIn](r); in != nil {
			return in.Fh, true
		}
	}
	return 0, false
}
