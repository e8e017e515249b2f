package mount

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// refuse waits. If it takes long, every request fails meanwhile, also what an earlier server took: a client that is told
// so can say so.
func (h *Holder) refuse(d time.Duration) {
	if d < refuseFrom {
		time.Sleep(d)
		return
	}
	h.Log.Error().Dur("for", d).Msg("servers die one after the other: every call fails with EIO meanwhile")
	end := time.Now().Add(d)
	fd := int(h.connection.Fd())
	_, _ = unix.Write(fd, notice(fuse.NOTIFY_RESEND, nil))
	buf := make([]byte, requestSize)
	for left := time.Until(end); left > 0; left = time.Until(end) {
		if readable(fd, left+time.Millisecond, unix.POLLIN|unix.POLLERR|unix.POLLHUP) && !h.refuseOne(fd, buf) {
			return
		}
	}
}

// refuseOne answers a request. False if the mount is gone.
func (h *Holder) refuseOne(fd int, buf []byte) bool {
	n, err := unix.Read(fd, buf)
	if isUnmounted(err) {
		return false
	}
	r := fsnode.Request(buf[:max(n, 0)])
	if err != nil || !r.Valid() || r.Unanswered() {
		return true
	}
	if fh, closes := r.Closes(); closes {
		h.drop(fh)
	}
	_, _ = unix.Write(fd, fsnode.Answer(r, fuse.EIO))
	return true
}
