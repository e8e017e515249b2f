package doctor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
	"sessionlockfs/fsnode/mount"
	"sessionlockfs/internal/cli"
)

// ground checks what a real directory lies on. The mount, if there is one, is not asked; holder is its process.
func (x *examination) ground(p *place, holder int) {
	x.add(checkPropagation(p.under), checkFileSystem(p.real))
	err, answered := within(lookWithin, func() error { return tryAttribute(x.groundPath(p, holder)) })
	if !answered {
		err = errSilent
	}
	x.add(checkRecords(err))
}

// checkPropagation is about the mount that ours lies on, or would: what is mounted there reaches containers if it is shared.
func checkPropagation(under mount.Entry) Finding {
	const check = "propagation"
	point := cli.Printable(under.Mountpoint)
	if under.Shared == 0 {
		return warn(check, "mount --make-shared "+point+", and start the containers anew",
			"%s is not a shared mount: a mount made anew does not reach running containers", point)
	}
	return ok(check, "%s is shared: a new mount reaches containers that have bound the parent with rslave", point)
}

// remoteTypes are the file systems on which another machine may be at work, as fsnode knows them by number. FUSE is one: nobody tells
// what is behind it.
var remoteTypes = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "9p", "ocfs2", "gfs2", "lustre", "virtiofs", "fuseblk"}

func checkFileSystem(real mount.Entry) Finding {
	const check = "file system"
	kind := cli.Printable(real.Type)
	switch {
	case real.Type == "":
		return warn(check, "look into /proc/self/mountinfo", "can't be told")
	case slices.Contains(remoteTypes, real.Type) || real.Type == "fuse" || strings.HasPrefix(real.Type, "fuse."):
		return warn(check, "keep the sessions on a disk of this machine",
			"%s: another machine may be at work there, so a lock without a record of ours is never judged (unknown)", kind)
	case real.ReadOnly:
		return ok(check, "%s, read-only: no lock can be made or removed", kind)
	case real.Type == "overlay":
		return ok(check, "overlay: works; another overlay can't be put over the mount, and what a container's own layer holds goes with it")
	}
	return ok(check, "%s", kind)
}

var errSilent = errors.New("no answer")

// errHidden says that the file system below can't be reached past the mount.
var errHidden = errors.New("it is hidden below the mount")

// checkRecords goes by what came of asking for a record where there is none.
func checkRecords(err error) Finding {
	const check = "records"
	name := fsnode.RecordAttribute()
	switch {
	case err == nil || errors.Is(err, unix.ENODATA):
		return ok(check, "who holds which lock is kept in attributes (%s)", name)
	case errors.Is(err, unix.EOPNOTSUPP):
		return warn(check, "nothing, or move the sessions to ext4, xfs or btrfs",
			"the file system has no attributes %s: who holds which lock is kept in files, in %s of the real directory", name, fsnode.ControlDir)
	case errors.Is(err, errHidden):
		return ok(check, "not looked at: %v", err)
	}
	return warn(check, "see whether the file system below is in order", "whether the file system has attributes (%s) can't be told: %v", name, err)
}

// tryAttribute asks for a record and writes nothing.
func tryAttribute(path string) error {
	if path == "" {
		return errHidden
	}
	_, err := unix.Getxattr(path, fsnode.RecordAttribute(), nil)
	return err
}

// groundPath is a path on the file system of the real directory: where that can be seen uncovered, or by what the
// holder of the mount has open; "" if there is none.
func (x *examination) groundPath(p *place, holder int) string {
	if !p.mounted() {
		return p.path
	}
	for _, e := range x.table {
		if e.Device == p.real.Device && x.table.End(e.Mountpoint).ID == e.ID {
			return e.Mountpoint
		}
	}
	if holder == 0 {
		return ""
	}
	dir := fmt.Sprintf("/proc/%d/fd/", holder)
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if target, err := os.Readlink(dir + f.Name()); err == nil && target == p.source {
			return dir + f.Name() // the holder itself goes past the mount
		}
	}
	return ""
}
