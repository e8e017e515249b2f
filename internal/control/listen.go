package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Listener is the socket of a mount. To close it takes it away, unless another mount's, which got the same device number, is there by now.
type Listener struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Listen makes the socket of a mount, for the group as well if that is not negative. An earlier server's goes.
func Listen(path string, group int) (*Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	// It is made where nobody else can come, since it has its mode only when it is there.
	private := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.RemoveAll(private); err != nil { // of a server that was killed in here
		return nil, err
	}
	if err := os.Mkdir(private, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	unixListener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	unixListener.SetUnlinkOnClose(false)
	l := &Listener{UnixListener: unixListener, path: path}
	if err := l.show(made, group); err != nil {
		return nil, errors.Join(err, unixListener.Close())
	}
	return l, nil
}

// show gives the socket its mode and puts it in its place.
func (l *Listener) show(made string, group int) (err error) {
	mode := os.FileMode(0o600)
	if group >= 0 {
		mode = 0o660
		err = os.Chown(made, -1, group)
	}
	if err := errors.Join(err, os.Chmod(made, mode)); err != nil {
		return err
	}
	if l.made, err = os.Lstat(made); err != nil {
		return err
	}
	return os.Rename(made, l.path)
}

// Close ends the listening. It may be called again.
func (l *Listener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.made) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}

// Path is where we put the socket of the mount with this device number; "" if there is no place for one.
func Path(device uint64) string {
	if os.Geteuid() == 0 {
		return filepath.Join(rootsDir, name(device))
	}
	if dir := runtimeDir(); dir != "" {
		return filepath.Join(dir, "sessionlockfs", name(device))
	}
	return ""
}

// runtimeDir is a user's; "" if there is none. Who came by su or cron is not told of it.
func runtimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return dir
	}
	dir := fmt.Sprintf("/run/user/%d", os.Geteuid())
	if unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	return dir
}

const rootsDir = "/run/sessionlockfs"

func name(device uint64) string {
	return fmt.Sprintf("%d-%d.sock", unix.Major(device), unix.Minor(device))
}

// deviceOf reads a name.
func deviceOf(name string) (device uint64, ok bool) {
	var major, minor uint32
	if _, err := fmt.Sscanf(name, "%d-%d.sock", &major, &minor); err != nil {
		return 0, false
	}
	return unix.Mkdev(major, minor), true
}

// paths are where the socket of a mount may be.
func paths(device uint64) (all []string) {
	for _, dir := range dirs() {
		all = append(all, filepath.Join(dir, name(device)))
	}
	return all
}

// dirs are where there may be sockets: of root's mounts, of ours, or, if we are root, of anybody's.
func dirs() []string {
	all := []string{rootsDir}
	if os.Geteuid() == 0 {
		users, _ := filepath.Glob("/run/user/*/sessionlockfs")
		return append(all, users...)
	}
	if own := Path(0); own != "" {
		all = append(all, filepath.Dir(own))
	}
	return all
}
