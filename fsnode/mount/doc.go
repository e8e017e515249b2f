// Package mount is the life of a mount: what must be so before there is one, bringing it
// up, ending it, and telling a person why not.
//
// A mount is held by one process and served by another one, which may die. The holder (holder.go) has what must outlive a
// server, and starts the next one (served.go, standby.go, pace.go), also for a new program (upgrade.go) and in place
// of one that hangs (watchdog.go). They talk by a socket (link.go). The server (mount.go) takes over what the one before
// left, and answers the kernel (device.go).
package mount
