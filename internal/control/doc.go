// Package control answers questions about a mount past the mount: on a socket of its own, so that a mount that hangs can
// be asked what hangs, and for what a file can't say, such as what happens from now on. It speaks HTTP:
//
//	GET /locks      what .sessionlockfs/locks says
//	GET /metrics    what .sessionlockfs/metrics says
//	GET /events     a line of JSON for each event; ?since=RFC3339 from then on, ?after=SEQ&since=RFC3339 where one
//	                stopped (see events.From), ?follow=1 and those to come
//	GET /payload    what stands under the name of the lock ?path=, as fsnode.PayloadDump; to others the mount shows it otherwise
//	POST /command   what may be written to .sessionlockfs/control
//
// The socket is for whoever mounted, root, and the group that --control-group names; the kernel sees to that.
package control
