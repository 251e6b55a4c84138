package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Diff says in words which header fields differ between two frames, as "ttl 64 -> 63; ...", and where the payloads
// first differ. It returns "" for equal frames. Frames that do not decode are compared as bytes.
func Diff(a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	ha, erra := Decode(a)
	hb, errb := Decode(b)
	if erra != nil || errb != nil {
		if fmt.Sprint(erra) != fmt.Sprint(errb) {
			return fmt.Sprintf("decoding: %s -> %s; %s", decoded(erra), decoded(errb), diffBytes("frame", a, b))
		}
		return diffBytes("frame", a, b)
	}
	var d differ
	d.ethernet(ha, hb)
	d.ip(ha, hb, a, b)
	d.l4(ha, hb, a, b)
	if ha.Trailing != hb.Trailing || !bytes.Equal(a[len(a)-ha.Trailing:], b[len(b)-hb.Trailing:]) {
		d.add("trailer", fmt.Sprintf("%x", a[len(a)-ha.Trailing:]), fmt.Sprintf("%x", b[len(b)-hb.Trailing:]))
	}
	if len(d.out) == 0 {
		return diffBytes("frame", a, b) // a bit that no field above covers
	}
	return strings.Join(d.out, "; ")
}

func decoded(err error) string {
	if err == nil {
		return "fine"
	}
	return err.Error()
}

type differ struct{ out []string }

// add notes a field when its two values, both comparable and printable, differ.
func (d *differ) add(name string, a, b any) {
	if a != b {
		d.out = append(d.out, fmt.Sprintf("%s %v -> %v", name, a, b))
	}
}

func (d *differ) hex(name string, a, b uint16) {
	d.add(name, fmt.Sprintf("%#04x", a), fmt.Sprintf("%#04x", b))
}

func (d *differ) ethernet(a, b Header) {
	d.add("destination MAC", a.Dst, b.Dst)
	d.add("source MAC", a.Src, b.Src)
	d.add("VLAN tags", tags(a), tags(b))
}

func tags(h Header) string {
	out := "none"
	for i, t := range h.Tags[:h.TagCount] {
		if i == 0 {
			out = ""
		}
		out += fmt.Sprintf("[%#04x id %d priority %d]", t.TPID, t.TCI&0xfff, t.TCI>>12)
	}
	return out
}

func (d *differ) ip(a, b Header, fa, fb []byte) {
	d.add("IP version", a.Family, b.Family)
	d.add("source address", a.Tuple.Src.Addr(), b.Tuple.Src.Addr())
	d.add("destination address", a.Tuple.Dst.Addr(), b.Tuple.Dst.Addr())
	d.add("protocol", ProtoName(a.Tuple.Proto), ProtoName(b.Tuple.Proto))
	d.add("tos", fmt.Sprintf("%#02x", a.TOS), fmt.Sprintf("%#02x", b.TOS))
	d.add("ttl", a.TTL, b.TTL)
	d.add("IP id", a.ID, b.ID)
	d.add("flow label", a.FlowLabel, b.FlowLabel)
	d.add("IP length", a.IPLen, b.IPLen)
	if a.Family != b.Family {
		return
	}
	ia, ib := fa[a.IPOffset:a.L4Offset], fb[b.IPOffset:b.L4Offset]
	fixed := IPv6Len
	if a.Family == 4 {
		fixed = IPv4Len
		d.hex("fragment field", IPv4(ia).frag(), IPv4(ib).frag())
		d.hex("IP checksum", IPv4(ia).checksum(), IPv4(ib).checksum())
	}
	d.add("IP options or extensions", fmt.Sprintf("%x", ia[fixed:]), fmt.Sprintf("%x", ib[fixed:]))
}

func (d *differ) l4(a, b Header, fa, fb []byte) {
	d.add("source port", a.Tuple.Src.Port(), b.Tuple.Src.Port())
	d.add("destination port", a.Tuple.Dst.Port(), b.Tuple.Dst.Port())
	la, lb := fa[a.L4Offset:a.PayloadOffset], fb[b.L4Offset:b.PayloadOffset]
	if a.Tuple.Proto == b.Tuple.Proto && len(la) > 0 && len(lb) > 0 {
		if at, ok := checksumOffset(a.Tuple.Proto); ok {
			d.hex("L4 checksum", binary.BigEndian.Uint16(la[at:]), binary.BigEndian.Uint16(lb[at:]))
		}
		switch a.Tuple.Proto {
		case TCP:
			d.tcp(a, b, la, lb)
		case UDP:
			d.add("UDP length", binary.BigEndian.Uint16(la[udpLength:]), binary.BigEndian.Uint16(lb[udpLength:]))
		}
	}
	if pa, pb := a.Payload(fa), b.Payload(fb); !bytes.Equal(pa, pb) {
		d.out = append(d.out, diffBytes("payload", pa, pb))
	}
}

func (d *differ) tcp(a, b Header, la, lb []byte) {
	d.add("TCP flags", a.Flags, b.Flags)
	d.add("sequence", a.Seq, b.Seq)
	d.add("acknowledgement", a.Ack, b.Ack)
	d.add("data offset byte", fmt.Sprintf("%#02x", la[tcpOffset]), fmt.Sprintf("%#02x", lb[tcpOffset]))
	d.add("window", binary.BigEndian.Uint16(la[tcpWindow:]), binary.BigEndian.Uint16(lb[tcpWindow:]))
	d.add("urgent pointer", binary.BigEndian.Uint16(la[tcpUrgent:]), binary.BigEndian.Uint16(lb[tcpUrgent:]))
	d.add("TCP options", fmt.Sprintf("%x", la[TCPLen:]), fmt.Sprintf("%x", lb[TCPLen:]))
}

// diffBytes says where two byte strings first differ and how long they are when that differs.
func diffBytes(name string, a, b []byte) string {
	n := min(len(a), len(b))
	at := 0
	for at < n && a[at] == b[at] {
		at++
	}
	var out []string
	if len(a) != len(b) {
		out = append(out, fmt.Sprintf("%s length %d -> %d", name, len(a), len(b)))
	}
	if at < n {
		out = append(out, fmt.Sprintf("%s byte %d %#02x -> %#02x", name, at, a[at], b[at]))
	}
	return strings.Join(out, "; ")
}
