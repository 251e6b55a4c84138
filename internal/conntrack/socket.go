package conntrack

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socket is one netlink socket with one request, or one batch of requests, outstanding at a time.
type socket struct {
	mu   sync.Mutex // guards everything below and the conversation itself
	conn *netlink.Conn
	raw  syscall.RawConn
	seq  uint32
	out  []byte // requests; reused
	in   []byte // one datagram; reused
}

// A dump's datagram is at most 32 KiB (net/netlink/af_netlink.c, netlink_recvmsg: max_recvmsg_len is capped at
// SKB_WITH_OVERHEAD(32768)); an acknowledgement is far smaller.
const receiveBuffer = 32 << 10

// Room for the error reports of a whole chunk of updates: see chunk.
const socketBuffer = 1 << 20

func dial() (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, in: make([]byte, receiveBuffer)}
	if s.raw, err = conn.SyscallConn(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	// Without it every error report carries a copy of the request.
	if err := conn.SetOption(netlink.CapAcknowledge, true); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := conn.SetReadBuffer(socketBuffer); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) send() error {
	var err error
	werr := s.raw.Write(func(fd uintptr) bool {
		err = again(func() error { return unix.Sendto(int(fd), s.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) })
		return !errors.Is(err, unix.EAGAIN)
	})
	if werr != nil {
		return werr
	}
	if err != nil {
		return fmt.Errorf("send to ctnetlink: %w", err)
	}
	return nil
}

// receive reads one datagram; the result is valid until the next call.
func (s *socket) receive() ([]byte, error) {
	var n int
	var err error
	rerr := s.raw.Read(func(fd uintptr) bool {
		err = again(func() (err error) {
			n, _, err = unix.Recvfrom(int(fd), s.in, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			return err
		})
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case rerr != nil:
		return nil, rerr
	case err != nil:
		return nil, fmt.Errorf("receive from ctnetlink: %w", err)
	case n > len(s.in):
		return nil, fmt.Errorf("receive from ctnetlink: datagram of %d bytes does not fit %d", n, len(s.in))
	}
	return s.in[:n], nil
}

// again repeats a system call that a signal interrupted.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// replies calls f for each message that answers the sequence numbers from first on, until f says it is done.
// Anything older belongs to a request that was given up.
func (s *socket) replies(first uint32, f func(reply) (done bool, err error)) error {
	for {
		b, err := s.receive()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			var r reply
			if r, b, err = nextReply(b); err != nil {
				return err
			}
			if int32(r.seq-first) < 0 {
				continue
			}
			done, err := f(r)
			if err != nil || done {
				return err
			}
		}
	}
}
