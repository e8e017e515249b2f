package mount

import "golang.org/x/sys/unix"

// Arbiter tells whether a directory has an arbiter, and who that is if it can be told, without becoming it. For a moment
// it has the flock shared, for which whoever is about to become the arbiter waits.
func Arbiter(dir string) (who string, taken bool, err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", false, err
	}
	defer unix.Close(fd)
	if err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		return "", false, err
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil {
		who = flockHolder(&st)
	}
	return who, true, nil
}
