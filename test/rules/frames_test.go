package rules_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// random is a source of rulesets and frames.
type random struct {
	*rand.Rand
	values values
	aims   []aim
	// Rulesets that are clean have no side effects, and narrow ones only matches that can be made at XDP: much runs early.
	clean, narrow bool
	size          int // of base chains: 1 is usual; 0: any
	long          int // runs of rules are so many times as long; 0: as long as usual
}

func newRandom(seed, n uint64) *random {
	return &random{Rand: rand.New(rand.NewPCG(seed, n)), values: usual()}
}

func pick[T any](r *random, from ...T) T { return from[r.IntN(len(from))] }

// often is true in so many percent of the cases.
func (r *random) often(percent int) bool { return r.IntN(100) < percent }

// values are what frames are made of, so that rules are hit.
type values struct {
	addrs4, addrs6 []netip.Addr
	ports          []uint16
	macs           []packet.MAC
	vlans          []uint16
}

// usual are the values that rules without a run of their own name.
func usual() values {
	v := values{ports: []uint16{0, 22, 53, 80, 443, 1000, 1001, 1005, 8080, 65535}, vlans: []uint16{0, 5, 10, 4095}}
	for _, last := range []byte{1, 2, 7, 64, 65, 200} {
		v.addrs4 = append(v.addrs4, netip.AddrFrom4([4]byte{203, 0, 113, last}))
		six := netip.MustParseAddr("2001:db8:ffff::").As16()
		six[15] = last
		v.addrs6 = append(v.addrs6, netip.AddrFrom16(six))
		v.macs = append(v.macs, packet.MAC{2, 0, 0, 0, 9, last})
	}
	v.addrs4 = append(v.addrs4, netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("198.51.100.2"))
	v.addrs6 = append(v.addrs6, netip.MustParseAddr("2001:db8:eeee::9"), netip.MustParseAddr("2001:db8:2::2"))
	return v
}

// valuesOf adds to the usual values those that a ruleset names, and those beside them.
func valuesOf(text string) values {
	v := usual()
	for _, m := range regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b`).FindAllString(text, -1) {
		if a, err := netip.ParseAddr(m); err == nil {
			v.addrs4 = append(v.addrs4, around(a)...)
		}
	}
	for _, m := range regexp.MustCompile(`\b2001:db8:[0-9a-f:]+`).FindAllString(text, -1) {
		if a, err := netip.ParseAddr(m); err == nil {
			v.addrs6 = append(v.addrs6, around(a)...)
		}
	}
	for _, m := range regexp.MustCompile(`port[^\n]*`).FindAllString(text, -1) {
		for _, n := range regexp.MustCompile(`\b\d{1,5}\b`).FindAllString(m, -1) {
			if p, err := strconv.ParseUint(n, 10, 16); err == nil {
				v.ports = append(v.ports, uint16(p), uint16(p), uint16(p+1))
			}
		}
	}
	return v
}

func around(a netip.Addr) []netip.Addr {
	out := []netip.Addr{a, a}
	for _, b := range []netip.Addr{a.Next(), a.Prev()} {
		if b.IsValid() {
			out = append(out, b)
		}
	}
	return out
}

func (r *random) port() uint16 { return pick(r, r.values.ports...) }

func (r *random) addr(six bool) netip.Addr {
	if six {
		return pick(r, r.values.addrs6...)
	}
	return pick(r, r.values.addrs4...)
}

// frames makes n frames for a device.
func (r *random) frames(d *device, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = r.frame(d)
	}
	return out
}

// frame makes a frame: most are right, and many are wrong in one way.
func (r *random) frame(d *device) []byte {
	var f []byte
	a := r.aim()
	switch {
	case r.often(4):
		f = r.tagged(r.arp())
	case r.often(3):
		f = r.tagged(r.foreign())
	case r.often(1):
		f = make([]byte, packet.EthernetLen+r.IntN(8)) // a runt
		binary.BigEndian.PutUint16(f[12:], pick(r, packet.EtherTypeIPv4, packet.EtherTypeIPv6, packet.EtherTypeARP, packet.EtherTypeVLAN))
	default:
		f = r.spec(a).Build()
	}
	copy(f, r.to(d))
	from := pick(r, r.values.macs...)
	copy(f[6:], from[:])
	if a.mac != nil {
		copy(f[6:], a.mac)
	}
	if r.often(5) {
		f = f[:max(packet.EthernetLen, r.IntN(len(f)+1))]
		if r.often(50) {
			fit(f)
		}
	}
	if r.often(4) {
		for range 1 + r.IntN(2) {
			at := packet.EthernetLen - 2 + r.IntN(len(f)-packet.EthernetLen+2)
			f[min(at, len(f)-1)] ^= 1 << r.IntN(8)
		}
	}
	return f
}

// fit makes the length of a packet of IP what is there of it, so that it ends inside its headers and nobody sees it at once.
func fit(f []byte) {
	n := uint16(len(f) - packet.EthernetLen)
	switch {
	case n >= 20 && f[packet.EthernetLen]>>4 == 4:
		binary.BigEndian.PutUint16(f[packet.EthernetLen+2:], n)
	case n >= 40 && f[packet.EthernetLen]>>4 == 6:
		binary.BigEndian.PutUint16(f[packet.EthernetLen+4:], n-40)
	}
}

func (r *random) to(d *device) []byte {
	mac := *d.MAC
	switch r.IntN(16) {
	case 0:
		mac = packet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case 1:
		mac = packet.MAC{1, 0, 0x5e, 0, 0, 9}
	case 2, 3:
		mac = packet.MAC{2, 0, 0, 0, 8, 8}
	}
	return mac[:]
}

// tagged puts VLAN tags into some frames.
func (r *random) tagged(f []byte) []byte {
	for _, t := range r.tags() {
		head := append([]byte(nil), f[:12]...)
		head = binary.BigEndian.AppendUint16(head, t.TPID)
		head = binary.BigEndian.AppendUint16(head, t.TCI)
		f = append(head, f[12:]...)
	}
	return f
}

func (r *random) tags() []packet.Tag {
	if !r.often(18) {
		return nil
	}
	tags := []packet.Tag{{TPID: pick(r, packet.EtherTypeVLAN, packet.EtherTypeVLAN, packet.EtherTypeQinQ), TCI: r.tci()}}
	for range 2 {
		if r.often(25) {
			tags = append(tags, packet.Tag{TPID: pick(r, packet.EtherTypeVLAN, packet.EtherTypeVLAN, packet.EtherTypeQinQ), TCI: r.tci()})
		}
	}
	return tags
}

func (r *random) tci() uint16 {
	return pick(r, r.values.vlans...) | pick[uint16](r, 0, 0, 3, 7)<<13 | pick[uint16](r, 0, 0, 1)<<12
}

func (r *random) arp() []byte {
	b := make([]byte, packet.EthernetLen+28)
	binary.BigEndian.PutUint16(b[12:], packet.EtherTypeARP)
	copy(b[14:], []byte{0, pick[byte](r, 1, 1, 1, 6), 8, 0, 6, pick[byte](r, 4, 4, 4, 16), 0, pick[byte](r, 1, 1, 2, 3)})
	sender, src, dst := pick(r, r.values.macs...), r.addr(false).As4(), r.addr(false).As4()
	copy(b[22:], sender[:])
	copy(b[28:], src[:])
	copy(b[38:], dst[:])
	return b
}

// foreign is a frame of another protocol, or one whose type is a length.
func (r *random) foreign() []byte {
	b := make([]byte, packet.EthernetLen+8+r.IntN(50))
	for i := range b {
		b[i] = byte(pick(r, 0, 1, 255, r.IntN(256)))
	}
	if r.often(30) {
		b[14], b[15] = 0xff, 0xff // Novell's 802.3
	}
	binary.BigEndian.PutUint16(b[12:], pick[uint16](r, 0x88cc, 0x0100, 0x002e, 0x05ff, 0x0600, 0x8847, 0x8864, 0x9999, 0x9100))
	return b
}
