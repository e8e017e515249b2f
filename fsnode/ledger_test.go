package fsnode

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// faulty is a storage that fails.
type faulty struct {
	disk
	attribute, file error
}

func (f *faulty) setAttribute(p *attrPath, attr string, data []byte) error {
	if f.attribute != nil {
		return f.attribute
	}
	return f.disk.setAttribute(p, attr, data)
}

func (f *faulty) writeFile(dir int, name string, data []byte) error {
	if f.file != nil {
		return f.file
	}
	return f.disk.writeFile(dir, name, data)
}

// oneCaller is a world in which this process asks for everything.
type oneCaller struct{ id lockmgr.Identity }

func (c oneCaller) Acting(uint32) (lockmgr.Identity, bool)         { return c.id, false }
func (oneCaller) Untold(uint32) error                              { return nil }
func (oneCaller) Describe(id lockmgr.Identity) lockmgr.Process     { return lockmgr.Process{Identity: id} }
func (oneCaller) Is(uint32, lockmgr.Identity) bool                 { return true }
func (oneCaller) Watches(lockmgr.Identity, uint64, uint64) bool    { return false }
func (oneCaller) ExclusiveCreate(uint32, string) (yes, known bool) { return true, true }
func (oneCaller) Watch(lockmgr.Identity) error                     { return nil }
func (oneCaller) Verdict(lockmgr.Identity) lockmgr.Verdict         { return lockmgr.Alive }
func (oneCaller) Killed(lockmgr.Identity) bool                     { return false }
func (oneCaller) Judge(lockmgr.Key, lockmgr.InodeID)               {}
func (oneCaller) Keep(uint64, []byte, int)                         {}
func (oneCaller) Drop(uint64)                                      {}
func (oneCaller) Sweep(string, uint64, uint64, []string) error     { return unix.ESTALE }
func (oneCaller) InodeNotify(uint64, int64, int64) fuse.Status     { return fuse.OK }
func (oneCaller) PruneNotify([]uint64) fuse.Status                 { return fuse.ENOSYS }
func (oneCaller) OpenBacking(int) (int32, error)                   { return 0, unix.EOPNOTSUPP }
func (oneCaller) CloseBacking(int32)                               {}

// plainLedger keeps a few bytes for each grant.
type plainLedger struct{ fs *FS }

func (l plainLedger) Enter(k lockmgr.Key, inode lockmgr.InodeID, _ lockmgr.Record) error {
	return l.fs.KeepRecord(k, inode, fmt.Sprintf("%016x", inode.Ino), []byte("record"))
}
func (l plainLedger) Strike(k lockmgr.Key) { l.fs.DropRecord(k) }

// newFS serves a directory to this process, without a mount.
func newFS(t *testing.T) (*FS, *faulty) {
	t.Helper()
	root, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	memory, err := NewRemains()
	if err != nil {
		t.Fatal(err)
	}
	remains, err := MapRemains(memory)
	if err != nil {
		t.Fatal(err)
	}
	world := oneCaller{lockmgr.Identity{PID: int32(os.Getpid()), StartTime: 1}}
	fs, err := New(Config{Root: root, Mountpoint: "/nowhere", Callers: world, Log: zerolog.Nop(), Remains: remains, Keeper: world, Sweeper: world})
	if err != nil {
		t.Fatal(err)
	}
	fs.kernel = world
	f := &faulty{}
	fs.records.write = f
	fs.Locks = lockmgr.New(lockmgr.Config{
		Policy: lockmgr.DefaultPolicy(), Tree: fs, Deaths: world, Reaper: fs, Judge: world, Ledger: plainLedger{fs}, Now: time.Now,
	})
	t.Cleanup(func() { root.Close(); memory.Close() })
	return fs, f
}

var rootHeader = fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID, Caller: fuse.Caller{Pid: uint32(os.Getpid()), Owner: fuse.Owner{
	Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()),
}}}

// acts are those by which a lock comes into being.
var acts = map[string]func(fs *FS) fuse.Status{
	"create": func(fs *FS) fuse.Status {
		return fs.Create(nil, &fuse.CreateIn{InHeader: rootHeader, Flags: unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, Mode: 0o644}, "x.lock", &fuse.CreateOut{})
	},
	"mkdir": func(fs *FS) fuse.Status {
		return fs.Mkdir(nil, &fuse.MkdirIn{InHeader: rootHeader, Mode: 0o755}, "x.lock", &fuse.EntryOut{})
	},
	"symlink": func(fs *FS) fuse.Status { return fs.Symlink(nil, &rootHeader, "1", "x.lock", &fuse.EntryOut{}) },
	"rename": func(fs *FS) fuse.Status {
		return fs.Rename(nil, &fuse.RenameIn{InHeader: rootHeader, Newdir: fuse.FUSE_ROOT_ID, Flags: unix.RENAME_NOREPLACE}, "plain", "x.lock")
	},
}

// Whatever fails while a grant is recorded, the caller hears of it, and there is neither a lock nor an owner: the next
// one wins.
func TestGrantThatCannotBeRecorded(t *testing.T) {
	for name, act := range acts {
		for _, fault := range []unix.Errno{unix.ENOSPC, unix.EIO, unix.EDQUOT, unix.EROFS} {
			for where, break_ := range map[string]func(*faulty){
				"attribute": func(f *faulty) { f.attribute = fault },
				"file":      func(f *faulty) { f.attribute, f.file = unix.EOPNOTSUPP, fault },
			} {
				fs, f := newFS(t)
				path := fs.Root.Name() + "/"
				if err := os.WriteFile(path+"plain", nil, 0o644); err != nil {
					t.Fatal(err)
				}
				break_(f)
				if st := act(fs); st != fuse.Status(fault) {
					t.Errorf("%s, %s: %v, want %v", name, where, st, fault)
				}
				if _, err := os.Lstat(path + "x.lock"); !os.IsNotExist(err) {
					t.Errorf("%s, %s: something is left: %v", name, where, err)
				}
				if _, err := os.Lstat(path + "plain"); err != nil {
					t.Errorf("%s, %s: the source is gone: %v", name, where, err)
				}
				if n := len(fs.Locks.Snapshot()); n > 0 {
					t.Errorf("%s, %s: %d locks are known", name, where, n)
				}
				if n := fs.handles.count() + fs.inodes.count(); n != 1 {
					t.Errorf("%s, %s: %d inodes and handles, want the root", name, where, n)
				}
				*f = faulty{}
				if st := act(fs); !st.Ok() {
					t.Errorf("%s, %s: afterwards: %v", name, where, st)
				}
				if all := fs.Locks.Snapshot(); len(all) != 1 || all[0].State != lockmgr.Held {
					t.Errorf("%s, %s: afterwards: %+v", name, where, all)
				}
			}
		}
	}
}

// Where there are no attributes the record is in a file.
func TestRecordInAFile(t *testing.T) {
	fs, f := newFS(t)
	f.attribute = unix.EOPNOTSUPP
	if st := acts["create"](fs); !st.Ok() {
		t.Fatal(st)
	}
	files, err := fs.recordFiles()
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	for name, data := range files {
		if string(data) != "record" {
			t.Errorf("%s: %q", name, data)
		}
	}
}

// A record that is written in part only counts as not written: nobody is granted the lock, and nothing is left.
func TestRecordWrittenShort(t *testing.T) {
	fs, f := newFS(t)
	f.attribute = unix.EOPNOTSUPP
	for name, act := range acts {
		if err := os.WriteFile(fs.Root.Name()+"/plain", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		var before unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
		short := unix.Rlimit{Cur: uint64(len("record") - 1), Max: before.Max} // a write goes as far as this, and says so
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &short); err != nil {
			t.Fatal(err)
		}
		st := act(fs)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
		if st != fuse.Status(unix.ENOSPC) {
			t.Errorf("%s: %v, want ENOSPC", name, st)
		}
		if left := run(t, fs.Root.Name(), `ls -A`); left != "plain\n" || len(fs.Locks.Snapshot()) > 0 {
			t.Errorf("%s: left %q, %d locks", name, left, len(fs.Locks.Snapshot()))
		}
	}
	if st := acts["create"](fs); !st.Ok() {
		t.Errorf("afterwards: %v", st)
	}
}

// run has a shell do something in a directory, and gives what it says.
func run(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
