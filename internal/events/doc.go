// Package events keeps what happened to the locks of a mount: the last of it in memory, and
// more of it in a file that outlives the mount.
package events
