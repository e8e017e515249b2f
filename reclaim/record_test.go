package reclaim

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"sessionlockfs/lockmgr"
)

var (
	somewhere = NewPlace("machine", "boot", 4026531836)
	aKey      = lockmgr.Key{Dir: lockmgr.InodeID{Dev: 1, Ino: 2}, Name: "a.jsonl.lock"}
	anInode   = lockmgr.InodeID{Dev: 1, Ino: 3}
	aRecord   = lockmgr.Record{
		Token: 7, Since: time.Unix(1_800_000_000, 0), Owner: lockmgr.Identity{PID: 100, StartTime: 200, Pidfs: 300},
		NSPIDs: []int32{100, 1}, ByHelper: true, Second: true,
		Shells: []lockmgr.Process{{Identity: lockmgr.Identity{PID: 9, StartTime: 8, Pidfs: 7}, NSPIDs: []int32{9}}},
	}
)

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	data := somewhere.Encode(aKey, anInode, aRecord)
	got, rebooted, err := somewhere.Decode(aKey, anInode, data)
	if err != nil || rebooted || !reflect.DeepEqual(got, aRecord) {
		t.Errorf("%+v, %v, %v; want %+v", got, rebooted, err, aRecord)
	}
}

// With the attribute's own 20 bytes and 8 of ext4's it fits into the 96 that an inode of 256 bytes has for them.
func TestRecordIsShort(t *testing.T) {
	plain := aRecord
	plain.Shells, plain.NSPIDs = nil, plain.NSPIDs[:1]
	if n := len(somewhere.Encode(aKey, anInode, plain)); n > 68 {
		t.Errorf("%d bytes", n)
	}
}

func TestRecordThatIsNotBelieved(t *testing.T) {
	elsewhere := NewPlace("another machine", "another boot", 4026531836)
	namespace := NewPlace("machine", "boot", 1)
	nameless := NewPlace("", "another boot", 4026531836)
	data := somewhere.Encode(aKey, anInode, aRecord)
	other := aKey
	other.Name = "b.jsonl.lock"
	newer := append([]byte{recordVersion + 1}, data[1:]...)
	for name, c := range map[string]struct {
		at   Place
		key  lockmgr.Key
		data []byte
		want error
	}{
		"empty":             {somewhere, aKey, nil, ErrForged},
		"cut off":           {somewhere, aKey, data[:len(data)-1], ErrForged},
		"longer":            {somewhere, aKey, append(data[:len(data):len(data)], 0), ErrForged},
		"another name":      {somewhere, other, data, ErrForged},
		"another version":   {somewhere, aKey, newer, ErrVersion},
		"another machine":   {elsewhere, aKey, data, ErrElsewhere},
		"another namespace": {namespace, aKey, data, ErrElsewhere},
		"no machine id":     {nameless, aKey, data, ErrElsewhere},
	} {
		if _, _, err := c.at.Decode(c.key, anInode, c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, rebooted, err := NewPlace("machine", "another boot", 1).Decode(aKey, anInode, data); err != nil || !rebooted {
		t.Errorf("another boot: %v, %v", rebooted, err)
	}
}

func TestEveryBitOfARecordCounts(t *testing.T) {
	data := somewhere.Encode(aKey, anInode, aRecord)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if _, _, err := somewhere.Decode(aKey, anInode, data); err == nil {
				t.Errorf("byte %d, bit %d: nobody notices", i, bit)
			}
			data[i] ^= 1 << bit
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(somewhere.Encode(aKey, anInode, aRecord))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, _ = somewhere.Decode(aKey, anInode, data)
		if len(data) > recordStart { // past the checksum
			data[0] = recordVersion
			sum := checksum(data)
			data[2], data[3], data[4], data[5] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
			_, _, _ = somewhere.Decode(aKey, anInode, data)
		}
	})
}

func TestStanding(t *testing.T) {
	p := New(Options{Features: Probe()})
	roll := p.Roll()
	self := p.Identify(uint32(os.Getpid()))
	dead, recycled, future := self, self, self
	dead.PID, dead.Pidfs = 1<<22-1, 1 // no process has the greatest PID that there can be
	recycled.StartTime, recycled.Pidfs = self.StartTime-1, self.Pidfs-1
	future.StartTime = 1 << 60
	for name, c := range map[string]struct {
		owner    lockmgr.Identity
		rebooted bool
		want     lockmgr.Verdict
		err      error
	}{
		"lives":        {self, false, lockmgr.Alive, nil},
		"dead":         {dead, false, lockmgr.Dead, nil},
		"recycled":     {recycled, false, lockmgr.Recycled, nil},
		"another boot": {self, true, lockmgr.Dead, nil},
		"future":       {future, false, lockmgr.Unknown, ErrFuture},
	} {
		s, err := roll.Standing(lockmgr.Record{Owner: c.owner}, c.rebooted)
		if s.Verdict != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v; want %v, %v", name, s.Verdict, err, c.want, c.err)
		}
	}
}
