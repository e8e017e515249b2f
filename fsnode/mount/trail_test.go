package mount

import (
	"slices"
	"testing"
)

// mounts is a table in which /srv/sessions has a dead mount of ours over a living one, and something hides /data.
const mounts = `1 1 0:2 / / rw - rootfs rootfs rw
20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 20 0:30 / /srv rw shared:2 master:1 - tmpfs tmpfs rw
40 30 0:40 / /srv/sessions rw,nosuid - fuse.sessionlockfs /srv/sessions rw,user_id=0
41 40 0:41 / /srv/sessions rw,nosuid - fuse.sessionlockfs /srv/sessions rw,user_id=0
50 20 254:1 /volumes/a\040b /data/x ro - xfs /dev/vdb\0431 rw
60 20 0:60 / /data rw - tmpfs tmpfs rw
not a mount
`

func TestParseTable(t *testing.T) {
	table := ParseTable([]byte(mounts))
	if len(table) != 7 {
		t.Fatalf("%d entries: %v", len(table), table)
	}
	want := Entry{ID: 30, Parent: 20, Device: 30, Root: "/", Mountpoint: "/srv", Shared: 2, Master: 1, Type: "tmpfs", Source: "tmpfs"}
	if got := table[2]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if e := table[5]; e.Root != "/volumes/a b" || e.Source != "/dev/vdb#1" || !e.ReadOnly {
		t.Errorf("got %+v", e)
	}
	if !table[3].Ours() || table[2].Ours() {
		t.Error("which are ours is not told")
	}
}

func TestTrail(t *testing.T) {
	for path, want := range map[string][]int{
		"/":                {1, 20},
		"/etc/hosts":       {1, 20},
		"/srv":             {1, 20, 30},
		"/srvx":            {1, 20},
		"/srv/sessions":    {1, 20, 30, 40, 41},
		"/srv/sessions/a":  {1, 20, 30, 40, 41},
		"/srv/sessions2/a": {1, 20, 30},
		"/data/x/y":        {1, 20, 60},
	} {
		var ids []int
		for _, e := range ParseTable([]byte(mounts)).Trail(path) {
			ids = append(ids, e.ID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: %v, want %v", path, ids, want)
		}
	}
}

// A process in a chroot sees no mount of its root.
func TestTrailWithoutARoot(t *testing.T) {
	table := ParseTable([]byte("40 30 0:40 / /srv rw - tmpfs tmpfs rw\n41 40 0:41 / /srv/x rw - tmpfs tmpfs rw\n"))
	if e := table.End("/srv/x/y"); e.ID != 41 {
		t.Errorf("got %+v", e)
	}
	if e := table.End("/etc"); e.ID != 0 {
		t.Errorf("got %+v", e)
	}
}
