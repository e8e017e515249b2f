package fsnode

import (
	"encoding/json"
	"os"
	"time"

	"sessionlockfs/lockmgr"
)

// Dump is what .sessionlockfs/locks says. It is an interface that programs rely on:
// fields are only ever added.
type Dump struct {
	Version int        `json:"version"` // of this format: 1
	Mount   MountDump  `json:"mount"`
	Locks   []LockDump `json:"locks"`
}

// MountDump tells of the mount.
type MountDump struct {
	Source     string    `json:"source"`
	Mountpoint string    `json:"mountpoint"`
	PID        int       `json:"pid"`        // of the server, another one after a crash or an upgrade
	HolderPID  int       `json:"holder_pid"` // of the process that lasts as long as the mount
	Release    string    `json:"release"`
	UID        int       `json:"uid"`
	BootID     string    `json:"boot_id"`
	StartedAt  time.Time `json:"started_at"` // of the server
	// Upgrade tells of the last upgrade, if there was one: when, and why it failed.
	Upgrade json.RawMessage `json:"upgrade,omitempty"`
}

// LockDump tells of one lock.
type LockDump struct {
	Path           string          `json:"path"` // relative to the mount
	Kind           string          `json:"kind"`
	State          string          `json:"state"`
	Token          lockmgr.Token   `json:"token,omitempty"`
	Owner          *OwnerDump      `json:"owner,omitempty"`
	CreatedAt      time.Time       `json:"created_at"`
	HandleOpen     bool            `json:"handle_open"`
	Contenders     []ContenderDump `json:"contenders"`
	RefusedChanges int             `json:"refused_changes"`
	Verdict        string          `json:"verdict,omitempty"`
	Reason         string          `json:"reason,omitempty"`
}

// OwnerDump tells of an owner.
type OwnerDump struct {
	PID       int32   `json:"pid"`
	StartTime uint64  `json:"start_time"`
	BootID    string  `json:"boot_id"`
	PIDNS     uint64  `json:"pid_ns"`
	NSPIDs    []int32 `json:"ns_pids"`
	UID       uint32  `json:"uid"`
	Comm      string  `json:"comm"`
	Container string  `json:"container"`
}

// ContenderDump tells of a process that looked the name up of late.
type ContenderDump struct {
	PID      int32     `json:"pid"`
	Comm     string    `json:"comm"`
	LastSeen time.Time `json:"last_seen"`
}

// Dump gives the state of all locks as JSON, as the type of that name.
func (fs *FS) Dump() ([]byte, error) {
	locks := fs.Locks.Snapshot()
	d := Dump{Version: 1, Mount: fs.dumpMount(), Locks: make([]LockDump, 0, len(locks))}
	dirs := map[lockmgr.InodeID]string{} // many locks are in few directories
	for _, l := range locks {
		if _, known := dirs[l.Key.Dir]; !known {
			dirs[l.Key.Dir] = fs.prefixOf(l.Key.Dir)
		}
		d.Locks = append(d.Locks, fs.dumpLock(l, dirs[l.Key.Dir]+l.Key.Name))
	}
	data, err := json.Marshal(d)
	return append(data, '\n'), err
}

func (fs *FS) dumpMount() MountDump {
	var news json.RawMessage
	if text := fs.news.Load(); text != nil {
		news = *text
	}
	return MountDump{
		HolderPID: fs.Holder, Release: fs.Config.Version, Upgrade: news,
		Source: fs.Root.Name(), Mountpoint: fs.Mountpoint, PID: fs.self, UID: os.Getuid(),
		BootID: fs.BootID, StartedAt: fs.started,
	}
}

// dumpOwner tells of an owner; nil if the kernel could not name it.
func (fs *FS) dumpOwner(o lockmgr.Process) *OwnerDump {
	if !o.Known() {
		return nil
	}
	return &OwnerDump{
		PID: o.PID, StartTime: o.StartTime, BootID: fs.BootID, PIDNS: o.PIDNS, NSPIDs: o.NSPIDs,
		UID: o.UID, Comm: o.Comm, Container: o.Container,
	}
}

func (fs *FS) dumpLock(l lockmgr.Lock, path string) LockDump {
	d := LockDump{
		Path: path, Kind: l.Kind.String(), State: l.State.String(), Token: l.Token,
		CreatedAt: l.Since, HandleOpen: l.HandleOpen, RefusedChanges: l.Refused,
		Contenders: []ContenderDump{},
	}
	if l.State == lockmgr.Untracked {
		d.Verdict, d.Reason = l.Finding.Verdict.String(), l.Finding.Reason
	}
	d.Owner = fs.dumpOwner(l.Owner)
	for _, c := range l.Contenders {
		comm := fs.Callers.Describe(c.Identity).Comm
		d.Contenders = append(d.Contenders, ContenderDump{PID: c.PID, Comm: comm, LastSeen: c.LastSeen})
	}
	return d
}

// SetNews has the dump tell of an upgrade; the text is JSON.
func (fs *FS) SetNews(text []byte) { fs.news.Store(&text) }
