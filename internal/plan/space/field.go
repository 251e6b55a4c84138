package space

import (
	"cmp"
	"fmt"
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
// InDevice, InName and InType are meta iif, iifname and iiftype, which are the same for all packets of a device.
func InDevice() Field { return Field{Base: Beyond, Len: valueBits, Name: "meta iif"} }

// InName is meta iifname.
func InName() Field { return Field{Base: Beyond, Len: valueBits, Name: "meta iifname"} }

// InType is meta iiftype.
func InType() Field { return Field{Base: Beyond, Len: 16, Name: "meta iiftype"} }

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

// payload is the place of a header's field (src/proto.c and src/exthdr.c of nftables, the RFCs).
func payload(proto, name string) (Field, bool) {
	var base Base
	var off, bits int
	switch proto {
	case "ether", "vlan":
		base = Link
		off, bits = linkField(proto + " " + name)
	case "ip", "ip6", "arp":
		base = Network
		off, bits = networkField(proto + " " + name)
	default:
		base = Transport
		off, bits = transportField(proto, name)
	}
	return Field{Base: base, Off: off, Len: bits}, bits > 0
}

func linkField(f string) (off, bits int) {
	switch f {
	case "ether daddr":
		return 0, 48
	case "ether saddr":
		return 48, 48
	case "ether type":
		return 96, 16
	case "vlan pcp":
		return 112, 3
	case "vlan dei", "vlan cfi":
		return 115, 1
	case "vlan id":
		return 116, 12
	case "vlan type":
		return 128, 16
	}
	return 0, 0
}

func networkField(f string) (off, bits int) {
	switch f {
	case "ip version", "ip6 version":
		return 0, 4
	case "ip hdrlength":
		return 4, 4
	case "ip dscp":
		return 8, 6
	case "ip ecn":
		return 14, 2
	case "ip length":
		return 16, 16
	case "ip id":
		return 32, 16
	case "ip frag-off":
		return 48, 16
	case "ip ttl":
		return 64, 8
	case "ip protocol":
		return 72, 8
	case "ip checksum":
		return 80, 16
	case "ip saddr":
		return 96, 32
	case "ip daddr":
		return 128, 32
	case "ip6 dscp":
		return 4, 6
	case "ip6 ecn":
		return 10, 2
	case "ip6 flowlabel":
		return 12, 20
	case "ip6 length":
		return 32, 16
	case "ip6 nexthdr":
		return 48, 8
	case "ip6 hoplimit":
		return 56, 8
	case "ip6 saddr":
		return 64, 128
	case "ip6 daddr":
		return 192, 128
	case "arp htype":
		return 0, 16
	case "arp ptype":
		return 16, 16
	case "arp hlen":
		return 32, 8
	case "arp plen":
		return 40, 8
	case "arp operation":
		return 48, 16
	case "arp saddr ether":
		return 64, 48
	case "arp saddr ip":
		return 112, 32
	case "arp daddr ether":
		return 144, 48
	case "arp daddr ip":
		return 192, 32
	}
	return 0, 0
}

func transportField(proto, name string) (off, bits int) {
	switch proto {
	case "tcp", "udp", "udplite", "sctp", "dccp", "th":
		switch name {
		case "sport":
			return 0, 16
		case "dport":
			return 16, 16
		}
	}
	switch proto + " " + name {
	case "tcp sequence":
		return 32, 32
	case "tcp ackseq":
		return 64, 32
	case "tcp doff":
		return 96, 4
	case "tcp flags":
		return 104, 8
	case "tcp window":
		return 112, 16
	case "tcp checksum":
		return 128, 16
	case "tcp urgptr":
		return 144, 16
	case "udp length", "udplite cscov":
		return 32, 16
	case "udp checksum", "udplite checksum":
		return 48, 16
	case "icmp type", "icmpv6 type", "igmp type":
		return 0, 8
	case "icmp code", "icmpv6 code":
		return 8, 8
	case "icmp checksum", "icmpv6 checksum":
		return 16, 16
	case "icmp id", "icmpv6 id":
		return 32, 16
	case "icmp sequence", "icmpv6 sequence":
		return 48, 16
	}
	return 0, 0
}

// transportNumber is the IP protocol of a transport header; false for "th", which stands for any.
func transportNumber(proto string) (uint64, bool) {
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

// metaBits is the width of meta data that has one value as long as nobody changes it; 0 for what may differ from one
// look to the next (time, random numbers) or is not understood.
func metaBits(key string) int {
	switch key {
	case "l4proto", "nfproto", "pkttype":
		return 8
	case "protocol", "iiftype", "oiftype":
		return 16
	case "mark", "priority", "iifgroup", "oifgroup", "length", "rtclassid", "cgroup", "skuid", "skgid", "cpu":
		return 32
	case "iif", "oif", "iifname", "oifname", "ibrname", "obrname", "iifkind", "oifkind", "sdifname":
		return valueBits // names, as nft lists them
	}
	return 0
}

// ctBits is the width of conntrack data with one value a packet.
func ctBits(key string) int {
	switch key {
	case "direction", "l3proto", "protocol":
		return 8
	case "proto-src", "proto-dst", "zone":
		return 16
	case "state", "status", "mark", "id":
		return 32
	case "ip saddr", "ip daddr":
		return 32
	case "ip6 saddr", "ip6 daddr":
		return valueBits
	}
	return 0
}
