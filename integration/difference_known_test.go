package integration

// knownDifference is something that FUSE itself does otherwise, whatever the file system behind it does. The bare side
// is not asked then, and takes the mount's answer for its own, so that the trees stay the same.
type knownDifference struct {
	call   string
	when   func(*caller, operation) bool // looks at the bare side, before the call
	answer string                        // what the mount must answer, and nothing else
	reason string                        // the kernel's function
}

func knownDifferences() []knownDifference {
	return []knownDifference{}
}

// knownAnswer is what the bare side says instead of making the call.
func (c *caller) knownAnswer(o operation) (string, bool) {
	if !c.bare {
		return "", false
	}
	for _, known := range knownDifferences() {
		if known.call == o.kind.name && known.when(c, o) {
			return known.answer, true
		}
	}
	return "", false
}
