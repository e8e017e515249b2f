package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// system is a file system that is measured.
type system struct {
	name    string
	command []string // to mount; {source} and {point} stand for the directories. Empty for the bare directory
	point   string   // where it is mounted
	running *exec.Cmd
}

// The systems that results are compared with.
const (
	bareName = "bare"
	ourName  = "sessionlockfs"
	peerName = "passthrough_ll"
)

// systems are the bare directory and those that the arguments name, as NAME=COMMAND with blanks between the command's words. A command stays in the
// foreground as long as the file system is mounted.
func systems(arguments []string) []*system {
	all := []*system{{name: bareName}}
	for _, a := range arguments {
		name, command, _ := strings.Cut(a, "=")
		all = append(all, &system{name: name, command: strings.Fields(command)})
	}
	return all
}

// isPeer is for those that ours is compared with.
func (s *system) isPeer() bool { return s.name != bareName && s.name != ourName }

// dir makes a directory for a work, as it is seen through the system.
func (s *system) dir(work string) string {
	dir := filepath.Join(s.point, s.name, strings.ReplaceAll(work, " ", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		exit(err)
	}
	return dir
}

func (s *system) mount(source string) error {
	if len(s.command) == 0 {
		s.point = source
		return nil
	}
	var err error
	if s.point, err = os.MkdirTemp("", "bench-"+s.name+"-"); err != nil {
		return err
	}
	var words []string
	for _, word := range s.command {
		words = append(words, strings.NewReplacer("{source}", source, "{point}", s.point).Replace(word))
	}
	s.running = exec.Command(words[0], words[1:]...)
	s.running.Stderr = os.Stderr
	if err := s.running.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var st unix.Statfs_t
		if unix.Statfs(s.point, &st) == nil && st.Type == unix.FUSE_SUPER_MAGIC {
			return nil
		}
	}
	return fmt.Errorf("not mounted by %q", words)
}

func (s *system) unmount() {
	if s.running == nil {
		return
	}
	if err := unix.Unmount(s.point, 0); err != nil {
		fmt.Fprintf(os.Stderr, "bench: unmount %s: %v\n", s.point, err)
		_ = unix.Unmount(s.point, unix.MNT_DETACH)
	}
	_ = s.running.Wait()
	_ = os.Remove(s.point)
}
