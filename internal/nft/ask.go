package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// asker asks nf_tables for things, in the network namespace of the thread that made it, and reads the answers in large
// pieces.
type asker struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	buf  []byte
	stop func() bool

	kinds map[element.SetID][]byte // of named sets (setKind)
}

func newAsker(ctx context.Context) (*asker, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("use netlink socket: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // in the past: wakes the reader
	})
	return &asker{conn, raw, make([]byte, datagram), stop, map[element.SetID][]byte{}}, nil
}

func (a *asker) close() {
	a.stop()
	_ = a.conn.Close()
}

// ask sends a request and calls f for each message of the answer: with the ruleset's generation and the attributes.
func (a *asker) ask(msg uint16, flags netlink.HeaderFlags, family uint8, ask []byte, f func(element.Generation, []byte) error) error {
	_, err := a.conn.Send(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | msg),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{family, 0, 0, 0}, ask...),
	})
	if err != nil {
		return err
	}
	var failed error // the answer is read to its end all the same: another may follow on this socket
	for {
		b, err := receiveInto(a.raw, a.buf)
		if err != nil {
			return err
		}
		for h, body := range messages(b) {
			switch {
			case h.kind == unix.NLMSG_DONE, h.kind == unix.NLMSG_ERROR:
				return errors.Join(failed, status(body))
			case failed == nil && len(body) >= nfgenLen:
				failed = f(element.Generation(binary.BigEndian.Uint16(body[2:])), body[nfgenLen:])
			}
		}
	}
}

// highestTable is the highest handle that a table has, or higher than any can be where that cannot be found out.
func (a *asker) highestTable() uint64 {
	for range readAgain {
		var highest uint64
		seen := map[element.Generation]bool{}
		err := a.ask(unix.NFT_MSG_GETTABLE, netlink.Dump, unix.NFPROTO_UNSPEC, nil, func(gen element.Generation, b []byte) error {
			seen[gen] = true
			for kind, v := range attrs(b) {
				if kind == tableHandle {
					highest = max(highest, beUint64(v))
				}
			}
			return nil
		})
		switch {
		case err != nil:
			return math.MaxUint64 // the rest of the answer may come yet
		case len(seen) <= 1:
			return highest
		}
		// Tables that were deleted between two parts of the answer may have cost it others.
	}
	return math.MaxUint64
}

// status is the result that ends an answer.
func status(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	if n := int32(binary.NativeEndian.Uint32(body)); n < 0 {
		return os.NewSyscallError("netlink", unix.Errno(-n))
	}
	return nil
}

// receiveInto waits for a datagram.
func receiveInto(raw syscall.RawConn, buf []byte) ([]byte, error) {
	var n int
	var err error
	wait := raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	switch {
	case wait != nil:
		return nil, wait
	case err != nil:
		return nil, err
	case n > len(buf):
		return nil, fmt.Errorf("receive: datagram of %d bytes", n)
	}
	return buf[:n], nil
}
