// Package reclaim answers, from what the kernel says, which process a caller is,
// whether it still lives, and whether anybody still stands behind a lock that
// nobody was granted.
//
//   - Identify names the process behind the thread of a request; Describe says
//     what people want to know about it; Alive judges it on demand.
//   - Watcher tells of deaths as they happen: one pidfd per process, one goroutine
//     in epoll_wait, nothing that ticks.
//   - ExclusiveCreate reads from a blocked caller what its system call asks for.
//   - Watches tells whether a process watches a directory with inotify.
//   - Judge decides about untracked lock files by who has them open.
//   - Reaching, Users and MountHolders name the processes that reach a directory
//     past a mount, that use a mount, and that keep one in another mount namespace.
//
// What the kernel offers is found out by trying (Probe), and everything works
// without pidfds' newer features too, only slower: the start time in
// /proc/PID/stat then takes the place of the pidfs inode.
//
// # Files
//
//	probe.go       what the kernel can do
//	pidfd.go       the four things asked of a pidfd
//	procfs.go      reading /proc/PID/{stat,status,task}
//	identify.go    thread -> process identity; cache.go keeps the last answers
//	describe.go    what people are told about a process
//	alive.go       alive, dead or recycled
//	intent.go      what a blocked caller asks for; tables per architecture beside it
//	watch.go       deaths as they happen
//	descriptors.go who has what open, without touching a file system that may hang
//	watching.go    who watches a directory
//	record.go      what is kept of a grant, and how things are with its owner afterwards
//	judge.go       verdicts on untracked locks, by who has them open; bearer.go by the PID they name
//	principal.go   for whom a helper program or a subshell acts
//	patience.go    what may wait for others, and for how long
//	bystanders.go  processes that a mount concerns
//
// # PID namespaces
//
// PIDs and thread ids are those of the PID namespace of this process, of the mount
// and of the procfs given in Options; the three must be one.
package reclaim
