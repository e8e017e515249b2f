// Package events keeps what happened to the locks of a mount: the last of it in memory, and more of it in a file that outlives
// the mount.
//
// It is a history, not the truth: that is in the records of the grants. So nobody waits until an event is written. What is told
// within 50 ms is written at once, and a server that is killed takes that with it; what a reader was given is in the file, unless
// that can't be written. A machine that crashes may lose more, as nothing is synced. Whatever is known to be missing is told of in
// an event of its own (Lost).
//
//	event.go   what an event says, and what it is as a line of JSON
//	log.go     takes events, numbers them, and writes them many at once
//	file.go    the two files
//	memory.go  the last events
//	reader.go  gives them in their order: from the files, from memory, and as they come
package events
