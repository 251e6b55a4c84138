package link

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Qdisc is what stands between a device and the packets sent to it.
type Qdisc struct {
	Root   string // kind of the root qdisc: "noqueue", "mq", "fq_codel", "htb", ...
	Shaper string // kind of a qdisc, the root or below it, that limits, delays or prefers; empty for none
}

// Shapes reports whether a packet that goes round the qdisc (an XDP redirect does) would escape a limit, or go before
// packets that the administrator prefers.
func (q Qdisc) Shapes() bool { return q.Shaper != "" }

// Acts reports whether a packet that does not pass the qdisc at all would miss something: a limit, or classes whose
// filters may do what they like. On a device that sends at once, as all that stand on others do, mere queues do nothing.
func (q Qdisc) Acts() bool { return q.Root == "multiq" || q.Shapes() }

// shapes says whether a qdisc limits rate, delays, reserves or prefers. Kinds that treat all flows alike are listed,
// among them every default of a distribution; everything else counts, so that an unknown kind is honored.
func shapes(kind string, options []byte) bool {
	switch kind {
	case "fq":
		return fqPaces(options)
	case "noqueue", "noop", "pfifo", "bfifo", "pfifo_fast", "pfifo_head_drop", "fq_codel", "fq_pie", "codel", "pie",
		"sfq", "mq", "multiq", "clsact", "ingress":
		return false
	}
	return true
}

// fqPaces reports whether an fq qdisc has a maxrate, to which it paces forwarded flows too (net/sched/sch_fq.c).
func fqPaces(options []byte) bool {
	const flowMaxRate, unlimited = 7, 0xffffffff // TCA_FQ_FLOW_MAX_RATE, bytes a second
	ad, err := netlink.NewAttributeDecoder(options)
	if err != nil {
		return true // honored, as an unknown kind is
	}
	rate := uint32(unlimited)
	for ad.Next() {
		if ad.Type() == flowMaxRate {
			rate = ad.Uint32()
		}
	}
	return ad.Err() != nil || rate != unlimited
}

// classful names the kinds whose filters choose a class. Those of a queue only choose which packets are served in turns,
// and a provider's shaper has thousands of queues.
func classful(kind string) bool {
	switch kind {
	case "htb", "hfsc", "prio", "drr", "ets", "qfq", "cbq":
		return true
	}
	return false
}

// Handles and parents (include/uapi/linux/pkt_sched.h).
const (
	tcRoot          = 0xffffffff // TC_H_ROOT
	tcIngressParent = 0xfffffff1 // TC_H_INGRESS, TC_H_CLSACT: parent of the ingress and clsact qdiscs
	tcIngress       = 0xffff0000 // their handle; parent of the filters of an ingress qdisc
	tcClsactIngress = 0xfffffff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
	tcClsactEgress  = 0xfffffff3 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)
)

// Attributes of qdiscs and filters (include/uapi/linux/rtnetlink.h).
const (
	tcaKind    = 1 // TCA_KIND
	tcaOptions = 2 // TCA_OPTIONS
)

const sizeofTcMsg = 20 // struct tcmsg { u8 family, pad[3]; int ifindex; u32 handle, parent, info; }

func tcRequest(ifindex, parent uint32) []byte {
	b := make([]byte, sizeofTcMsg)
	binary.NativeEndian.PutUint32(b[4:], ifindex)
	binary.NativeEndian.PutUint32(b[12:], parent)
	return b
}

// qdiscs is one device's.
type qdiscs struct {
	egress  Qdisc
	ingress string   // "clsact", "ingress" or empty
	handles []uint32 // of the egress qdiscs whose filters choose a class
}

func readQdiscs(c *netlink.Conn) (map[uint32]qdiscs, error) {
	msgs, err := dump(c, unix.RTM_GETQDISC, tcRequest(0, 0))
	if err != nil {
		return nil, fmt.Errorf("list qdiscs: %w", err)
	}
	out := map[uint32]qdiscs{}
	for _, m := range msgs {
		h, ad, err := split(m, sizeofTcMsg)
		if err != nil {
			return nil, fmt.Errorf("list qdiscs: %w", err)
		}
		var kind string
		var options []byte
		for ad.Next() {
			switch ad.Type() {
			case tcaKind:
				kind = ad.String()
			case tcaOptions:
				options = ad.Bytes()
			}
		}
		if err := ad.Err(); err != nil {
			return nil, fmt.Errorf("list qdiscs: %w", err)
		}
		ifindex, handle, parent := u32(h[4:]), u32(h[8:]), u32(h[12:])
		q := out[ifindex]
		if handle != 0 && classful(kind) {
			q.handles = append(q.handles, handle)
		}
		switch {
		case parent == tcIngressParent:
			q.ingress = kind
		case parent == tcRoot:
			q.egress.Root = kind
			if shapes(kind, options) {
				q.egress.Shaper = kind
			}
		case q.egress.Shaper == "" && shapes(kind, options):
			q.egress.Shaper = kind
		}
		out[ifindex] = q
	}
	return out, nil
}
