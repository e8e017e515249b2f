package lockmgr

import "testing"

func TestReadErrorsAndLocksGonePastTheMount(t *testing.T) {
	play(t, []history{
		{"1 foreign", []string{
			"A creates x.lock with foreign: granted",
			"A removes x.lock: EBUSY",
			"A closes x.lock",
			"x.lock is leaving",
			"the reaper comes",
			"B creates x.lock: granted",
		}},
		{"3 unreadable create", []string{
			"A creates x.jsonl.lock with session: granted",
			"A dies",
			"B overwrites x.jsonl.lock with data",
			"reading fails",
			"C creates x.jsonl.lock: EIO",
		}},
		{"3 unreadable reaper", []string{
			"A creates x.lock with session: granted",
			"A dies",
			"reading fails",
			"the reaper comes: EIO",
			"x.lock is on disk",
		}},
		{"3 unreadable past mount", []string{
			"the mount can't be reached",
			"A creates x.lock with session: granted",
			"A dies",
			"reading fails",
			"the reaper comes: EIO",
			"x.lock is orphan",
		}},
		{"4 two records", []string{
			"the mount can't be reached",
			"A creates x.lock with session: granted",
			"A dies",
			"removing fails",
			"the reaper comes: EIO",
			"removing works",
			"B creates x.lock: granted",
			"the log says: granted, reclaimed+payload, orphaned, reclaimed+payload, granted",
		}},
		{"5 unreadable second", []string{
			"A1 creates x.lock with session: granted",
			"reading fails",
			"A2 removes x.lock: EBUSY",
		}},
		{"6 adopted, released past the mount", []string{
			"an outsider makes x.lock with session",
			"B creates x.lock: EEXIST",
			"x.lock is judged held by Z",
			"an outsider removes x.lock",
			"B looks at x.lock: ENOENT",
			"B creates x.lock: granted",
		}},
		{"6 adopted when it was gone", []string{
			"an outsider makes x.lock with session",
			"B creates x.lock: EEXIST",
			"an outsider removes x.lock",
			"x.lock is judged held by Z",
			"B creates x.lock: granted",
		}},
		{"6 adopted, released, and made anew past the mount", []string{
			"an outsider makes x.lock with session",
			"B creates x.lock: EEXIST",
			"x.lock is judged held by Z",
			"an outsider removes x.lock",
			"an outsider makes x.lock with session",
			"B creates x.lock: EEXIST",
			"x.lock is untracked",
			"Z dies",
			"x.lock is on disk",
		}},
	})
}
