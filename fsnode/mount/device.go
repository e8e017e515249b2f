package mount

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"sessionlockfs/fsnode"
)

// device serves the requests that come out of a descriptor of /dev/fuse. go-fuse's own loop can't be used: it wants to begin a
// connection, and this one may have begun with another process. What a request means is go-fuse's to say.
//
// Each reader serves what it has read; when the last one that waits gets a request it starts another one first, so that
// nobody waits for a request that takes long.
type device struct {
	fd       int
	fs       *fsnode.FS
	log      zerolog.Logger
	protocol *fuse.ProtocolServer
	kernel   fuse.InitIn
	once     bool // have nothing sent again

	waiting  atomic.Int32 // readers that have nothing to do
	serving  atomic.Int32 // requests under way
	draining atomic.Bool
	failed   atomic.Pointer[error] // why requests can't be read any more, if it is not that the mount is gone
	readers  sync.WaitGroup
	requests buffers   // for requests
	answers  sync.Pool // of []byte for an answer
	small    sync.Pool // of []byte for a short one
}

const (
	page         = 4096
	writeHeader  = 80                       // of a write: its data begins at a page, as direct I/O wants it
	answerHeader = 16                       // of an answer: the same
	requestSize  = fsnode.MaxRequest + page // what the kernel wants a reader to have room for: a write and its header
	smallAnswer  = 8192                     // is enough for what tells of one thing
	idleReaders  = 4                        // of more that wait for requests, the last to be done ends
)

func newDevice(fd *os.File, fs *fsnode.FS, opts *fuse.MountOptions, logger zerolog.Logger) *device {
	opts.Logger = log.New(logger, "", 0)
	opts.PanicHandler = func(reason any) fuse.Status { panic(reason) } // the next server does better than half of this one
	d := &device{fd: int(fd.Fd()), fs: fs, log: logger, protocol: fuse.NewProtocolServer(fs, opts)}
	d.requests = make(buffers, keptBuffers)
	d.answers.New = func() any { b := make([]byte, page+fsnode.MaxRequest)[page-answerHeader:]; return &b }
	d.small.New = func() any { b := make([]byte, smallAnswer); return &b }
	return d
}

// buffers is memory for requests that is there. Where the kernel has to make a page present while it hands us a request, and we
// are killed then, the request fails with EIO instead of being sent again: __get_user_pages gives up on a fatal
// signal, and fuse_dev_do_read ends the request. To bring a buffer about is so dear that some are kept for good, which a sync.Pool
// does not.
type buffers chan []byte

const keptBuffers = 16

func (b buffers) get() []byte {
	select {
	case buf := <-b:
		return buf
	default:
	}
	buf := make([]byte, page+requestSize)
	for i := 0; i < len(buf); i += page {
		buf[i] = 0
	}
	return buf[page-writeHeader:]
}

func (b buffers) put(buf []byte) {
	select {
	case b <- buf:
	default:
	}
}

// errUnmounted is why a read ends when nobody has the mount any more.
var errUnmounted = errors.New("unmounted")

// isUnmounted reports whether what a descriptor of /dev/fuse says means that; ECONNABORTED if it was forced (fuse_dev_do_read).
func isUnmounted(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ECONNABORTED)
}

// read waits for a request.
func (d *device) read(buf []byte) (fsnode.Request, error) {
	for {
		n, err := unix.Read(d.fd, buf)
		switch err {
		case nil:
			if r := fsnode.Request(buf[:n]); r.Valid() {
				return r, nil
			}
			return nil, fmt.Errorf("a request of %d bytes", n)
		case unix.EINTR, unix.EAGAIN, unix.ENOENT: // ENOENT: it was interrupted before we had it
		default:
			if isUnmounted(err) {
				err = errUnmounted
			}
			return nil, err
		}
	}
}

// begin answers the kernel's first request, or goes on where another server began.
func (d *device) begin(remains *fsnode.Remains) error {
	init, begun := remains.Began()
	if !begun {
		buf := d.requests.get()
		defer d.requests.put(buf)
		r, err := d.read(buf)
		if err != nil {
			return err
		}
		if !r.Begins() {
			return errors.New("the connection has begun, and nobody knows how")
		}
		if err := remains.Begin(r); err != nil {
			return err
		}
		init = r
	}
	out := make([]byte, 4096)
	n, st := d.protocol.HandleRequest([][]byte{init}, [][]byte{out})
	if !st.Ok() {
		return fmt.Errorf("the kernel's first request: %v", st)
	}
	in := (*fuse.InitIn)(unsafe.Pointer(&init[0]))
	d.kernel = *in
	d.fs.Connected(d, in)
	if begun {
		return nil
	}
	return d.write(out[:n])
}

// resends reports whether the kernel can send again what an earlier server took (FUSE_HAS_RESEND, Linux 6.9).
func (d *device) resends() bool { return !d.once && d.kernel.Flags64()&fuse.CAP_HAS_RESEND != 0 }

// ownQueue has what we take fail when we die (ECONNABORTED), where it can't be sent again: whoever waits for it
// would wait for ever. For that it has to be taken through a descriptor that nobody else has (fuse_dev_release).
func (d *device) ownQueue() error {
	if d.resends() {
		return nil
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("another descriptor of the connection: %w", err)
	}
	const clone = 0x8004e500 // FUSE_DEV_IOC_CLONE
	if err := unix.IoctlSetPointerInt(fd, clone, d.fd); err != nil {
		unix.Close(fd)
		return fmt.Errorf("another descriptor of the connection: %w", err)
	}
	d.fd = fd
	return nil
}

// again has the kernel send again what was taken and not answered, and reads that, with what else waits. The kernel
// puts it before everything else, while we write (fuse_resend).
func (d *device) again() (requests []fsnode.Request, err error) {
	if !d.resends() {
		return nil, nil
	}
	if err := d.write(notice(fuse.NOTIFY_RESEND, nil)); err != nil {
		return nil, fmt.Errorf("ask for what was not answered: %w", err)
	}
	buf := d.requests.get()
	defer d.requests.put(buf)
	for readable(d.fd, 0, unix.POLLIN) {
		r, err := d.read(buf)
		if err != nil {
			return nil, err
		}
		requests = append(requests, append(fsnode.Request(nil), r...))
	}
	return requests, nil
}

// readable waits until a descriptor can be read, or until one of these is so of it (poll(2)), but not for longer than that.
func readable(fd int, limit time.Duration, is int16) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, int(limit/time.Millisecond))
	return err == nil && n > 0 && poll[0].Revents&is != 0
}

// serve serves until the mount is gone.
func (d *device) serve(before []fsnode.Request) error {
	for _, r := range before {
		d.readers.Add(1)
		go func() {
			defer d.readers.Done()
			d.handle(r)
		}()
	}
	d.readers.Add(1)
	d.waiting.Add(1)
	go d.reader()
	d.readers.Wait()
	if err := d.failed.Load(); err != nil {
		return fmt.Errorf("read a request: %w", *err)
	}
	return nil
}

// reader reads and serves. The caller has counted it in readers and waiting.
func (d *device) reader() {
	defer d.readers.Done()
	buf := d.requests.get()
	defer d.requests.put(buf)
	for {
		r, err := d.read(buf)
		if d.waiting.Add(-1) == 0 && err == nil {
			d.readers.Add(1)
			d.waiting.Add(1)
			go d.reader()
		}
		if err != nil {
			if err != errUnmounted {
				d.failed.Store(&err)
			}
			return
		}
		if d.draining.Load() && !r.Unanswered() {
			return // whoever comes after us is sent it again
		}
		d.handle(r)
		if d.draining.Load() || d.waiting.Load() >= idleReaders {
			return
		}
		d.waiting.Add(1)
	}
}

// handle serves a request.
func (d *device) handle(r fsnode.Request) {
	d.serving.Add(1)
	defer d.serving.Add(-1)
	d.fs.Remains.Took()
	if r.Unanswered() {
		d.protocol.HandleRequest([][]byte{r}, nil)
		return
	}
	began := d.fs.Latency.Now()
	if d.fs.Lost(r) {
		d.answer(fsnode.Answer(r, fuse.Status(unix.ESTALE)))
		return
	}
	run := d.fs.Begin(r)
	defer d.fs.End(run)
	buf, pool := d.room(r)
	defer pool.Put(buf)
	n, st := d.protocol.HandleRequest([][]byte{r}, [][]byte{*buf})
	out := (*buf)[:n]
	switch {
	case !st.Ok():
		out = fsnode.Answer(r, st)
	case n == 0:
		return
	}
	d.fs.Answering(r, run, out)
	d.fs.Latency.Answered(r, began)
	d.answer(out)
}

// room gives memory for an answer, and the pool that it goes back to.
func (d *device) room(r fsnode.Request) (*[]byte, *sync.Pool) {
	pool := &d.small
	if r.Room() > smallAnswer {
		pool = &d.answers
	}
	return pool.Get().(*[]byte), pool
}

// answer sends an answer. ENOENT means that nobody waits for it any more.
func (d *device) answer(out []byte) {
	if err := d.write(out); err != nil && err != unix.ENOENT && err != unix.ENODEV {
		d.log.Error().Err(err).Msg("can't answer a request")
	}
}

func (d *device) write(out []byte) error {
	for {
		if _, err := unix.Write(d.fd, out); err != unix.EINTR {
			return err
		}
	}
}

// drain stops reading and waits until what is under way is answered, but not for longer than that.
func (d *device) drain(limit time.Duration) {
	d.draining.Store(true)
	for end := time.Now().Add(limit); d.serving.Load() > 0 && time.Now().Before(end); {
		time.Sleep(pause)
	}
}

// notice makes a message to the kernel that answers nothing.
func notice(code int32, body []byte) []byte {
	out := make([]byte, 16, 16+len(body))
	binary.NativeEndian.PutUint32(out, uint32(16+len(body)))
	binary.NativeEndian.PutUint32(out[4:], uint32(-code))
	return append(out, body...)
}

// InodeNotify has the kernel forget the attributes of an inode, and its pages from off on unless off is negative.
func (d *device) InodeNotify(node uint64, off, length int64) fuse.Status {
	body := binary.NativeEndian.AppendUint64(nil, node)
	body = binary.NativeEndian.AppendUint64(body, uint64(off))
	return d.notify(fuse.NOTIFY_INVAL_INODE, binary.NativeEndian.AppendUint64(body, uint64(length)))
}

// The calls on a descriptor of /dev/fuse for passthrough (include/uapi/linux/fuse.h).
const (
	backingOpen  = 0x4010e501 // FUSE_DEV_IOC_BACKING_OPEN
	backingClose = 0x4004e502 // FUSE_DEV_IOC_BACKING_CLOSE
)

// OpenBacking gives the kernel's number for the file that a descriptor refers to.
func (d *device) OpenBacking(fd int) (number int32, err error) {
	id, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), backingOpen, uintptr(unsafe.Pointer(&fuse.BackingMap{Fd: int32(fd)})))
	if errno != 0 {
		return 0, errno
	}
	return int32(id), nil
}

// CloseBacking gives the number back.
func (d *device) CloseBacking(number int32) {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), backingClose, uintptr(unsafe.Pointer(&number)))
}

// PruneNotify has it forget inodes that nobody uses. ENOSYS before Linux 6.18.
func (d *device) PruneNotify(nodes []uint64) fuse.Status {
	if !d.kernel.SupportsNotify(fuse.NOTIFY_PRUNE) {
		return fuse.ENOSYS
	}
	if len(nodes) == 0 {
		return fuse.OK
	}
	body := binary.NativeEndian.AppendUint32(nil, uint32(len(nodes)))
	body = append(body, make([]byte, 12)...)
	for _, node := range nodes {
		body = binary.NativeEndian.AppendUint64(body, node)
	}
	return d.notify(fuse.NOTIFY_PRUNE, body)
}

func (d *device) notify(code int32, body []byte) fuse.Status {
	if err := d.write(notice(code, body)); err != nil {
		return fuse.ToStatus(err)
	}
	return fuse.OK
}
