package mount

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are the mount options of -o, in the words of mount(8) and fuse(8).
type Options struct {
	AllowOther bool
	flags      uintptr // for mount(2)
	words      []string
	said       []string // every word of -o
}

// ParseOptions reads the values of -o. What mount(8) passes along and means nothing to
// us is let go; what is unknown is an error.
func ParseOptions(values []string) (o Options, err error) {
	o.flags = unix.MS_NOSUID | unix.MS_NODEV
	for _, value := range values {
		for word := range strings.SplitSeq(value, ",") {
			if err := o.add(word); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

// inherited are the flags of the mount that a directory lies on which hold for ours as
// well: what may not be run there may not be run here. Each with what -o calls it and its
// opposite.
var inherited = []struct {
	flag      int64 // of statfs(2)
	word, not string
}{
	{unix.ST_RDONLY, "ro", "rw"},
	{unix.ST_NOSUID, "nosuid", "suid"},
	{unix.ST_NODEV, "nodev", "dev"},
	{unix.ST_NOEXEC, "noexec", "exec"},
}

// Inherit takes over from the real directory's own mount what -o says nothing about.
func (o *Options) Inherit(dir *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("the mount that %s lies on can't be looked at: %w", dir.Name(), err)
	}
	for _, i := range inherited {
		if st.Flags&i.flag != 0 && !slices.Contains(o.said, i.word) && !slices.Contains(o.said, i.not) {
			if err := o.add(i.word); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadOnly reports whether nothing can be changed through the mount.
func (o *Options) ReadOnly() bool { return o.flags&unix.MS_RDONLY != 0 }

var (
	kernelFlags = map[string]uintptr{
		"ro": unix.MS_RDONLY, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME,
		"relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME, "sync": unix.MS_SYNCHRONOUS,
		"dirsync": unix.MS_DIRSYNC,
	}
	modes   = []string{"suid", "nosuid", "dev", "nodev", "exec", "noexec"}
	ignored = []string{"", "rw", "defaults", "auto", "noauto", "user", "nouser", "users", "nofail", "_netdev", "async", "default_permissions"}
)

func isMode(word string) bool { return slices.Contains(modes, word) }

// modeFlags are the flags of mount(2). Of a mode and its opposite the last word counts.
func (o *Options) modeFlags() uintptr {
	flags := o.flags
	for _, word := range o.words {
		for _, i := range inherited { // statfs(2) has them as mount(2) has them
			switch word {
			case i.word:
				flags |= uintptr(i.flag)
			case i.not:
				flags &^= uintptr(i.flag)
			}
		}
	}
	return flags
}

func (o *Options) add(word string) error {
	o.said = append(o.said, word)
	switch flag, isFlag := kernelFlags[word]; {
	case word == "allow_other":
		o.AllowOther = true
	case isFlag:
		o.flags |= flag
		o.words = append(o.words, word)
	case isMode(word):
		o.words = append(o.words, word)
	case slices.Contains(ignored, word) || strings.HasPrefix(word, "x-"):
	case strings.HasPrefix(word, "X-mount.idmap"):
		return fmt.Errorf("%s is for the mount once it is there: mount --bind -o %s DIR ELSEWHERE (root's mounts only)", word, word)
	default:
		return fmt.Errorf("unknown mount option %q: known are allow_other, ro, suid, dev, exec, noatime and their opposites", word)
	}
	return nil
}
