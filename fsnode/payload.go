package fsnode

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// PayloadDump is what stands under a lock's name on the real directory, and what holds for that name. It is an interface that
// programs rely on: fields are only ever added.
type PayloadDump struct {
	Kind string `json:"kind"`          // as in LockDump; "" if nothing is there
	Size int64  `json:"size"`          // of all of it, in bytes
	Data []byte `json:"data"`          // its first MaxTold bytes; of a directory "name: content" of the files in it
	PID  int64  `json:"pid,omitempty"` // that it names, 0 if none
	Lock bool   `json:"lock"`          // it has a lock's shape; everything else could be data

	Git      bool   `json:"git"`      // it is git's own, in a git directory
	Guards   string `json:"guards"`   // name of the file that it is for, "" if for none
	Guard    string `json:"guard"`    // what becomes of others' writes to that: off, log or deny
	Raw      bool   `json:"raw"`      // others see it as it is while it is held
	Evidence bool   `json:"evidence"` // an orphan stays until somebody takes or removes it
	Overdue  bool   `json:"overdue"`  // it is held for longer than its hold limit: anybody may remove it
}

// MaxTold is how much of a lock's content a PayloadDump has, in bytes.
const MaxTold = 4 << 10

// ErrNoLock is the cause when a name is asked about that is no lock's.
var ErrNoLock = errors.New("it has no lock's name")

// ErrDirectory is an ErrNoLock about a directory.
var ErrDirectory error = directoryError{}

type directoryError struct{}

func (directoryError) Error() string { return "it is a directory" }
func (directoryError) Unwrap() error { return ErrNoLock }

// Payload gives what stands under a lock's name, which is relative to the mount, as the JSON of a PayloadDump. It only looks: nobody
// becomes a contender, and no notice is taken of what nobody knew of. Besides ErrNoLock and ErrLink the error is that of
// the way there.
func (fs *FS) Payload(name string) ([]byte, error) {
	dir, base, err := fs.keepDirOf(name)
	if err != nil {
		return nil, err
	}
	defer fs.inodes.giveBack(dir)
	if !fs.Locks.Policy().IsLock(base) {
		return nil, noLock(dir, base)
	}
	d, err := fs.dumpPayload(dir, base)
	if err != nil {
		return nil, err
	}
	fs.dumpRules(&d, dir, base)
	text, err := json.Marshal(d)
	return append(text, '\n'), err
}

func noLock(dir *inode, name string) error {
	var st unix.Stat_t
	if unix.Fstatat(dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return ErrDirectory
	}
	return ErrNoLock
}

// dumpPayload tells of an entry; its kind is "" if there is none.
func (fs *FS) dumpPayload(dir *inode, name string) (d PayloadDump, err error) {
	fd, st, err := statChild(dir, name)
	if err == unix.ENOENT {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	defer unix.Close(fd)
	content, err := fs.contentOf(fd, st)
	if err != nil {
		return d, err
	}
	payload, shaped := lockmgr.ParsePayload(content)
	data := content.Record()
	return PayloadDump{
		Kind: content.Kind.String(), Size: st.Size, Data: data[:min(len(data), MaxTold)], PID: payload.PID, Lock: shaped,
	}, nil
}

// dumpRules says what holds for the name.
func (fs *FS) dumpRules(d *PayloadDump, dir *inode, name string) {
	policy := fs.Locks.Policy()
	d.Git = fs.isGitLock(dir, name)
	if l := policy.Of(name); l != nil {
		d.Raw, d.Evidence = l.Raw, l.Evidence
	}
	file, guard := policy.Guards(name)
	if d.Git {
		guard = lockmgr.GuardOff
	}
	d.Guards, d.Guard = file, guard.String()
	d.Overdue = fs.Locks.Overdue(dir.key(name))
}
