package mount

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// sweep removes entries as any process would, by unlinks through the mount, so that whoever watches the directory sees
// it. Their server learns of it as of everybody's: it lets us remove what it wants removed.
func sweep(point string, s sweeping) error {
	dir, err := openInMount(point, s)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	for _, name := range s.Names {
		if e := fsnode.UnlinkAny(dir, name); e != nil && e != unix.ENOENT {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
		}
	}
	return err
}

// openInMount opens a directory as everybody sees it, and follows no link. ESTALE if the mount is not where it was.
func openInMount(point string, s sweeping) (int, error) {
	root, err := unix.Open(point, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, s.Dir, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if st.Dev != s.Dev || st.Ino != s.Ino {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is not our mount: %w", point, unix.ESTALE)
	}
	return fd, nil
}
