package eval

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// pair is a field of a description and its value.
type pair struct{ proto, field, value string }

func (p pair) String() string { return p.proto + " " + p.field }

// Describe makes a packet of a description in nft's names, "ip saddr 192.0.2.1 tcp dport 443": fields and values, one
// after the other. What is not said is what a usual packet has: TCP SYN where no other protocol is named, checksums
// right, TTL 64. `meta mark` and `meta priority` say what the packet comes with.
func Describe(text string) (Packet, error) {
	pairs, err := pairsOf(text)
	if err != nil {
		return Packet{}, err
	}
	spec, err := specOf(pairs)
	if err != nil {
		return Packet{}, err
	}
	p := Packet{Frame: spec.Build(), NoSocket: true}
	c := &compiler{e: New(&ruleset.Ruleset{}, nil)}
	s, _ := receive(p)
	s.look(pfNetdev)
	r := &run{e: c.e, s: s, p: p}
	for _, x := range pairs {
		if err := c.describe(r, x); err != nil {
			return Packet{}, err
		}
	}
	p.Mark, p.Priority, p.Frame = r.p.Mark, r.p.Priority, s.data
	return p, nil
}

// describe writes one field into the packet.
func (c *compiler) describe(r *run, x pair) error {
	fd := fields(x.proto)[x.field]
	if x.proto == "meta" {
		fd.typ, _ = metaType(x.field)
	}
	var e ruleset.Expr = ruleset.Str(x.value)
	if strings.ContainsAny(x.value, ",|") && fd.typ.flags() {
		var l ruleset.List
		for _, v := range strings.FieldsFunc(x.value, func(r rune) bool { return r == ',' || r == '|' }) {
			l = append(l, ruleset.Str(v))
		}
		e = l
	}
	v, err := c.constant(e, fd.typ)
	n, isNumber := number(x.value)
	if err != nil || wide(v.lo, fd.typ.bits) || isNumber && fd.typ.bits < 64 && n>>fd.typ.bits != 0 {
		return fmt.Errorf("%s: %q is not a value of it", x, x.value)
	}
	if x.proto == "meta" {
		r.storeMeta(x.field, v.lo)
		return nil
	}
	if r.storeField(x.proto, x.field, fd, v.lo) != known {
		return fmt.Errorf("%s: the packet has no such header", x)
	}
	return nil
}

// wide reports whether a value has bits above those of its field.
func wide(v []byte, bits int) bool {
	return slices.Compare(cutBits(slices.Clone(v), bits), v) != 0
}

// pairsOf splits a description.
func pairsOf(text string) ([]pair, error) {
	words := strings.Fields(text)
	var out []pair
	for len(words) > 0 {
		x, rest := pair{proto: words[0]}, words[1:]
		if len(rest) == 0 {
			return nil, fmt.Errorf("%q: a field and a value should follow, as in \"tcp dport 443\"", x.proto)
		}
		x.field = rest[0]
		if _, ok := describable()[x.proto+" "+x.field]; !ok && len(rest) > 1 && x.proto == "arp" {
			x.field, rest = x.field+" "+rest[1], rest[1:] // `arp saddr ip`
		}
		if _, ok := describable()[x.String()]; !ok {
			return nil, unknownField(x.String())
		}
		if len(rest) < 2 {
			return nil, fmt.Errorf("%s: a value should follow", x)
		}
		x.value, words = rest[1], rest[2:]
		out = append(out, x)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the description is empty; it should be like %q", "ip saddr 192.0.2.1 tcp dport 443")
	}
	return out, nil
}

// describable are the fields that a description may have.
func describable() map[string]bool {
	out := map[string]bool{"meta mark": true, "meta priority": true}
	for _, proto := range []string{"ether", "vlan", "arp", "ip", "ip6", "tcp", "udp", "udplite", "sctp", "icmp", "icmpv6", "igmp", "esp", "ah"} {
		for field := range fields(proto) {
			out[proto+" "+field] = true
		}
	}
	return out
}

// unknownField names the fields that are nearest to one that does not exist.
func unknownField(name string) error {
	type near struct {
		name string
		far  int
	}
	var all []near
	for n := range describable() {
		all = append(all, near{n, distance(name, n)})
	}
	slices.SortFunc(all, func(a, b near) int { return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name)) })
	const some = 3
	var names []string
	for _, n := range all[:some] {
		names = append(names, n.name)
	}
	return fmt.Errorf("there is no field %q; near it are: %s", name, strings.Join(names, ", "))
}

// distance is the number of characters to add, drop or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// specOf is a packet with the headers that the fields of a description are in.
func specOf(pairs []pair) (packet.Spec, error) {
	var network, transport string
	var s packet.Spec
	set := func(which *string, name string) error {
		if *which != "" && *which != name {
			return fmt.Errorf("a packet is not both %s and %s", *which, name)
		}
		*which = name
		return nil
	}
	var err error
	for _, x := range pairs {
		switch x.proto {
		case "ether", "meta":
		case "vlan":
			s.Tags = []packet.Tag{{TPID: packet.EtherTypeVLAN}}
		case "ip", "ip6", "arp":
			err = cmp.Or(err, set(&network, x.proto))
		default:
			err = cmp.Or(err, set(&transport, x.proto))
		}
	}
	if err != nil {
		return s, err
	}
	tags := s.Tags
	s = usual(network, transport, number8(pairs))
	s.Tags = tags
	return s, nil
}

// number8 is the protocol number that a description gives, 0 for none.
func number8(pairs []pair) uint8 {
	for _, x := range pairs {
		if name := x.String(); name == "ip protocol" || name == "ip6 nexthdr" {
			d, _ := typeOf("inet_proto")
			n, ok := symbol(d, x.value)
			if !ok {
				n, _ = number(x.value)
			}
			return uint8(n)
		}
	}
	return 0
}

// usual is a packet that nothing is remarkable about.
func usual(network, transport string, proto uint8) packet.Spec {
	const port, server = 40000, 443
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	if network == "ip6" || network == "" && transport == "icmpv6" {
		src, dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::1")
	}
	if n, ok := protoNumber(transport); ok {
		proto = n
	}
	if proto == 0 {
		proto = protoTCP
	}
	tuple := packet.Tuple{Src: netip.AddrPortFrom(src, port), Dst: netip.AddrPortFrom(dst, server), Proto: proto}
	var payload []byte
	if proto != protoTCP && proto != protoUDP {
		payload = make([]byte, packet.TCPLen) // room for the header
	}
	s := packet.New(tuple, payload)
	s.Src, s.Dst = packet.MAC{2, 0, 0, 0, 0, 1}, packet.MAC{2, 0, 0, 0, 0, 2}
	if proto == protoTCP {
		s.Flags, s.Ack = packet.SYN, 0
	}
	if proto == protoICMP {
		payload[0] = 8 // echo request
	}
	if proto == protoICMPv6 {
		payload[0] = 128
	}
	if network == "arp" {
		s.EtherType = packet.EtherTypeARP
	}
	return s
}

// ParseConntrack reads what connection tracking says about a packet: "state=established,mark=1,status=assured|confirmed".
func ParseConntrack(text string) (*Conntrack, error) {
	ct := &Conntrack{State: StateNew}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("%q: a key and a value should be there, as in state=established", part)
		}
		if err := ct.set(key, value); err != nil {
			return nil, err
		}
	}
	return ct, nil
}

func (c *Conntrack) set(key, value string) error {
	name := map[string]string{"state": "ct_state", "status": "ct_status", "direction": "ct_dir", "mark": "mark", "zone": "mark", "label": "mark"}[key]
	if key == "helper" {
		c.Helper = &value
		return nil
	}
	d, ok := typeOf(name)
	if !ok {
		return fmt.Errorf("there is no key %q; the keys are state, status, direction, mark, label, zone and helper", key)
	}
	var n uint64
	for v := range strings.SplitSeq(value, "|") {
		bit, ok := symbol(d, v)
		if !ok {
			bit, ok = number(v)
		}
		if !ok || d.bits < 64 && bit>>d.bits != 0 {
			return fmt.Errorf("%s: %q is not a value of it", key, v)
		}
		n |= bit
	}
	m, reply, zone := uint32(n), n != 0, uint16(n)
	switch key {
	case "state":
		c.State = m
	case "status":
		c.Status = &m
	case "direction":
		c.Reply = &reply
	case "mark":
		c.Mark = &m
	case "zone":
		c.Zone = &zone
	case "label":
		c.Labels = new([16]byte)
		if n < 128 {
			c.Labels[15-n/8] = 1 << (n % 8)
		}
	}
	return nil
}
