// Package fsnode is the FUSE side of sessionlockfs: it hands every operation through
// to the real directory, and asks lockmgr before it makes, changes, shows or removes a
// lock.
//
// # How it hands through
//
// Every inode the kernel knows is an O_PATH descriptor here, so no path is ever walked
// from the root and nothing is followed out of the tree: names are resolved one at a
// time, relative to a descriptor, without following links.
//
// # Whose rights
//
// Mounted by root for everybody, the kernel checks permissions (default_permissions)
// with what we report, and what a caller creates is created with the caller's fsuid and
// fsgid, so that it belongs to it from the first moment. Mounted by an ordinary user,
// for that user's processes, everything is done with that user's own rights.
//
// # Round trips
//
// A name that is no lock costs no look at who is asking. For a lock's name the kernel
// must come to us every time: its entry and attribute timeouts are zero. The bytes of a
// tracked lock are not in the page cache (direct I/O), since two callers may see different ones.
package fsnode
