package mount

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// link is the socket between the holder and one server. A message is a packet: its kind, a number, and bytes; with it may
// come a descriptor. Packets arrive in order, also those of a server that has died since.
//
// mu is taken shared to send, so that nobody sends to what has the number of a descriptor that is closed. Only who receives closes.
type link struct {
	file *os.File
	fd   int

	mu     sync.RWMutex
	closed bool

	packet []byte // of the one who receives
}

type message struct {
	kind   messageKind
	number uint64
	body   []byte
	fd     int // -1 for none; the receiver's
}

type messageKind uint8

const (
	// From the server.
	sayPrepared messageKind = iota + 1 // it can take over
	sayKeep                            // number is a handle, body what is to be known of it
	sayDrop                            // number is a handle
	saySweep                           // body is a sweeping
	sayReady                           // it serves
	sayFailed                          // body is a failure: it can't begin, and ends

	// From the holder.
	sayKept    // as in sayKeep
	sayAllKept // that was it: go on where the server before ended; number is when, in Unix nanoseconds, 0 if there was none
	saySwept   // body is an error in words, or empty
	sayMounted // number is the device under which the mount is seen
	sayQuit    // answer what is under way, and end
	sayNews    // body is what to tell who asks about the mount: how the last upgrade went
)

const (
	packetHeader = 9
	packetSize   = 64 << 10
)

// linkPair makes both ends.
func linkPair() (ours, theirs *link, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("a socket to the server: %w", err)
	}
	return newLink(fds[0]), newLink(fds[1]), nil
}

func newLink(fd int) *link { return &link{file: os.NewFile(uintptr(fd), "link"), fd: fd} }

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.file.Close()
}

// send sends a message. Whoever may have died gets none, which is no error: its end is noticed elsewhere.
func (l *link) send(m message) error {
	packet := make([]byte, packetHeader, packetHeader+len(m.body))
	packet[0] = byte(m.kind)
	binary.NativeEndian.PutUint64(packet[1:], m.number)
	packet = append(packet, m.body...)
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return unix.EPIPE
	}
	var rights []byte
	if m.fd >= 0 {
		rights = unix.UnixRights(m.fd)
	}
	for {
		if err := unix.Sendmsg(l.fd, packet, rights, nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			return err
		}
	}
}

func (l *link) say(kind messageKind, number uint64, body []byte) error {
	return l.send(message{kind, number, body, -1})
}

// nap is how long receiveLazily lets messages gather.
const nap = 2 * time.Millisecond

// receiveLazily is receive for a receiver that should not be woken for each of many messages: to wake it costs whoever sends
// more than to send does. Before it goes to wait it looks once more, after a nap.
func (l *link) receiveLazily() (m message, err error) {
	if m, err = l.receiveNow(unix.MSG_DONTWAIT); err != unix.EAGAIN {
		return m, err
	}
	time.Sleep(nap)
	if m, err = l.receiveNow(unix.MSG_DONTWAIT); err != unix.EAGAIN {
		return m, err
	}
	return l.receive()
}

// receive waits for a message. io.EOF if the other side is gone, and all that it sent is read.
func (l *link) receive() (message, error) { return l.receiveNow(0) }

// receiveNow is receive with flags of recvmsg(2).
func (l *link) receiveNow(flags int) (m message, err error) {
	packet, fd, err := l.receivePacket(flags)
	switch {
	case err != nil:
		return m, err
	case len(packet) < packetHeader:
		return m, io.EOF
	}
	return message{
		messageKind(packet[0]), binary.NativeEndian.Uint64(packet[1:]), bytes.Clone(packet[packetHeader:]), fd,
	}, nil
}

// receivePacket receives what is valid until the next packet, and the descriptor that comes with it; -1 for none.
func (l *link) receivePacket(flags int) (packet []byte, fd int, err error) {
	if l.packet == nil {
		l.packet = make([]byte, packetSize)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		n, nrights, _, _, err := unix.Recvmsg(l.fd, l.packet, rights, unix.MSG_CMSG_CLOEXEC|flags)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, -1, err
		}
		fd, err := onlyDescriptor(rights[:nrights])
		return l.packet[:n], fd, err
	}
}

func onlyDescriptor(rights []byte) (int, error) {
	if len(rights) == 0 {
		return -1, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return -1, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1, err
	}
	return fds[0], nil
}

// sweeping is what to remove through the mount.
type sweeping struct {
	Dir      string
	Dev, Ino uint64
	Names    []string
}

// failure is why a server can't begin.
type failure struct {
	Code int
	What string
}

// serverEnd is the server's end of the link: it keeps handles and sweeps. Without a holder, which may have died, nothing is kept,
// and the server goes on.
type serverEnd struct {
	*link
	point string

	mu    sync.Mutex // one sweeping at a time
	swept chan string
	gone  chan struct{} // closed when the holder is
}

var _ interface {
	fsnode.Keeper
	fsnode.Sweeper
} = (*serverEnd)(nil)

// Keep keeps a handle.
func (s *serverEnd) Keep(fh uint64, about []byte, fd int) {
	_ = s.send(message{sayKeep, fh, about, fd})
}

// Drop ends that.
func (s *serverEnd) Drop(fh uint64) { _ = s.say(sayDrop, fh, nil) }

// Sweep has the holder remove entries through the mount.
func (s *serverEnd) Sweep(dir string, dev, ino uint64, names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := sweeping{dir, dev, ino, names}
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	if err := s.say(saySweep, 0, body); err != nil {
		return sweep(s.point, what)
	}
	select {
	case text := <-s.swept:
		if text != "" {
			return errors.New(text)
		}
		return nil
	case <-s.gone:
		return unix.EPIPE
	}
}
