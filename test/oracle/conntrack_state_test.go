package oracle

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// The reason conntrack-state has several causes. That a connection is new, or unconfirmed, many tests meet; the others
// have their own here. An entry that is dying is not one of them: between the packet's own conntrack lookup and tc egress
// it would have to be deleted, which takes another CPU a few microseconds to hit; conntrack-gone is what follows.

// A connection whose sequence numbers a helper has moved (an FTP server behind NAT) stays slow. The helper itself is
// another reason, so the entry is made by hand, as conntrackd makes those that a peer hands over: with an adjustment by
// nothing, so that the packets leave as they came and only the status bit is left to tell.
func TestConnectionWithAdjustedSequenceNumbersStaysSlow(t *testing.T) {
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		for _, adjusted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/adjusted=%v", hook, adjusted), func(t *testing.T) {
				b := newBoxWith(t, hook, "", datapath.Config{MaxFlows: 256})
				tup := b.tuple(nats()[0], packet.TCP, false, 1)
				b.establish(tup, adjusted)
				e, err := b.ct.Get(tup)
				if err != nil {
					t.Fatal(err)
				}
				if e.Status.Has(conntrack.SeqAdjust) != adjusted || !e.Status.Has(conntrack.Assured|conntrack.Confirmed) {
					t.Fatalf("the kernel made an entry with status %s", e.Status)
				}
				const rounds = 3
				for range rounds {
					for side, tup := range [2]packet.Tuple{tup, tup.Reverse()} {
						b.one(side, packet.New(tup, make([]byte, 40)))
					}
				}
				if !adjusted {
					if b.fast() == 0 {
						t.Errorf("not even without the adjustment was a packet fast: %s", b.reasons())
					}
					return
				}
				// Each packet, and behind it the sentinel, whose flow stays new.
				if got := b.count(reason.SeenCTState); got != 2*2*rounds {
					t.Errorf("%d packets counted as %s instead of %d: %s", got, reason.SeenCTState, 2*2*rounds, b.reasons())
				}
				b.knowsNothing()
			})
		}
	}
}

// Attributes of include/uapi/linux/netfilter/nfnetlink_conntrack.h that package conntrack has no use for.
const (
	ctnlNew = 0 // IPCTNL_MSG_CT_NEW

	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoInfo, ctaTimeout = 1, 2, 3, 4, 7
	ctaSeqAdjOrig, ctaSeqAdjReply                                    = 15, 16
)

// establish makes a conntrack entry of an established connection.
func (b *box) establish(orig packet.Tuple, adjusted bool) {
	b.t.Helper()
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	for typ, t := range map[uint16]packet.Tuple{ctaTupleOrig: orig, ctaTupleReply: orig.Reverse()} {
		e.Nested(typ, func(e *netlink.AttributeEncoder) error {
			e.Nested(1, func(e *netlink.AttributeEncoder) error { // CTA_TUPLE_IP
				e.Bytes(1, t.Src.Addr().AsSlice())
				e.Bytes(2, t.Dst.Addr().AsSlice())
				return nil
			})
			e.Nested(2, func(e *netlink.AttributeEncoder) error { // CTA_TUPLE_PROTO
				e.Uint8(1, t.Proto)
				e.Uint16(2, t.Src.Port())
				e.Uint16(3, t.Dst.Port())
				return nil
			})
			return nil
		})
	}
	e.Uint32(ctaStatus, uint32(conntrack.SeenReply|conntrack.Assured|conntrack.Confirmed))
	e.Uint32(ctaTimeout, 600)
	e.Nested(ctaProtoInfo, func(e *netlink.AttributeEncoder) error {
		e.Nested(1, func(e *netlink.AttributeEncoder) error { // CTA_PROTOINFO_TCP
			flags := []byte{byte(conntrack.BeLiberal), byte(conntrack.BeLiberal)} // flags and their mask
			e.Uint8(1, uint8(conntrack.TCPEstablished))
			e.Bytes(4, flags)
			e.Bytes(5, flags)
			return nil
		})
		return nil
	})
	for _, typ := range []uint16{ctaSeqAdjOrig, ctaSeqAdjReply} {
		if adjusted {
			e.Nested(typ, func(e *netlink.AttributeEncoder) error {
				e.Uint32(1, 0) // CTA_SEQADJ_CORRECTION_POS
				e.Uint32(2, 0) // CTA_SEQADJ_OFFSET_BEFORE
				e.Uint32(3, 0) // CTA_SEQADJ_OFFSET_AFTER
				return nil
			})
		}
	}
	attrs, err := e.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.r.Router.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // the answer has been read
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ctnlNew),
				Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl,
			},
			Data: append([]byte{unix.AF_INET, 0, 0, 0}, attrs...),
		})
		return err
	}); err != nil {
		b.t.Fatalf("make a conntrack entry for %s: %v", orig, err)
	}
}

// knowsNothing checks that there is no entry at all, and that nothing was fast.
func (b *box) knowsNothing() {
	b.t.Helper()
	flows, err := b.d.Flows()
	if err != nil {
		b.t.Fatal(err)
	}
	if len(flows) > 0 || b.fast() > 0 {
		b.t.Errorf("%d packets were fast, and learned: %+v", b.fast(), flows)
	}
}

// Two packets of a new flow at the same moment, on two CPUs, which NAT sends to two servers: only one of the two conntrack
// entries can have the flow's tuple. The kernel keeps the other one for its replies alone (nf_ct_resolve_clash_harder of
// net/netfilter/nf_conntrack_core.c) and marks it IPS_NAT_CLASH. It must teach nothing: there is no other direction.
func TestLoserOfANATClashTeachesNothing(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Fatal("this test needs two CPUs: on one there is no clash")
	}
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		t.Run(hook.String(), func(t *testing.T) {
			b := newBoxWith(t, hook, twoServers(), datapath.Config{MaxFlows: 256})
			loser := b.clash()
			before := b.count(reason.SeenCTState)
			const n = 3
			for i := range n {
				s := packet.New(loser, []byte(fmt.Sprintf("answer %d", i)))
				b.macs(&s, server)
				if err := b.ports[server].Send(s.Build()); err != nil {
					t.Fatal(err)
				}
				back := packet.Tuple{Src: netip.AddrPortFrom(b.r.R0.Addr(false), 8001), Dst: loser.Dst, Proto: packet.UDP}
				if _, err := b.ports[client].Recv(deadline, testkit.OfTuple(back)); err != nil {
					t.Fatalf("the loser's answer: %v", err)
				}
			}
			if e, err := b.ct.Get(loser); err != nil || !e.Status.Has(conntrack.NATClash|conntrack.Confirmed|conntrack.SeenReply) {
				t.Errorf("the loser is in another state after its answers: %+v, %v", e, err)
			}
			if got := b.count(reason.SeenCTState) - before; got != n {
				t.Errorf("%d of %d answers counted as %s: %s", got, n, reason.SeenCTState, b.reasons())
			}
			b.knowsNothing()
		})
	}
}

// twoServers translates every second new flow to another port. The rules in front of conntrack's confirmation are so
// many that it takes a packet tens of microseconds to get there.
func twoServers() string {
	var s strings.Builder
	s.WriteString("table inet clash {\n chain pre {\n type nat hook prerouting priority -100; policy accept\n" +
		" udp dport 8001 dnat ip to numgen inc mod 2 map { 0 : 198.51.100.2 . 2001, 1 : 198.51.100.2 . 2002 }\n }\n" +
		" chain long {\n type filter hook forward priority 5; policy accept\n")
	for i := range 2000 {
		fmt.Fprintf(&s, " meta mark %d drop\n", i+1)
	}
	s.WriteString(" }\n}\n")
	return s.String()
}

// clash makes two packets of one new flow meet, and returns the tuple that answers to the loser have.
func (b *box) clash() packet.Tuple {
	b.t.Helper()
	var ports [2]end
	for i := range ports {
		ports[i] = testkit.OpenPort(b.t, b.r.C0, testkit.PortOptions{})
	}
	for i := range uint16(500) {
		s := packet.New(packet.Tuple{
			Src: netip.AddrPortFrom(b.r.C0.Addr(false), 20000+i), Dst: netip.AddrPortFrom(b.r.R0.Addr(false), 8001), Proto: packet.UDP,
		}, []byte("first"))
		b.macs(&s, client)
		b.atOnce(ports, s.Build())
		for range ports {
			f, err := b.ports[server].Recv(deadline, ours)
			if err != nil {
				b.t.Fatal(err)
			}
			h, err := packet.Decode(f.Data)
			if err != nil {
				b.t.Fatal(err)
			}
			if e, err := b.ct.Get(h.Tuple.Reverse()); err == nil && e.Status.Has(conntrack.NATClash) {
				b.t.Logf("the packets met at attempt %d", i+1)
				return h.Tuple.Reverse()
			}
		}
	}
	b.t.Fatal("the packets never met")
	return packet.Tuple{}
}

// atOnce sends a frame from two CPUs at the same moment. veth delivers on the sender's CPU.
func (b *box) atOnce(ports [2]end, frame []byte) {
	b.t.Helper()
	var ready atomic.Int32
	var group sync.WaitGroup
	var errs [2]error
	for cpu := range ports {
		group.Go(func() {
			if errs[cpu] = pin(cpu); errs[cpu] != nil {
				return
			}
			ready.Add(1)
			for end := time.Now().Add(deadline); ready.Load() < 2; {
				if time.Now().After(end) {
					break
				}
			}
			errs[cpu] = ports[cpu].Send(frame)
		})
	}
	group.Wait()
	for cpu, err := range errs {
		if err != nil {
			b.t.Fatalf("send from cpu %d: %v", cpu, err)
		}
	}
}
