package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Message types of ctnetlink (enum cntl_msg_types, include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	msgNew    = 0 // without NLM_F_CREATE: change an entry that exists
	msgGet    = 1
	msgDelete = 2
	msgStats  = 5
)

// Top-level attributes (enum ctattr_type).
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoInfo     = 4
	ctaHelp          = 5
	ctaTimeout       = 7
	ctaMark          = 8
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaID            = 12
	ctaZone          = 18
	ctaMarkMask      = 21
	ctaLabels        = 22
	ctaStatusMask    = 26
)

// Nested attributes (enum ctattr_tuple, ctattr_ip, ctattr_l4proto, ctattr_protoinfo, ctattr_protoinfo_tcp,
// ctattr_counters, ctattr_help, ctattr_stats_global).
const (
	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIP4Src = 1
	ctaIP4Dst = 2
	ctaIP6Src = 3
	ctaIP6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaProtoInfoTCP = 1

	ctaTCPState       = 1
	ctaTCPWScaleOrig  = 2
	ctaTCPWScaleReply = 3
	ctaTCPFlagsOrig   = 4
	ctaTCPFlagsReply  = 5

	ctaCounterPackets = 1
	ctaCounterBytes   = 2

	ctaHelpName = 1

	ctaStatsEntries = 1
	ctaStatsMax     = 2
)

const (
	headerLen   = unix.SizeofNlMsghdr // 16
	nfHeaderLen = 4                   // struct nfgenmsg
	attrHdrLen  = unix.SizeofNlAttr   // 4
	nested      = unix.NLA_F_NESTED
	typeMask    = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
)

// A request is one netlink message under construction: struct nlmsghdr, struct nfgenmsg, attributes.
type request struct{ b []byte }

// begin appends an empty ctnetlink message to b. The header's length is filled in by end.
func begin(b []byte, msg uint16, flags netlink.HeaderFlags, family uint8, seq uint32) request {
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_CTNETLINK<<8|msg)
	b = binary.NativeEndian.AppendUint16(b, uint16(netlink.Request|flags))
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel knows the port of the socket
	return request{append(b, family, unix.NFNETLINK_V0, 0, 0)}
}

// end fills in the length of the message that starts at offset start.
func (r *request) end(start int) []byte {
	binary.NativeEndian.PutUint32(r.b[start:], uint32(len(r.b)-start))
	return r.b
}

func (r *request) attr(typ uint16, data []byte) {
	r.b = binary.NativeEndian.AppendUint16(r.b, uint16(attrHdrLen+len(data)))
	r.b = binary.NativeEndian.AppendUint16(r.b, typ)
	r.b = append(r.b, data...)
	for len(r.b)%unix.NLA_ALIGNTO != 0 {
		r.b = append(r.b, 0)
	}
}

// nest opens a nested attribute and returns its offset for close.
func (r *request) nest(typ uint16) int {
	at := len(r.b)
	r.b = binary.NativeEndian.AppendUint16(r.b, 0)
	r.b = binary.NativeEndian.AppendUint16(r.b, typ|nested)
	return at
}

func (r *request) close(at int) {
	binary.NativeEndian.PutUint16(r.b[at:], uint16(len(r.b)-at))
}

// tuple appends CTA_TUPLE_ORIG. Ports travel in network byte order.
func (r *request) tuple(t packet.Tuple) {
	src, dst := uint16(ctaIP4Src), uint16(ctaIP4Dst)
	if !t.Is4() {
		src, dst = ctaIP6Src, ctaIP6Dst
	}
	var port [2]byte
	all := r.nest(ctaTupleOrig)
	ip := r.nest(ctaTupleIP)
	r.attr(src, t.Src.Addr().AsSlice())
	r.attr(dst, t.Dst.Addr().AsSlice())
	r.close(ip)
	proto := r.nest(ctaTupleProto)
	r.attr(ctaProtoNum, []byte{t.Proto})
	binary.BigEndian.PutUint16(port[:], t.Src.Port())
	r.attr(ctaProtoSrcPort, port[:])
	binary.BigEndian.PutUint16(port[:], t.Dst.Port())
	r.attr(ctaProtoDstPort, port[:])
	r.close(proto)
	r.close(all)
}

func family(t packet.Tuple) uint8 {
	if t.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// valid says why a tuple cannot name a connection. An incomplete tuple must never reach the kernel:
// a delete without one flushes the table.
func valid(t packet.Tuple) error {
	switch {
	case !t.Src.IsValid() || !t.Dst.IsValid():
		return errors.New("tuple has no address")
	case t.Src.Addr().Is4() != t.Dst.Addr().Is4():
		return errors.New("tuple mixes ipv4 and ipv6")
	case t.Src.Addr().Is4In6() || t.Dst.Addr().Is4In6():
		return errors.New("tuple has an ipv4-mapped ipv6 address")
	case t.Proto != packet.TCP && t.Proto != packet.UDP:
		return fmt.Errorf("tuple is neither tcp nor udp: protocol %d", t.Proto)
	}
	return nil
}

// A reply is one netlink message as received.
type reply struct {
	typ   uint16
	flags netlink.HeaderFlags
	seq   uint32
	data  []byte // after the header
}

// errno returns the error an NLMSG_ERROR carries; nil for an acknowledgement.
func (r reply) errno() error {
	if len(r.data) < 4 {
		return errShort
	}
	if e := int32(binary.NativeEndian.Uint32(r.data)); e != 0 {
		return unix.Errno(-e)
	}
	return nil
}

var errShort = errors.New("netlink message is too short")

// nextReply splits the first message off b.
func nextReply(b []byte) (reply, []byte, error) {
	if len(b) < headerLen {
		return reply{}, nil, errShort
	}
	n := int(binary.NativeEndian.Uint32(b))
	if n < headerLen || n > len(b) {
		return reply{}, nil, errShort
	}
	r := reply{
		typ:   binary.NativeEndian.Uint16(b[4:]),
		flags: netlink.HeaderFlags(binary.NativeEndian.Uint16(b[6:])),
		seq:   binary.NativeEndian.Uint32(b[8:]),
		data:  b[headerLen:n],
	}
	return r, b[min(len(b), (n+3)&^3):], nil
}

// attrs calls f for each attribute in b, nested flag removed, until f fails.
func attrs(b []byte, f func(typ uint16, data []byte) error) error {
	for len(b) > 0 {
		if len(b) < attrHdrLen {
			return errShort
		}
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHdrLen || n > len(b) {
			return errShort
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&typeMask, b[attrHdrLen:n]); err != nil {
			return err
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}
