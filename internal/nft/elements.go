package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// ErrNoSet is a set that does not exist.
var ErrNoSet = errors.New("no such set")

// errChanged is a reading under which the set changed.
var errChanged = errors.New("the set changed while it was read")

// datagram is room for any datagram of nf_tables: a part of a dump has at most 32 KiB (netlink_recvmsg,
// net/netlink/af_netlink.c), and only for a reader that has had so much room before.
const datagram = 64 << 10

// readAgain is how often a reading is begun because the set changed under it. For each datagram the kernel goes through
// the set from its beginning, so a million addresses take it 20 s and a million prefixes a minute and more.
const readAgain = 5

// Elements reads the elements of a set in the calling thread's network namespace, in no order, without those that have
// expired: all of one state. The list's generation is Before all transactions whose changes are not in it, and
// perhaps the last one whose changes are, which to make again does no harm.
//
// Errors: ErrNoSet, ErrPermission, what the kernel said; and for a large set that changes all the time, that it does.
func Elements(ctx context.Context, set element.SetID) (*element.List, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the watch
	l, err := elements(ctx, set)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, unix.ENOENT):
		err = ErrNoSet
	case errors.Is(err, unix.EPERM):
		err = ErrPermission
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return nil, fmt.Errorf("read set %s: %w", set, err)
}

func elements(ctx context.Context, set element.SetID) (l *element.List, err error) {
	d, err := newDumper(ctx, set)
	if err != nil {
		return nil, err
	}
	defer d.close()
	for range readAgain {
		if l, err = d.elements(set); !errors.Is(err, errChanged) {
			break
		}
	}
	return l, err
}

// dumper asks nf_tables for things and reads the answers in large pieces.
type dumper struct {
	// watch tells whether a transaction that came between was about the set.
	watch *SetWatch
	conn  *netlink.Conn
	raw   syscall.RawConn
	buf   []byte
	stop  func() bool
}

func newDumper(ctx context.Context, set element.SetID) (*dumper, error) {
	watch, err := WatchSets(ctx)
	if err != nil {
		return nil, err
	}
	watch.Subscribe(func(s element.SetID) bool { return s == set })
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
	return &dumper{watch, conn, raw, make([]byte, datagram), stop}, nil
}

func (d *dumper) close() {
	d.stop()
	_ = d.conn.Close()
}

// elements is one attempt to read a set.
func (d *dumper) elements(set element.SetID) (*element.List, error) {
	ask, err := setAttrs(set)
	if err != nil {
		return nil, err
	}
	var flags uint32
	var l element.List
	var last element.Generation
	family := familyNumber(set.Family)
	err = d.ask(unix.NFT_MSG_GETSET, netlink.Acknowledge, family, ask, func(gen element.Generation, b []byte) error {
		l.Generation, last = gen, gen
		flags = setFlags(b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = d.ask(unix.NFT_MSG_GETSETELEM, netlink.Dump, family, ask, func(gen element.Generation, b []byte) error {
		last = gen
		now := time.Now()
		eachElement(b, func(attrs []byte) {
			l.Add(decodeElement(attrs, now))
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if last != l.Generation && !d.untouched(last) {
		return nil, errChanged
	}
	// The kernel has a new number a moment before the new state (nf_tables_commit): the changes of the state that was
	// read may not be in it.
	l.Generation--
	if splits(flags) {
		return l.Join(), nil
	}
	return &l, nil
}

// setFlags are those of a set, from its attributes.
func setFlags(b []byte) (flags uint32) {
	for kind, v := range attrs(b) {
		if kind == unix.NFTA_SET_FLAGS {
			flags = beUint32(v)
		}
	}
	return flags
}

// splits reports whether a set with these flags has two elements for an interval.
func splits(flags uint32) bool {
	const concat = 0x80 // NFT_SET_CONCAT, Linux 5.9
	return flags&unix.NFT_SET_INTERVAL != 0 && flags&concat == 0
}

// untouched reports whether the transactions up to a generation, all after the watch began or the last call, left the set
// as it was. A set that changes while it is dumped loses some: the kernel counts to where the last datagram ended.
func (d *dumper) untouched(until element.Generation) bool {
	ok := true
	for c := range d.watch.Commits() {
		if c.Lost || c.Err != nil {
			return false
		}
		ok = ok && len(c.Changes) == 0
		if element.Generation(c.Generation) == until || until.Before(c.Generation) {
			return ok
		}
	}
	return false
}

// eachElement finds the elements in a message.
func eachElement(b []byte, f func(attrs []byte)) {
	for kind, list := range attrs(b) {
		if kind == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			for _, e := range attrs(list) {
				f(e)
			}
		}
	}
}

// setAttrs names a set in a request. The attributes of sets and of lists of elements have the same numbers here.
func setAttrs(set element.SetID) ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	e.String(unix.NFTA_SET_TABLE, set.Table)
	e.String(unix.NFTA_SET_NAME, set.Name)
	return e.Encode()
}

// ask sends a request and calls f for each message of the answer: with the ruleset's generation and the attributes.
func (d *dumper) ask(msg uint16, flags netlink.HeaderFlags, family uint8, ask []byte, f func(element.Generation, []byte) error) error {
	_, err := d.conn.Send(netlink.Message{
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
		b, err := receiveInto(d.raw, d.buf)
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

// familyNumber is the NFPROTO_ number of a family.
func familyNumber(f ruleset.Family) uint8 {
	switch f {
	case ruleset.Inet:
		return unix.NFPROTO_INET
	case ruleset.IP:
		return unix.NFPROTO_IPV4
	case ruleset.ARP:
		return unix.NFPROTO_ARP
	case ruleset.Netdev:
		return unix.NFPROTO_NETDEV
	case ruleset.Bridge:
		return unix.NFPROTO_BRIDGE
	case ruleset.IP6:
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_UNSPEC
}
