package fsnode

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// credentials are what a request does not tell of its caller: the supplementary groups and the
// effective capabilities. They are needed rarely, and must be read before a turn is taken.
type credentials struct {
	tid          uint32
	uid          uint32 // for access to files, as is the first of groups
	groups       []uint32
	capabilities uint64 // in the caller's user namespace
	foreign      bool   // the caller has a user namespace of its own
}

// credentialsOf reads /proc/TID/status, which waits for nothing, execve(2) included. Of a caller that
// can't be seen only what the request tells is known.
func credentialsOf(h *fuse.InHeader) *credentials {
	c := &credentials{tid: h.Pid, uid: h.Uid, groups: []uint32{h.Gid}}
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
		case "Uid":
			c.uid = ownID(value, h.Uid)
		case "Gid":
			c.groups[0] = ownID(value, h.Gid)
		case "Groups":
			c.addGroups(value)
		case "CapEff":
			c.capabilities, _ = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	c.foreign = !sharesUserNamespace(h.Pid)
	return c
}

// ownID is the id that the request says or, where mounts may be idmapped and it says nothing, the caller's own one for
// access to files, the last on the line. Through a mount that is mapped that may be another.
func ownID(line string, said uint32) uint32 {
	words := strings.Fields(line)
	if said != unmapped || len(words) == 0 {
		return said
	}
	id, err := strconv.ParseUint(words[len(words)-1], 10, 32)
	if err != nil {
		return unmapped
	}
	return uint32(id)
}

func (c *credentials) addGroups(list string) {
	for _, word := range strings.Fields(list) {
		if gid, err := strconv.ParseUint(word, 10, 32); err == nil {
			c.groups = append(c.groups, uint32(gid))
		}
	}
}

// sharesUserNamespace reports whether a thread's capabilities count for everything here.
func sharesUserNamespace(tid uint32) bool {
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", tid))
	if err != nil {
		return false
	}
	ours, err := os.Readlink("/proc/self/ns/user")
	return err == nil && its == ours
}

// in reports whether a group is one of the caller's.
func (c *credentials) in(gid uint32) bool { return slices.Contains(c.groups, gid) }

// has reports whether the caller has a capability (capable, kernel/capability.c).
func (c *credentials) has(capability uint) bool {
	return !c.foreign && c.capabilities>>capability&1 != 0
}

// hasOver reports whether the caller has a capability over an inode: in a user namespace of its own,
// over those whose ids are mapped there (capable_wrt_inode_uidgid).
func (c *credentials) hasOver(capability uint, st *unix.Stat_t) bool {
	if !c.foreign {
		return c.has(capability)
	}
	return c.capabilities>>capability&1 != 0 && c.maps("uid_map", st.Uid) && c.maps("gid_map", st.Gid)
}

// ownerOrCapable reports whether the caller may do what an inode's owner may (inode_owner_or_capable, fs/inode.c).
func ownerOrCapable(h *fuse.InHeader, st *unix.Stat_t) bool {
	if h.Uid == st.Uid {
		return true
	}
	c := credentialsOf(h)
	return c.uid == st.Uid || c.capabilities>>unix.CAP_FOWNER&1 != 0 && (!c.foreign || c.maps("uid_map", st.Uid))
}

// maps reports whether an id has a counterpart in the caller's user namespace; see user_namespaces(7). The map is told
// in ids of the reader's.
func (c *credentials) maps(file string, id uint32) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.tid, file))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && uint64(id) >= outside && uint64(id) < outside+count {
			return true
		}
	}
	return false
}
