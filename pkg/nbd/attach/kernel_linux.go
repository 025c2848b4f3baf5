package attach

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout bounds the wait for the kernel's answer. DISCONNECT waits for
// the requests under way, and those for the device's own timeout.
const answerTimeout = 2 * time.Minute

// netlinkKernel is the kernel's family "nbd". It is not for concurrent use.
type netlinkKernel struct {
	requests *os.File // asks and is answered
	events   *os.File // a member of the multicast group
	family   uint16
	seq      uint32
	buf      [maxMessage]byte
}

// openKernel finds the family and joins its multicast group.
func openKernel() (kernel, error) {
	requests, err := netlinkSocket(0)
	if err != nil {
		return nil, err
	}
	k := &netlinkKernel{requests: requests, family: familyController}
	group, err := k.findFamily()
	if err == nil {
		k.events, err = netlinkSocket(group)
	}
	if err != nil {
		requests.Close()
		return nil, err
	}
	return k, nil
}

// netlinkSocket opens a socket, as a member of the group where that is not 0.
func netlinkSocket(group uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		file.Close()
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	if group != 0 {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(group))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("join the kernel's group %s: %w", multicastGroup, err)
	}
	return file, nil
}

func (k *netlinkKernel) close() error {
	return errors.Join(k.requests.Close(), k.events.Close())
}

// findFamily asks the controller for the family's number and group.
func (k *netlinkKernel) findFamily() (group uint32, err error) {
	answer, err := k.ask(cmdGetFamily, attrs(nil).stringAttr(ctrlFamilyName, familyName))
	if errors.Is(err, unix.ENOENT) {
		return 0, errors.New("this kernel has no nbd driver loaded: try modprobe nbd")
	}
	if err != nil {
		return 0, fmt.Errorf("find the kernel's nbd driver: %w", err)
	}
	k.family, group, err = decodeFamily(answer)
	return group, err
}

func (k *netlinkKernel) connect(s setup, conns []net.Conn) error {
	return withSockets(conns, func(sockets []int) error {
		s.sockets = sockets
		_, err := k.ask(cmdConnect, encodeConnect(s))
		return err
	})
}

func (k *netlinkKernel) reconfigure(index uint32, identifier string, conns []net.Conn) error {
	return withSockets(conns, func(sockets []int) error {
		_, err := k.ask(cmdReconfigure, encodeReconfigure(index, identifier, sockets))
		return err
	})
}

func (k *netlinkKernel) disconnect(index uint32) error {
	_, err := k.ask(cmdDisconnect, attrs(nil).uint32Attr(attrIndex, index))
	return err
}

func (k *netlinkKernel) connected(index uint32) (bool, error) {
	answer, err := k.ask(cmdStatus, attrs(nil).uint32Attr(attrIndex, index))
	if err != nil {
		return false, err
	}
	return decodeStatus(answer, index)
}

// withSockets lends the file descriptors of conns to f.
func withSockets(conns []net.Conn, f func(sockets []int) error) error {
	var sockets []int
	for _, conn := range conns {
		owner, ok := conn.(interface{ File() (*os.File, error) })
		if !ok {
			return fmt.Errorf("connection of type %T has no socket", conn)
		}
		file, err := owner.File()
		if err != nil {
			return fmt.Errorf("take the socket of a connection: %w", err)
		}
		defer file.Close() // the kernel keeps a reference of its own
		sockets = append(sockets, int(file.Fd()))
	}
	return f(sockets)
}

// ask sends one command and returns the attributes of the family's answer, if
// it sends one before the acknowledgement. The error is the kernel's errno.
func (k *netlinkKernel) ask(cmd uint8, a attrs) (attrs, error) {
	k.seq++
	if _, err := k.requests.Write(encodeRequest(k.family, k.seq, cmd, a)); err != nil {
		return nil, fmt.Errorf("send to the kernel: %w", err)
	}
	if err := k.requests.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	var answer attrs
	for {
		messages, err := k.receive(k.requests)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if m.seq != k.seq {
				continue // the answer to a request that was given up
			}
			if m.typ == typeError {
				return answer, errnoError(m.errno)
			}
			answer = bytes.Clone(m.attrs)
		}
	}
}

// receive reads and parses one datagram; the messages stay valid until the next.
func (k *netlinkKernel) receive(from *os.File) ([]message, error) {
	n, err := from.Read(k.buf[:])
	if err != nil {
		return nil, fmt.Errorf("receive from the kernel: %w", err)
	}
	return decodeMessages(k.buf[:n])
}

// errnoError avoids a non-nil error that holds errno 0.
func errnoError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// waitDead returns how many of the device's sockets were reported dead within
// d; manyDead where reports were lost.
func (k *netlinkKernel) waitDead(index uint32, d time.Duration) (int, error) {
	if err := k.events.SetReadDeadline(time.Now().Add(d)); err != nil {
		return 0, err
	}
	messages, err := k.receive(k.events)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil
	}
	if errors.Is(err, unix.ENOBUFS) {
		return manyDead, nil
	}
	if err != nil {
		return 0, err
	}
	dead := 0
	for _, m := range messages {
		if m.typ != k.family || m.cmd != cmdLinkDead {
			continue
		}
		if i, err := m.attrs.findUint32(attrIndex); err == nil && i == index {
			dead++
		}
	}
	return dead, nil
}

// identifier returns what the device was connected with, "" where it was
// connected without one or the kernel (before 5.14) keeps none.
func (k *netlinkKernel) identifier(index uint32) (string, error) {
	b, err := os.ReadFile(sysPath(index, "backend"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(bytes.TrimRight(b, "\n\x00")), err
}

// raiseRequestSize lets the kernel send requests of up to kib KiB, as far as
// the device can: by itself it stays at 128 KiB.
func (k *netlinkKernel) raiseRequestSize(index uint32, kib int) error {
	b, err := os.ReadFile(sysPath(index, "queue/max_hw_sectors_kb"))
	if err != nil {
		return err
	}
	limit, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", sysPath(index, "queue/max_hw_sectors_kb"), err)
	}
	value := strconv.Itoa(min(kib, limit))
	return os.WriteFile(sysPath(index, "queue/max_sectors_kb"), []byte(value), 0o644)
}

func sysPath(index uint32, name string) string {
	return fmt.Sprintf("/sys/block/nbd%d/%s", index, name)
}

// claim opens the device for itself alone, which fails while it is mounted or
// otherwise in use, and brings what was written through it to the server.
func claim(device string) error {
	file, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		file, err = os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
	}
	if errors.Is(err, unix.EBUSY) {
		return ErrInUse
	}
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
