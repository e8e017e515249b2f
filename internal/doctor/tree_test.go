package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"

	"sessionlockfs/fsnode/mount"
	"sessionlockfs/reclaim"
)

// The host: /srv/agents is a volume, shared, and /srv/agents/sessions has a mount of ours or none.
const (
	bareHost = `20 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
30 20 254:1 / /srv/agents rw shared:2 - ext4 /dev/vdb rw
`
	host = bareHost + `40 30 0:40 / /srv/agents/sessions rw shared:3 - fuse.sessionlockfs /srv/agents/sessions rw
`
)

// Containers, by how they were started; their root is an overlay.
const (
	overlay  = "100 99 0:99 / / rw - overlay overlay rw\n"
	rslave   = overlay + "101 100 254:1 / /srv/agents rw master:2 - ext4 /dev/vdb rw\n102 101 0:40 / /srv/agents/sessions rw master:3 - fuse.sessionlockfs x rw\n"
	early    = overlay + "101 100 254:1 / /srv/agents rw master:2 - ext4 /dev/vdb rw\n"
	unshared = overlay + "101 100 254:1 / /work rw - ext4 /dev/vdb rw\n"
	readOnly = overlay + "101 100 254:1 / /work ro - ext4 /dev/vdb rw\n"
	itself   = overlay + "101 100 254:1 /sessions /s rw - ext4 /dev/vdb rw\n"
	part     = overlay + "101 100 254:1 /sessions/main /m rw - ext4 /dev/vdb rw\n"
	theMount = overlay + "101 100 0:40 / /s rw - fuse.sessionlockfs x rw\n"
	neighbor = overlay + "101 100 254:1 /sessions2 /s rw - ext4 /dev/vdb rw\n"
	hidden   = unshared + "103 101 0:50 / /work/sessions rw - tmpfs tmpfs rw\n"
)

func noLinks(string) (string, error) { return "", os.ErrInvalid }

func placeIn(table string) *place {
	return findPlace(mount.ParseTable([]byte(table)), "/srv/agents/sessions", noLinks)
}

func TestViews(t *testing.T) {
	for _, table := range []string{host, bareHost} {
		if got := placeIn(table).tree(); got.path != "/sessions" || got.device != 254<<8|1 {
			t.Fatalf("the tree: %+v", got)
		}
	}
	for name, c := range map[string]struct {
		table string
		want  []string
	}{
		"host": {host, nil}, "bare host": {bareHost, []string{"/srv/agents/sessions"}},
		"rslave": {rslave, nil}, "early": {early, []string{"/srv/agents/sessions"}}, "private": {unshared, []string{"/work/sessions"}},
		"itself": {itself, []string{"/s"}}, "part": {part, []string{"/m"}}, "the mount": {theMount, nil},
		"neighbor": {neighbor, nil}, "hidden": {hidden, nil},
	} {
		var got []string
		for _, v := range placeIn(host).tree().views(mount.ParseTable([]byte(c.table))) {
			got = append(got, v.point)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestHolds(t *testing.T) {
	tr := placeIn(host).tree()
	work := mount.ParseTable([]byte(unshared))[1]
	for path, want := range map[string]bool{
		"/work/sessions": true, "/work/sessions/a.jsonl": true, "/work": false, "/work/sessions2": false, "/elsewhere": false,
	} {
		if got := tr.holds(work, path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if tr.holds(mount.ParseTable([]byte(theMount))[1], "/s/a") {
		t.Error("what is in the mount is not past it")
	}
}

func TestGroups(t *testing.T) {
	tables := []mount.Table{
		mount.ParseTable([]byte(host)),
		mount.ParseTable([]byte("5 4 254:1 / /a rw shared:9 master:8 - ext4 x rw\n6 4 254:1 / /b rw shared:8 master:2 - ext4 x rw\n")),
	}
	g := reachedFrom(2, tables)
	for group, want := range map[int]bool{2: true, 8: true, 9: true, 1: false, 3: false} {
		if g[group] != want {
			t.Errorf("group %d: %v", group, g[group])
		}
	}
	if len(reachedFrom(0, tables)) != 0 {
		t.Error("a private mount is passed on to nobody")
	}
}

// fakePeople are processes by what they are and the mount table that they see.
type fakePeople []struct {
	who   reclaim.Somebody
	table string
}

func (f fakePeople) Others(visit func(reclaim.Somebody)) {
	for _, p := range f {
		visit(p.who)
	}
}

func (f fakePeople) MountTable(pid int32) ([]byte, error) {
	for _, p := range f {
		if p.who.PID == pid {
			return []byte(p.table), nil
		}
	}
	return nil, os.ErrNotExist
}

func (fakePeople) Footholds(int32, func(reclaim.Foothold) bool) {}

func container(pid int32, comm string) reclaim.Somebody {
	return reclaim.Somebody{PID: pid, Comm: comm, Container: strings.Repeat("ab", 32), Mounts: uint64(pid)}
}

func TestBystanders(t *testing.T) {
	all := fakePeople{
		{container(10, "node"), rslave},
		{container(11, "early"), early},
		{container(12, "private\x1b[2J"), unshared},
		{container(13, "reader"), readOnly},
		{reclaim.Somebody{PID: 14, Comm: "bwrap", Mounts: 14}, unshared},
		{reclaim.Somebody{PID: 15, Comm: "child", Mounts: 14}, unshared},
		{reclaim.Somebody{PID: 16, Comm: "unseen"}, unshared},
	}
	for name, c := range map[string]struct {
		table string
		want  []Finding
	}{
		"mounted": {host, []Finding{
			{"", Fail, `early (PID 11) in container abababababab sees the real directory at /srv/agents/sessions, past the mount`, "restart the container"},
			{"", Fail, `"private\x1b[2J" (PID 12)`, "-v /srv/agents:/srv/agents:rslave"},
			{"", Warn, `reader (PID 13)`, "rslave"},
			{"", Fail, `bwrap (PID 14) and 1 more in its mount namespace see`, "slave"},
		}},
		"not yet": {bareHost, []Finding{
			{"", Warn, `"private\x1b[2J" (PID 12)`, "rslave"},
			{"", Warn, `reader`, "rslave"},
			{"", Warn, `bwrap`, "slave"},
		}},
	} {
		got := findBystanders(placeIn(c.table), mount.ParseTable([]byte(c.table)), all)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d findings: %+v", name, len(got), got)
			continue
		}
		for i, f := range got {
			expect(t, f, c.want[i].Level, c.want[i].Found)
			if !strings.Contains(f.Fix, c.want[i].Fix) {
				t.Errorf("%s: fix %q, want %q", name, f.Fix, c.want[i].Fix)
			}
		}
	}
}

// A second bind mount in our own namespace is everybody's way past the mount.
func TestAliases(t *testing.T) {
	const alias = "50 20 254:1 / /mnt/alias rw shared:2 - ext4 /dev/vdb rw\n"
	got := findBystanders(placeIn(host+alias), mount.ParseTable([]byte(host+alias)), fakePeople{})
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	expect(t, got[0], Fail, "every process here sees the real directory at /mnt/alias/sessions")
	if got := findBystanders(placeIn(bareHost+alias), mount.ParseTable([]byte(bareHost+alias)), fakePeople{}); len(got) != 0 {
		t.Errorf("it gets the mount, too: %+v", got)
	}
}

func TestSome(t *testing.T) {
	many := make([]Finding, mostFindings+5)
	for i := range many {
		many[i] = warn("x", "y", "z")
	}
	got := some("x", many)
	if len(got) != mostFindings+1 || got[mostFindings].Found != "and 5 more" {
		t.Errorf("%d findings, the last %+v", len(got), got[len(got)-1])
	}
}

func TestFindPlace(t *testing.T) {
	const elsewhere = bareHost + "60 20 0:60 / /mnt/s rw - fuse.sessionlockfs /srv/agents/sessions rw\n"
	links := map[string]string{"/s": "srv/agents/../agents/sessions", "/loop": "loop", "/abs": "/s"}
	readlink := func(path string) (string, error) {
		if strings.HasPrefix(path, "/srv/agents/sessions") {
			t.Errorf("a mount of ours is asked: %s", path)
		}
		if target, is := links[path]; is {
			return target, nil
		}
		return "", os.ErrInvalid
	}
	for _, c := range []struct{ table, dir, path, source string }{
		{host, "/srv/agents/sessions", "/srv/agents/sessions", "/srv/agents/sessions"},
		{host, "/srv/agents/sessions/a/b", "/srv/agents/sessions", "/srv/agents/sessions"},
		{host, "/s/a", "/srv/agents/sessions", "/srv/agents/sessions"},
		{host, "/abs", "/srv/agents/sessions", "/srv/agents/sessions"},
		{host, "/loop", "/loop", "/loop"},
		{host, "/etc/x", "/etc/x", "/etc/x"},
		{elsewhere, "/mnt/s", "/mnt/s", "/srv/agents/sessions"},
	} {
		p := findPlace(mount.ParseTable([]byte(c.table)), c.dir, readlink)
		if p.path != c.path || p.source != c.source {
			t.Errorf("%s: %+v", c.dir, p)
		}
		for _, e := range []mount.Entry{p.real, p.under} {
			if e.Ours() || e.ID == 0 {
				t.Errorf("%s lies on %+v", c.dir, e)
			}
		}
	}
}

func TestCovered(t *testing.T) {
	const table = host + "70 40 0:70 / /srv/agents/sessions rw - tmpfs tmpfs rw\n"
	x := &examination{table: mount.ParseTable([]byte(table))}
	f := x.coveredBy(placeIn(table))
	if f == nil {
		t.Fatal("nothing is found")
	}
	expect(t, *f, Fail, "tmpfs")
	x.table = mount.ParseTable([]byte(host))
	if f := x.coveredBy(placeIn(host)); f != nil {
		t.Errorf("%+v", f)
	}
}
