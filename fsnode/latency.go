package fsnode

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Latency is how long requests take, by operation: from when one is read until its answer is made. All who serve share it.
//
// It is on the way of every request. The clock is read as time.Since does it, which reads the monotonic clock only: twice that is
// what one time.Now costs (BenchmarkLatency).
type Latency struct {
	epoch time.Time
	took  [len(operations)]durations
}

func newLatency() *Latency { return &Latency{epoch: time.Now()} }

// Now is to be given to Answered.
func (l *Latency) Now() time.Duration { return time.Since(l.epoch) }

// Answered counts a request that began then.
func (l *Latency) Answered(r Request, began time.Duration) {
	l.took[r.header().Opcode%uint32(len(operations))].add(&latencyBounds, l.Now()-began)
}

// latencyBounds begin with what an operation takes whose answer is known, and end with what nobody should wait for.
var latencyBounds = bounds{
	5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond,
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second,
}

// operations are the names of the requests that are answered, by their number (include/uapi/linux/fuse.h).
var operations = [64]string{
	opLookup: "lookup", 3: "getattr", 4: "setattr", 5: "readlink", opSymlink: "symlink", opMknod: "mknod", opMkdir: "mkdir",
	opUnlink: "unlink", opRmdir: "rmdir", opRename: "rename", opLink: "link", opOpen: "open", opRead: "read", opWrite: "write",
	17: "statfs", opRelease: "release", 20: "fsync", opSetxattr: "setxattr", opGetxattr: "getxattr", opListxattr: "listxattr",
	opRemovexattr: "removexattr", opFlush: "flush", opOpendir: "opendir", opReaddir: "readdir", opReleasedir: "releasedir",
	30: "fsyncdir", 31: "getlk", 32: "setlk", 33: "setlkw", 34: "access", opCreate: "create", 36: "interrupt", 37: "bmap",
	opIoctl: "ioctl", 40: "poll", opFallocate: "fallocate", opReaddirplus: "readdirplus", opRename2: "rename2", 46: "lseek",
	47: "copy_file_range", 50: "syncfs", opTmpfile: "tmpfile", 52: "statx",
}

var latencyDesc = prometheus.NewDesc("sessionlockfs_request_duration_seconds",
	"How long requests of the kernel took, from when they were read until their answers were made, by operation.",
	[]string{"operation"}, nil)

// Describe is prometheus.Collector's.
func (l *Latency) Describe(out chan<- *prometheus.Desc) { out <- latencyDesc }

// Collect tells of the operations that there were.
func (l *Latency) Collect(out chan<- prometheus.Metric) {
	for op, name := range operations {
		if name != "" && l.took[op].count() > 0 {
			out <- l.took[op].metric(latencyDesc, &latencyBounds, name)
		}
	}
}
