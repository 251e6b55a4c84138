//go:build guest

package oracle

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// Message types and attributes of include/uapi/linux/netfilter/nfnetlink_queue.h.
const (
	nfqPacket      = 0
	nfqVerdict     = 1
	nfqConfig      = 2
	nfqaPacketHdr  = 1
	nfqaVerdictHdr = 2
	nfqaCfgCmd     = 1
	nfqaCfgParams  = 2
	nfqCmdBind     = 1
	nfqCopyMeta    = 1
	nfAccept       = 1
)

// queue is one NFQUEUE of a namespace, whose packets are held until released.
type queue struct {
	conn *netlink.Conn
	num  uint16
	held []uint32
}

func (b *box) openQueue(num uint16) *queue {
	b.t.Helper()
	q := &queue{num: num}
	if err := b.r.Router.Do(func() (err error) {
		q.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = q.conn.Close() })
	q.send(b, nfqConfig, netlink.Attribute{Type: nfqaCfgCmd, Data: []byte{nfqCmdBind, 0, 0, 0}})
	q.send(b, nfqConfig, netlink.Attribute{Type: nfqaCfgParams, Data: []byte{0, 0, 0, 0, nfqCopyMeta}})
	return q
}

func (q *queue) send(b *box, kind uint16, a netlink.Attribute) {
	b.t.Helper()
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{a})
	if err != nil {
		b.t.Fatal(err)
	}
	head := []byte{unix.AF_UNSPEC, 0, byte(q.num >> 8), byte(q.num)}
	if _, err := q.conn.Send(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_QUEUE<<8 | kind), Flags: netlink.Request},
		Data:   append(head, attrs...),
	}); err != nil {
		b.t.Fatal(err)
	}
}

// hold waits for n packets and keeps them.
func (q *queue) hold(b *box, n int) {
	b.t.Helper()
	if err := q.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	for len(q.held) < n {
		msgs, err := q.conn.Receive()
		if err != nil {
			b.t.Fatalf("%d of %d packets in the queue: %v", len(q.held), n, err)
		}
		for _, m := range msgs {
			if uint16(m.Header.Type)&0xff != nfqPacket {
				continue
			}
			attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
			if err != nil {
				b.t.Fatal(err)
			}
			for _, a := range attrs {
				if a.Type == nfqaPacketHdr {
					q.held = append(q.held, binary.BigEndian.Uint32(a.Data))
				}
			}
		}
	}
}

func (q *queue) release(b *box) {
	b.t.Helper()
	for _, id := range q.held {
		q.send(b, nfqVerdict, netlink.Attribute{
			Type: nfqaVerdictHdr, Data: binary.BigEndian.AppendUint32([]byte{0, 0, 0, nfAccept}, id),
		})
	}
	q.held = nil
}

// Packets wait in NFQUEUE for a second while the rules change under them: they were let in by rules that are gone, so
// they must not make or renew an entry, and nothing may be fast by them.
func TestPacketsHeldInAQueueTeachNothing(t *testing.T) {
	rules := "table inet q {\n chain f {\n type filter hook forward priority 10; policy accept\n udp dport 2001 queue num 5\n }\n}\n"
	for _, hook := range guestHooks() {
		t.Run(hook.String(), func(t *testing.T) {
			// Notes are the CPU's, and a packet goes on where its verdict is given.
			if err := pin(0); err != nil {
				t.Fatal(err)
			}
			b := newBoxWith(t, hook, rules, datapath.Config{MaxFlows: 256})
			q := b.openQueue(5)
			tup := b.tuple(nats()[0], packet.UDP, false, 1)
			s := packet.New(tup, []byte("first"))
			b.macs(&s, client)
			b.pass(client, s.Build(), 0)
			q.hold(b, 1)
			q.release(b)
			b.await("the first packet", func() bool { return b.arrives(tup) })
			b.one(server, packet.New(tup.Reverse(), []byte("answer")))
			const n = 5
			for i := range n {
				s.Payload = []byte(fmt.Sprintf("held %d", i))
				b.pass(client, s.Build(), 0)
			}
			q.hold(b, n)
			done := b.own()
			b.r.Router.Run("nft", "insert", "rule", "inet", "handover", "forward", "udp", "dport", "2001", "drop")
			done()
			b.pause("a second in the queue", time.Second)
			q.release(b)
			b.await("a held packet", func() bool { return b.arrives(tup) })
			flows, err := b.d.Flows()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range flows {
				if f.Tuple == tup {
					t.Errorf("an entry was learned from a packet that waited: %+v", f)
				}
			}
			if b.fast() != 0 {
				t.Errorf("%d packets were fast: %s", b.fast(), b.reasons())
			}
			b.expect(reason.SeenNoteOld, 0)
		})
	}
}

// arrives says whether a packet of the tuple has come to the server's side.
func (b *box) arrives(tup packet.Tuple) bool {
	_, err := b.ports[server].Recv(time.Millisecond, testkit.OfTuple(tup))
	return err == nil
}
