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
// They are more than a process may have: when they run short the kernel is asked to forget
// inodes (pressure.go). All of them have the mount's device number, so those of another
// file system below the real directory get numbers of their own (number.go).
//
// # Whose rights
//
// Mounted by root for everybody, the kernel checks permissions (default_permissions)
// with the modes and access control lists that we report, and what a caller creates is
// created with the caller's fsuid and fsgid, so that it belongs to it from the first moment.
//
// The other way would be to act as the caller in every step and let the real file system
// judge. It can't be right while names are cached: the kernel walks a cached directory without
// asking us, so a caller would pass where it may not. To create, close and unlink a file took a user 563 µs with
// default_permissions, 470 µs acting as the caller (with its groups from /proc), 300 µs without any
// check, and 19 µs on the bare directory (2 cores, Linux 6.18): the difference is no reason either.
//
// So the real file system sees root, and what it would do to a caller that is not root is
// done here:
//
//   - The set-group-id bit of what is created is left or taken by the kernel before it asks
//     (vfs_prepare_mode), by all of the caller's groups. asCaller leaves it at that.
//   - Set-id bits go with a write, a truncation, a change of owner or of the access control list (setid.go). The
//     kernel says so, but not for fallocate and copy_file_range: there the caller's
//     capabilities are read (credentials.go). The same for a set-gid bit without the right to execute, which
//     members of the group keep.
//   - Names of trusted attributes are left out of lists (xattr.go).
//   - A whiteout belongs to who renames (remove.go).
//   - Flags are set by the owner, and the protecting ones by who has the capability (ioctl.go).
//
// Mounted by an ordinary user, for that user's processes, everything is done with that
// user's own rights and the kernel checks nothing. With allow_other the kernel checks as in root's
// mount, and what others create is the mounting user's.
//
// # Locks
//
// turns.go is where a request meets the law, create.go and remove.go do what it grants. What
// is in a lock directory is asked for in lockdir.go, git's own locks are told apart in git.go, and
// guard.go finds the files that held locks are for.
//
// # When a server dies
//
// Another one takes over. What the kernel refers to by number, and what each request under way is about, is in memory that
// outlives us (remains.go, running.go); what is open, somebody keeps for us (keep.go). inherit.go makes inodes and handles of
// that again, and settle.go finds out what became of a request that was taken and not answered. Grants are recorded
// with the locks themselves before anybody hears of them (ledger.go), and found again when the tree is searched at the
// start (recorded.go).
//
// # Metrics
//
// What there is to measure here is told in metrics.go; how long requests take is counted in latency.go, and how long nobody
// served in the memory that outlives us (durations.go).
//
// # Round trips
//
// A name that is no lock costs no look at who is asking. For a lock's name the kernel
// must come to us every time: its entry and attribute timeouts are zero. The bytes of a
// tracked lock are not in the page cache (direct I/O), since two callers may see different ones.
package fsnode
