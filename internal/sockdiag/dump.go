package sockdiag

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/netns"
)

// ErrInterrupted says that the kernel marked the dump as inconsistent
// (NLM_F_DUMP_INTR): rows may be missing or twice.
var ErrInterrupted = errors.New("socket tables changed during the dump, which may be incomplete; try again")

// UnavailableError says that this kernel cannot report TCP sockets.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("list TCP sockets: %v: the kernel has no tcp_diag (CONFIG_INET_TCP_DIAG), and could not load it as a module: run `modprobe tcp_diag` as root, on the host if this is a container", e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY, include/uapi/linux/sock_diag.h

	// bufferLen is more than the kernel ever puts in one datagram of a dump:
	// netlink_recvmsg limits it to 32 KiB, and takes what the reader offers as
	// a hint up to there (max_recvmsg_len, net/netlink/af_netlink.c).
	bufferLen = 64 << 10

	attempts = 3
)

// Dump calls fn for each socket that the query selects, while they arrive. The
// Socket is reused: fn copies what it keeps. An error of fn ends the dump and is
// returned as it is.
//
// Errors are an *UnavailableError, a *netns.EnterError, ErrInterrupted (after
// all rows were given to fn; Snapshot retries), and those of ctx.
func Dump(ctx context.Context, q Query, fn func(*Socket) error) error {
	ranges, err := joinRanges(q.Ports)
	if err != nil {
		return err
	}
	conn, err := dial(q.NetNS)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() {
		conn.SetReadDeadline(time.Unix(0, 1))
	})
	defer stop()

	d := dump{fn: fn, states: q.states(), buf: make([]byte, bufferLen)}
	if len(ranges) > mostKernelRanges {
		d.ports = ranges
	}
	for _, family := range q.families() {
		if err := d.run(ctx, conn, q.request(family, ranges)); err != nil {
			return err
		}
	}
	if d.interrupted {
		return fmt.Errorf("list TCP sockets: %w", ErrInterrupted)
	}
	return nil
}

// Snapshot returns the sockets that the query selects. If the kernel marks a
// dump as inconsistent, it starts again, three times in all; then it returns the
// last result together with ErrInterrupted.
func Snapshot(ctx context.Context, q Query) ([]Socket, error) {
	return retry(func(fn func(*Socket) error) error { return Dump(ctx, q, fn) })
}

func retry(dump func(func(*Socket) error) error) ([]Socket, error) {
	var (
		all []Socket
		err error
	)
	for range attempts {
		all = all[:0]
		err = dump(func(s *Socket) error {
			all = append(all, *s)
			return nil
		})
		if !errors.Is(err, ErrInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, ErrInterrupted) {
		return nil, err
	}
	return all, err
}

// dial opens a netlink socket inside the namespace. It goes on belonging to it:
// sock_diag reports the sockets of its own socket's namespace.
func dial(ns *netns.NS) (*netlink.Conn, error) {
	if ns == nil {
		conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
		return conn, explainDial(err)
	}
	var conn *netlink.Conn
	err := netns.Do(*ns, func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
		return explainDial(err)
	})
	if err != nil && conn != nil {
		conn.Close()
	}
	return conn, err
}

func explainDial(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPROTONOSUPPORT): // no CONFIG_NET sock_diag at all
		return &UnavailableError{err}
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("open sock_diag netlink socket: %w (a seccomp filter or security policy forbids AF_NETLINK; systemd: RestrictAddressFamilies=)", err)
	}
	return fmt.Errorf("open sock_diag netlink socket: %w", err)
}

// dump reads the answers to one request after the other. It reads from the
// descriptor itself because netlink.Conn makes a new buffer for each datagram,
// and asks the kernel for small ones.
type dump struct {
	fn          func(*Socket) error
	buf         []byte
	row         Socket
	states      StateMask
	ports       []PortRange // that the kernel did not test; nil: none
	interrupted bool
}

func (d *dump) run(ctx context.Context, conn *netlink.Conn, req []byte) error {
	sent, err := conn.Send(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
		Data:   req,
	})
	if err != nil {
		return explainAnswer(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("list TCP sockets: %w", err)
	}
	for {
		n, err := read(raw, d.buf)
		if ctx.Err() != nil {
			return fmt.Errorf("list TCP sockets: %w", ctx.Err())
		}
		if err != nil {
			return fmt.Errorf("list TCP sockets: read answer: %w", err)
		}
		done, err := d.datagram(d.buf[:n], sent.Header.Sequence)
		if done || err != nil {
			return err
		}
	}
}

func read(raw syscall.RawConn, buf []byte) (n int, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		for {
			n, err = unix.Read(int(fd), buf)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return n, err
}

// datagram handles the netlink messages in b, and reports whether the dump with
// that sequence number has ended.
func (d *dump) datagram(b []byte, sequence uint32) (done bool, err error) {
	ne := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return false, fmt.Errorf("parse netlink header of %d bytes: %w", len(b), errShort)
		}
		length := ne.Uint32(b)
		kind := ne.Uint16(b[4:])
		flags := ne.Uint16(b[6:])
		if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(b)) {
			return false, fmt.Errorf("parse netlink message: it claims %d of %d bytes", length, len(b))
		}
		body := b[unix.SizeofNlMsghdr:length]
		if ne.Uint32(b[8:]) != sequence {
			body, kind = nil, unix.NLMSG_NOOP // an answer to nobody here
		} else if flags&unix.NLM_F_DUMP_INTR != 0 {
			d.interrupted = true
		}
		b = b[min((int(length)+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]

		switch kind {
		case unix.NLMSG_NOOP:
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			return true, answerError(kind, body)
		case unix.NLMSG_OVERRUN:
			return true, errors.New("list TCP sockets: the kernel lost part of the answer")
		default:
			if err := parseSocket(body, &d.row); err != nil {
				return false, err
			}
			if d.states&States(d.row.State) == 0 {
				// SYN_RECV brings NEW_SYN_RECV along (inet_diag_dump_icsk).
				continue
			}
			if d.ports != nil && !among(d.ports, d.row.Local.Port()) {
				continue
			}
			if err := d.fn(&d.row); err != nil {
				return true, err
			}
		}
	}
	return false, nil
}

// answerError reads the errno that DONE and ERROR messages begin with. It is
// negative in an ERROR, and may be absent or 0 in a DONE.
func answerError(kind uint16, body []byte) error {
	if len(body) < 4 {
		if kind == unix.NLMSG_DONE {
			return nil
		}
		return fmt.Errorf("parse netlink error of %d bytes: %w", len(body), errShort)
	}
	errno := int32(binary.NativeEndian.Uint32(body))
	if errno >= 0 {
		return nil
	}
	return explainAnswer(syscall.Errno(-int64(errno)))
}

func explainAnswer(err error) error {
	// ENOENT: no handler for the family or the protocol, and request_module did
	// not bring one (inet_diag_dump_compat, sock_load_diag_module, 5.10-6.18).
	// Loading is tried for any user, it needs no capability.
	if errors.Is(err, unix.ENOENT) {
		return &UnavailableError{err}
	}
	return fmt.Errorf("list TCP sockets: %w", err)
}
