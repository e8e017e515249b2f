package mount

import "time"

// pace slows down servers that die one after the other: what one died of may be what the next one is sent again.
type pace struct{ failures uint }

const (
	goodEnough = 200 * time.Millisecond // a server that lived as long does not count
	atOnce     = 3                      // failures that cost no time
	firstPause = 50 * time.Millisecond
	lastPause  = 30 * time.Second
	refuseFrom = time.Second // requests fail in a pause of this length: EIO
)

// crashed counts a server that lived for so long, and says how long to wait before the next one.
func (p *pace) crashed(lived time.Duration) time.Duration {
	if lived >= goodEnough {
		p.failures = 0
	}
	p.failures++
	if p.failures <= atOnce {
		return 0
	}
	return min(firstPause<<min(p.failures-atOnce-1, 16), lastPause)
}
