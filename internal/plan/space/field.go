package space

import (
	"cmp"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Base says what the place of a field is counted from.
type Base uint8

// The bases.
const (
	Link      Base = iota // the Ethernet header, with its VLAN tags in place
	Network               // the header that meta protocol names
	Transport             // the header that meta l4proto names
	Beyond                // nothing in the packet: what nftables knows about it
)

// Field is something of a packet that has one value, or none.
type Field struct {
	Base Base
	Off  int // bits
	Len  int // bits; of fields Beyond, too
	// Name of a field Beyond: "meta mark", "ct state".
	Name string
}

// compare orders fields: in the order of the headers, then by place.
func (f Field) compare(g Field) int {
	return cmp.Or(cmp.Compare(f.Base, g.Base), cmp.Compare(f.Off, g.Off), cmp.Compare(f.Len, g.Len), cmp.Compare(f.Name, g.Name))
}

// String names the field as nft would.
func (f Field) String() string {
	if f.Base == Beyond {
		return f.Name
	}
	return fmt.Sprintf("@%s,%d,%d", [...]string{"ll", "nh", "th"}[f.Base], f.Off, f.Len)
}

// L3Proto is meta protocol, which network headers imply.
func L3Proto() Field { return Field{Base: Beyond, Len: 16, Name: "meta protocol"} }

// L4Proto is meta l4proto, which transport headers imply.
func L4Proto() Field { return Field{Base: Beyond, Len: 8, Name: "meta l4proto"} }

// InDevice is meta iif. Like InName and InType it is the same for all packets of a device.
func InDevice() Field { return Field{Base: Beyond, Len: valueBits, Name: "meta iif"} }

// InName is meta iifname.
func InName() Field { return Field{Base: Beyond, Len: valueBits, Name: "meta iifname"} }

// InType is meta iiftype.
func InType() Field { return Field{Base: Beyond, Len: 16, Name: "meta iiftype"} }

// Length is meta length: the bytes behind the link header and the outer tag.
func Length() Field { return Field{Base: Beyond, Len: 32, Name: "meta length"} }

// PacketType is meta pkttype.
func PacketType() Field { return Field{Base: Beyond, Len: 8, Name: "meta pkttype"} }

func nfproto() Field { return Field{Base: Beyond, Len: 8, Name: "meta nfproto"} }

// EtherTypes (include/uapi/linux/if_ether.h).
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

// Netfilter families (include/uapi/linux/netfilter.h), the values of meta nfproto.
const (
	nfIPv4 = 2
	nfIPv6 = 10
)

// Payload is the place of a header's field, and its type.
func Payload(e ruleset.Payload) (Field, ruleset.Type, bool) {
	at, ok := ruleset.PayloadField(e.Proto, e.Field)
	if !ok || at.Bits < 1 || at.Bits > valueBits || len(e.Extra) > 0 {
		return Field{}, ruleset.Type{}, false
	}
	base, ok := baseOf(at.Base)
	if !ok {
		return Field{}, ruleset.Type{}, false
	}
	t, ok := ruleset.TypeOf(e, nil)
	return Field{Base: base, Off: at.Offset, Len: at.Bits}, t, ok
}

// RawPayload is the place of bits that have no name.
func RawPayload(e ruleset.RawPayload) (Field, ruleset.Type, bool) {
	if e.Len < 1 || e.Len > valueBits || e.Offset < 0 || len(e.Extra) > 0 {
		return Field{}, ruleset.Type{}, false
	}
	base, ok := baseOf(e.Base)
	t, _ := ruleset.TypeOf(e, nil)
	return Field{Base: base, Off: e.Offset, Len: e.Len}, t, ok
}

func baseOf(name string) (Base, bool) {
	switch name {
	case "ll":
		return Link, true
	case "nh":
		return Network, true
	case "th":
		return Transport, true
	}
	return 0, false
}

// TransportNumber is the IP protocol of a transport header; false for "th", which stands for any.
func TransportNumber(proto string) (uint64, bool) {
	switch proto {
	case "icmp":
		return 1, true
	case "igmp":
		return 2, true
	case "tcp":
		return 6, true
	case "udp":
		return 17, true
	case "dccp":
		return 33, true
	case "esp":
		return 50, true
	case "ah":
		return 51, true
	case "icmpv6":
		return 58, true
	case "comp":
		return 108, true
	case "sctp":
		return 132, true
	case "udplite":
		return 136, true
	}
	return 0, false
}

// stable reports whether meta data has one value as long as no rule changes it: not so time and random numbers.
func stable(key string) bool {
	switch key {
	case "l4proto", "nfproto", "pkttype", "protocol", "iiftype", "oiftype", "mark", "priority", "iifgroup", "oifgroup",
		"length", "rtclassid", "skuid", "skgid", "iif", "oif", "iifname", "oifname", "ibrname", "obrname", "iifkind",
		"oifkind", "sdifname":
		return true
	}
	return false
}

// stableCT is the same of conntrack data: not so counters.
func stableCT(key string) bool {
	switch key {
	case "direction", "l3proto", "protocol", "proto-src", "proto-dst", "zone", "state", "status", "mark", "id",
		"ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr":
		return true
	}
	return false
}
