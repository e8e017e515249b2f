package integration

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What may not be run, or written, in the directory itself may not be in the mount, unless whoever mounts says so.
func TestFlagsOfTheDirectorysOwnMount(t *testing.T) {
	needRoot(t)
	const always = unix.ST_NOSUID | unix.ST_NODEV // unless -o says otherwise
	for _, c := range []struct {
		own, option string
		user        *syscall.Credential
		want        int64
	}{
		{"suid,dev,exec", "", nil, always},
		{"suid,dev,exec", "suid,dev", nil, 0},
		{"nosuid,nodev,noexec", "", nil, always | unix.ST_NOEXEC},
		{"nosuid,nodev,noexec", "suid,dev,exec", nil, 0},
		{"nosuid,nodev,noexec", "suid", nil, unix.ST_NODEV | unix.ST_NOEXEC},
		{"noexec", "", nobody, always | unix.ST_NOEXEC},
		{"noexec", "exec", nobody, always},
		{"ro", "", nil, always | unix.ST_RDONLY},
		{"ro", "rw", nil, always},
	} {
		t.Run(c.own+" with "+c.option, func(t *testing.T) {
			m := newMount(t, asUser(c.user), withOption(c.option), withContent(func(dir string) {
				mustDo(t, os.WriteFile(dir+"/script", []byte("#!/bin/sh\nexit 0\n"), 0o755))
				mustRun(t, "mount", "--bind", dir, dir)
				t.Cleanup(func() { mustRun(t, "umount", "-l", dir) })
				mustRun(t, "mount", "-o", "remount,bind,"+c.own, dir)
			}))
			mustHaveFlags(t, m, c.user, c.want)
		})
	}
}

// withOption mounts with -o.
func withOption(words string) mountOption {
	return func(m *mount) {
		if words != "" {
			m.flags = append(m.flags, "-o", words)
		}
	}
}

func mustHaveFlags(t *testing.T, m *mount, user *syscall.Credential, want int64) {
	t.Helper()
	const compared = unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC | unix.ST_RDONLY
	var st unix.Statfs_t
	mustDo(t, unix.Statfs(m.dir, &st))
	if got := st.Flags & compared; got != want {
		t.Errorf("flags %#x, want %#x", got, want)
	}
	err := commandAs(user, m.path("script")).Run()
	if denied := errors.Is(err, syscall.EACCES); denied != (want&unix.ST_NOEXEC != 0) || err != nil && !denied {
		t.Errorf("running a script: %v", err)
	}
}
