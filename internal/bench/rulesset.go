package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Attributes of nf_tables (include/uapi/linux/netfilter/nf_tables.h) that golang.org/x/sys/unix has no names for.
const (
	setElemListTable    = 1
	setElemListSet      = 2
	setElemListElements = 3
	listElem            = 1
	setElemKey          = 1
	setElemFlags        = 3
	dataValue           = 1
	intervalEnd         = 1 // NFT_SET_ELEM_INTERVAL_END
)

// setWriter adds and deletes single elements. nft(8) 1.0.6 reads all elements of an interval set before it does: that
// takes most of a minute where there are a million, and would hide what the rest costs.
type setWriter struct {
	conn     *netlink.Conn
	interval bool
}

func (b *rulesBed) openSet(k chainKind) (*setWriter, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(b.firewall.handle)})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &setWriter{conn: conn, interval: k.keys != ShapeExact}, nil
}

// write adds or deletes an address, and returns when the kernel has done it.
func (w *setWriter) write(add bool, a netip.Addr) error {
	command, flags := uint16(unix.NFT_MSG_DELSETELEM), netlink.Request|netlink.Acknowledge
	if add {
		command, flags = unix.NFT_MSG_NEWSETELEM, flags|netlink.Create
	}
	body, err := w.body(a)
	if err != nil {
		return err
	}
	// The batch's ends are about a subsystem, nf_tables.
	ends := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	messages := []netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: ends},
		{Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | netlink.HeaderType(command), Flags: flags}, Data: body},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: ends},
	}
	if _, err := w.conn.SendMessages(messages); err != nil {
		return fmt.Errorf("change set: %w", err)
	}
	if _, err := w.conn.Receive(); err != nil {
		return fmt.Errorf("change set: %w", err)
	}
	return nil
}

func (w *setWriter) body(a netip.Addr) ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.String(setElemListTable, rulesTable)
	e.String(setElemListSet, rulesSet)
	e.Nested(setElemListElements, func(list *netlink.AttributeEncoder) error {
		point := func(a netip.Addr, flags uint32) {
			list.Nested(listElem, func(elem *netlink.AttributeEncoder) error {
				elem.Nested(setElemKey, func(key *netlink.AttributeEncoder) error {
					key.Bytes(dataValue, a.AsSlice())
					return nil
				})
				if flags != 0 {
					elem.Uint32(setElemFlags, flags)
				}
				return nil
			})
		}
		point(a, 0)
		if w.interval {
			point(a.Next(), intervalEnd)
		}
		return nil
	})
	b, err := e.Encode()
	return append([]byte{unix.NFPROTO_NETDEV, unix.NFNETLINK_V0, 0, 0}, b...), err
}

func (w *setWriter) close() error { return w.conn.Close() }

// setID names the measured set.
func setID() element.SetID {
	return element.SetID{Family: ruleset.Netdev, Table: rulesTable, Name: rulesSet}
}

// fill gives the kernel all elements, says how long nft took, and reads them as the daemon does: from the notification.
// What does not fit into the socket's buffer is asked for; then the kernel walks the set from its beginning for every few
// hundred elements.
func (b *rulesBed) fill(ctx context.Context, k chainKind) (took time.Duration, err error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var watch *nft.SetWatch
	if err := b.firewall.do(func() (err error) {
		watch, err = nft.WatchSets(watching)
		return err
	}); err != nil {
		return 0, err
	}
	watch.Subscribe(func(id element.SetID) bool { return id == setID() })
	if took, err = b.load(ctx, k.fill()); err != nil {
		return 0, err
	}
	start := time.Now()
	for c := range watch.Commits() {
		if c.Err != nil || c.Lost {
			break
		}
		if len(c.Changes) > 0 {
			b.elements = &c.Changes[0].Added
			if k.keys != ShapeExact {
				b.elements = b.elements.Join()
			}
			break
		}
	}
	if b.elements == nil {
		err = b.firewall.elsewhere(func() (err error) {
			b.elements, err = nft.Elements(ctx, setID())
			return err
		})
	}
	b.reading = time.Since(start)
	return took, err
}

// Changes of one element that are measured: as many are added and deleted again.
const changes = 5

// kernelChange is what one costs the kernel.
func (b *rulesBed) kernelChange(k chainKind) (took time.Duration, err error) {
	w, err := b.openSet(k)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var all []float64
	for i := range 2 * changes {
		start := time.Now()
		if err := w.write(i%2 == 0, strange(i/2)); err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(start)))
	}
	return time.Duration(median(all)), nil
}

// strange is an address that no set has.
func strange(i int) netip.Addr { return address(11<<24 + 2*i) }

// errNotFollowed says that a change of the set is not in the program.
var errNotFollowed = errors.New("an element that was changed in nftables is not so in the program")

// change is how long it takes from the kernel's commit, which is over when it answers, until the program has a change.
func (e *early) change(ctx context.Context) (took time.Duration, err error) {
	w, err := e.bed.openSet(e.kind)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var watch *nft.SetWatch
	err = e.bed.firewall.do(func() error {
		watch, err = nft.WatchSets(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	watch.Subscribe(func(id element.SetID) bool { return id == setID() })
	var all []float64
	for i := range 2 * changes {
		if err := w.write(i%2 == 0, strange(i/2)); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := e.follow(ctx, watch); err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(start)))
		s := template(e.bed.c0, e.bed.r0)
		s.Tuple.Src = netip.AddrPortFrom(strange(i/2), s.Tuple.Src.Port())
		if drop, err := e.dropped(s.Build()); err != nil || drop != (i%2 == 0) {
			return 0, errors.Join(err, errNotFollowed)
		}
	}
	return time.Duration(median(all)), nil
}

// follow takes one change over.
func (e *early) follow(ctx context.Context, watch *nft.SetWatch) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-watch.Commits():
			if c.Err != nil || c.Lost {
				return errors.Join(errNotFollowed, c.Err)
			}
			for _, change := range c.Changes {
				if err := e.programs.Apply(change); err != nil {
					return err
				}
			}
			if len(c.Changes) > 0 {
				return nil
			}
		}
	}
}
