package fsnode

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"sessionlockfs/lockmgr"
)

// isGitLock reports whether a name is that of a lock of git's own, in a git directory: there
// rule 9 holds.
func (fs *FS) isGitLock(dir *inode, name string) bool {
	if strings.HasSuffix(name, ".jsonl.lock") { // agents' locks, which are many, need no look at their path
		return false
	}
	rel, err := fs.dirPath(dir.real)
	if err != nil {
		return false
	}
	for inside := ""; ; rel = path.Dir(rel) {
		if lockmgr.GitLock(inside, name) && fs.isGitDir(rel) {
			return true
		}
		if rel == "." {
			return false
		}
		inside = path.Join(path.Base(rel), inside)
	}
}

// isGitDir reports whether a directory, by its path relative to the root, is what git takes
// for one of its own (is_git_directory in git's setup.c).
func (fs *FS) isGitDir(rel string) bool {
	fd, err := fs.openDirAt(rel)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	for _, name := range []string{"HEAD", "objects", "refs"} {
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return false
		}
	}
	return true
}
