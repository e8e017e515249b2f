package mount

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are the mount options of -o, in the words of mount(8) and fuse(8).
type Options struct {
	AllowOther bool
	flags      uintptr // for mount(2)
	words      []string
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

func (o *Options) add(word string) error {
	switch flag, isFlag := kernelFlags[word]; {
	case word == "allow_other":
		o.AllowOther = true
	case isFlag:
		o.flags |= flag
		o.words = append(o.words, word)
	case slices.Contains(modes, word):
		o.words = append(o.words, word)
	case slices.Contains(ignored, word) || strings.HasPrefix(word, "x-"):
	case strings.HasPrefix(word, "X-mount.idmap"):
		return fmt.Errorf("%s is for the mount once it is there: mount --bind -o %s DIR ELSEWHERE (root's mounts only)", word, word)
	default:
		return fmt.Errorf("unknown mount option %q: known are allow_other, ro, suid, dev, exec, noatime and their opposites", word)
	}
	return nil
}
