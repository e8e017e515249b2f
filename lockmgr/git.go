package lockmgr

import (
	"slices"
	"strings"
)

// gitLocks are the files that git locks by creating them with ".lock" appended, by their
// path in a git directory (hold_lock_file_for_update and its callers in git 2.47).
var gitLocks = []string{
	"index", "config", "config.worktree", "packed-refs", "packed-refs.new", "shallow", "gc.pid", "MERGE_RR",
	"AUTO_MERGE", "info/sparse-checkout", "reftable/tables.list",
	"sequencer/todo", "sequencer/opts", "sequencer/head", "sequencer/abort-safety",
	"objects/maintenance", "objects/info/alternates", "objects/info/commit-graph",
	"objects/info/commit-graphs/commit-graph-chain", "objects/pack/multi-pack-index",
}

// GitLock reports whether an entry is a lock of git's own. dir is the path of its directory
// inside the git directory (which has HEAD, objects and refs), "" for that itself. What git
// locks for itself is never a session's.
func GitLock(dir, name string) bool {
	file, ok := strings.CutSuffix(name, ".lock")
	if !ok || strings.HasSuffix(file, ".jsonl") {
		return false
	}
	for strings.HasSuffix(file, ".lock") { // GIT_INDEX_FILE is the parent's index.lock in a hook
		file = strings.TrimSuffix(file, ".lock")
	}
	path := file
	if dir != "" {
		path = dir + "/" + file
	}
	if rest, ok := strings.CutPrefix(path, "worktrees/"); ok { // a git directory without objects and refs of its own
		_, path, _ = strings.Cut(rest, "/")
	}
	switch {
	case strings.HasPrefix(path, "refs/"), strings.HasPrefix(path, "logs/"):
		return true
	case !strings.Contains(path, "/") && (strings.HasSuffix(path, "HEAD") || strings.HasPrefix(path, "next-index-")):
		return true // ORIG_HEAD and its kind; the index of a partial commit
	}
	return slices.Contains(gitLocks, path)
}
