//go:build !amd64 && !arm64

package reclaim

// intentOf knows no call: this architecture has no table yet.
func intentOf(uint64) intent { return intent{} }
