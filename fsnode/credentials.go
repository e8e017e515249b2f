package fsnode

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// credentials are what a request does not tell of its caller: the supplementary groups and the
// effective capabilities. They are needed rarely, and must be read before a turn is taken.
type credentials struct {
	groups       []uint32
	capabilities uint64
}

// credentialsOf reads /proc/TID/status, which waits for nothing, execve(2) included. Of a caller that
// can't be seen only what the request tells is known.
func credentialsOf(h *fuse.InHeader) credentials {
	c := credentials{groups: []uint32{h.Gid}}
	if h.Uid == 0 {
		c.capabilities = ^uint64(0)
	}
	if h.Pid == 0 {
		return c
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.Pid))
	if err != nil {
		return c
	}
	for line := range strings.Lines(string(text)) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "Groups":
			c.addGroups(value)
		case "CapEff":
			c.capabilities, _ = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	if !sharesUserNamespace(h.Pid) {
		c.capabilities = 0
	}
	return c
}

func (c *credentials) addGroups(list string) {
	for _, word := range strings.Fields(list) {
		if gid, err := strconv.ParseUint(word, 10, 32); err == nil {
			c.groups = append(c.groups, uint32(gid))
		}
	}
}

// sharesUserNamespace reports whether a thread's capabilities count here: those that it has in a
// user namespace of its own say nothing about our files.
func sharesUserNamespace(tid uint32) bool {
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", tid))
	if err != nil {
		return false
	}
	ours, err := os.Readlink("/proc/self/ns/user")
	return err == nil && its == ours
}

// in reports whether a group is one of the caller's.
func (c credentials) in(gid uint32) bool { return slices.Contains(c.groups, gid) }

// has reports whether the caller has a capability.
func (c credentials) has(capability uint) bool { return c.capabilities>>capability&1 != 0 }
