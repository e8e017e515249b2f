package reclaim

import (
	"os"
	"testing"

	"sessionlockfs/lockmgr"
)

func TestGlance(t *testing.T) {
	p := New(Options{Features: Probe()})
	self, err := p.identityOf(int32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	seen := p.Glance(self)
	full := p.Describe(self)
	if seen.Identity != self || seen.Comm != full.Comm || seen.UID != full.UID || len(seen.NSPIDs) != len(full.NSPIDs) || seen.Container != full.Container {
		t.Errorf("at a glance %+v, described %+v", seen, full)
	}
	gone := lockmgr.Identity{PID: 1 << 22, StartTime: 1} // above every PID
	if seen := p.Glance(gone); seen.Identity != gone || seen.Comm != "" || len(seen.NSPIDs) != 1 {
		t.Errorf("of one that is gone: %+v", seen)
	}
	if seen := p.Glance(lockmgr.Identity{}); seen.Known() {
		t.Errorf("of nobody: %+v", seen)
	}
}

func BenchmarkGlance(b *testing.B) {
	p := New(Options{Features: Probe()})
	self, err := p.identityOf(int32(os.Getpid()))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p.glanced = newDescribedCache()
		p.Glance(self)
	}
}
