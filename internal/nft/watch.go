package nft

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// watchBuffer is the receive buffer of the notification socket, bytes. Only one small message a transaction gets
// past the socket's filter, so it holds thousands.
const watchBuffer = 4 << 20

// Event is a change of the ruleset, or the news that some were missed.
type Event struct {
	Generation uint32 // of the ruleset in this network namespace; 0 with Lost
	PID        uint32 // of the process that made the change; 0 where the kernel did not say
	Process    string // its name (comm)
	// Lost says that notifications did not fit into the socket's buffer: anything may have changed.
	Lost bool
	// Err ends the events; the channel closes behind it.
	Err error
}

// Watch reports every nf_tables transaction in the calling thread's network namespace from now on, one event each,
// whatever the number of rules it touched. The channel closes when the context ends. A reader that is slow costs
// events, which an event with Lost reports, and nothing else.
func Watch(ctx context.Context) (<-chan Event, error) {
	return watch(ctx, watchBuffer)
}

func watch(ctx context.Context, buffer int) (<-chan Event, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("watch nf_tables: open netlink socket: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = subscribe(conn, buffer)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("watch nf_tables: %w", err)
	}
	events := make(chan Event)
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // in the past: wakes Receive
	})
	go func() {
		defer close(events)
		defer func() { _ = conn.Close() }()
		defer stop()
		forward(ctx, conn, raw, events)
	}()
	return events, nil
}

// forward turns notifications into events until the context ends or the socket fails.
func forward(ctx context.Context, conn *netlink.Conn, raw syscall.RawConn, events chan<- Event) {
	for {
		batch, err := receive(conn)
		if errors.Is(err, unix.ENOBUFS) {
			batch, err = []Event{{Lost: true}}, drain(raw)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			batch = append(batch, Event{Err: fmt.Errorf("watch nf_tables: %w", err)})
		}
		for _, e := range batch {
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drain throws away what is queued. A socket that has overflowed says so once and then drops everything until its
// queue has been empty (NETLINK_S_CONGESTED, net/netlink/af_netlink.c): the loss must be reported behind that, or
// changes after the report could be lost without another one. A read deadline would not tell that the queue is empty: Go
// looks at it before it reads.
func drain(raw syscall.RawConn) error {
	var err error
	failed := raw.Read(func(fd uintptr) bool {
		var b [1]byte // the rest of the datagram goes with it
		for {
			_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
				return true
			}
		}
	})
	if failed == nil && !errors.Is(err, unix.EAGAIN) {
		failed = err
	}
	return failed
}

// subscribe sets the filter and the buffer before it joins the group.
func subscribe(conn *netlink.Conn, buffer int) error {
	filter, err := newGenFilter()
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	if err := conn.SetBPF(filter); err != nil {
		return fmt.Errorf("set filter: %w", err)
	}
	if err := conn.SetReadBuffer(buffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("join group: %w", err)
	}
	return nil
}

const newGen = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN

// newGenFilter lets through what begins with NFT_MSG_NEWGEN: the kernel ends each commit with one, in a datagram of
// its own (nf_tables_gen_notify, net/netfilter/nf_tables_api.c). Classic BPF loads are big-endian and netlink headers
// are in host order, so the low byte (the message) and the high byte (the subsystem) are found by position.
func newGenFilter() ([]bpf.RawInstruction, error) {
	low, high := uint32(4), uint32(5) // nlmsghdr.nlmsg_type, little-endian
	if bigEndian() {
		low, high = high, low
	}
	const all = 1<<32 - 1
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: low, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: newGen & 0xff, SkipTrue: 3},
		bpf.LoadAbsolute{Off: high, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: newGen >> 8, SkipTrue: 1},
		bpf.RetConstant{Val: all},
		bpf.RetConstant{Val: 0},
	})
}

// receive waits for the next notifications.
func receive(conn *netlink.Conn) ([]Event, error) {
	msgs, err := conn.Receive()
	if err != nil {
		return nil, err
	}
	var out []Event
	for _, m := range msgs {
		if m.Header.Type != newGen || len(m.Data) < nfgenLen {
			continue
		}
		e, err := decodeGen(m.Data[nfgenLen:])
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
	return out, nil
}

// decodeGen reads the attributes of NFT_MSG_NEWGEN.
func decodeGen(b []byte) (Event, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return Event{}, fmt.Errorf("decode notification: %w", err)
	}
	var e Event
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_GEN_ID:
			e.Generation = beUint32(ad.Bytes())
		case unix.NFTA_GEN_PROC_PID:
			e.PID = beUint32(ad.Bytes())
		case unix.NFTA_GEN_PROC_NAME:
			e.Process = ad.String()
		}
	}
	if err := ad.Err(); err != nil {
		return Event{}, fmt.Errorf("decode notification: %w", err)
	}
	return e, nil
}
