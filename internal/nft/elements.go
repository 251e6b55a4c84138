package nft

import (
	"context"
	"errors"
	"fmt"
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

// dumper reads sets.
type dumper struct {
	*asker
	// watch tells whether a transaction that came between was about the set.
	watch *SetWatch
}

func newDumper(ctx context.Context, set element.SetID) (*dumper, error) {
	watch, err := WatchSets(ctx)
	if err != nil {
		return nil, err
	}
	watch.Subscribe(func(s element.SetID) bool { return s == set })
	a, err := newAsker(ctx)
	return &dumper{a, watch}, err
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
