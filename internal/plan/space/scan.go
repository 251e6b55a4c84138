package space

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Scan is a place in a rule: what the packets are that get there. It is a value; each match gives the next one.
type Scan struct {
	Space Space
	r     *Reader
	table *ruleset.Table
	// VLAN tags: with two of them in one rule, nft's `vlan id` is of the inner one.
	stacked bool
	vlans   []string
	link    bool // the link header was matched: nft then asks it for the protocol, where a VLAN tag may be
}

// Start is the beginning of a chain of a table.
func (r *Reader) Start(t *ruleset.Table) Scan {
	s := Scan{r: r, table: t}
	switch t.Family {
	case ruleset.IP:
		s.Space = Where(L3Proto(), One(Number(etherIPv4)))
	case ruleset.IP6:
		s.Space = Where(L3Proto(), One(Number(etherIPv6)))
	case ruleset.ARP:
		s.Space = Where(L3Proto(), One(Number(etherARP)))
	case ruleset.Inet:
		s.Space = Where(L3Proto(), One(Number(etherIPv4)).Join(One(Number(etherIPv6))))
	case ruleset.Bridge, ruleset.Netdev:
	}
	return s
}

// NewRule is the beginning of another rule that the same packets get to.
func (s Scan) NewRule() Scan {
	s.stacked, s.vlans, s.link = false, nil, false
	return s
}

// With narrows the packets.
func (s Scan) With(t Space) Scan {
	s.Space = s.Space.Meet(t)
	return s
}

// Match is what gets past a match. What is not understood lets everything past.
func (s Scan) Match(m ruleset.Match) Scan {
	if keys, ok := m.Left.(ruleset.Concat); ok {
		return s.lookup(keys, m)
	}
	s, o, ok := s.operand(m.Left)
	if !ok {
		s.Space = s.Space.Loose()
		return s
	}
	return s.With(s.compare(o, m.Op, m.Right))
}

// Lookup is what gets past the lookup of a key in the keys of a map.
func (s Scan) Lookup(key, data ruleset.Expr) Scan {
	return s.Match(ruleset.Match{Op: "==", Left: key, Right: data})
}

// Branch is what a map says of some of the packets: a verdict, or a device.
type Branch struct {
	Verdict ruleset.Verdict
	Device  string
	Scan    Scan
	Keys    []ruleset.Expr
}

// Rest reports whether the branch is that of all keys which others do not have.
func (b Branch) Rest() bool {
	return slices.ContainsFunc(b.Keys, func(e ruleset.Expr) bool { return KeyOf(e) == ruleset.Str("*") })
}

// There is what has a field, whatever its value.
func (s Scan) There(e ruleset.Expr) Scan {
	s, o, ok := s.operand(e)
	if ok {
		s = s.With(Where(o.field, Full(o.field.Len)).Meet(o.deps))
	}
	s.Space = s.Space.Loose()
	return s
}

// Branches are the verdicts or devices of a map, in the order in which they occur, each with the packets that get it. It
// is false where the map is not known.
func (s Scan) Branches(key, data ruleset.Expr) ([]Branch, bool) {
	elems, set, ok := s.elements(data)
	if !ok || set != nil && (set.unknown() || set.shrinks) || s.cross(key, elems) {
		return nil, false
	}
	type decision struct {
		verdict ruleset.Verdict
		device  string
	}
	keysOf := map[decision][]ruleset.Expr{}
	var order []decision
	for _, e := range elems {
		p, ok := pairOf(e)
		if !ok {
			return nil, false
		}
		var d decision
		switch data := p.Data.(type) {
		case ruleset.Verdict:
			d.verdict = data
		case ruleset.Str:
			d.device = string(data)
		default:
			return nil, false
		}
		if _, have := keysOf[d]; !have {
			order = append(order, d)
		}
		keysOf[d] = append(keysOf[d], p.Key)
	}
	out := make([]Branch, 0, len(order))
	for _, d := range order {
		keys := keysOf[d]
		b := Branch{d.verdict, d.device, s.Lookup(key, ruleset.SetLit(keys)), keys}
		if b.Rest() {
			b.Scan.Space = b.Scan.Space.Loose() // all keys but those of the others
		}
		out = append(out, b)
	}
	return out, true
}

// operand is a field that is compared, with what reading it implies.
type operand struct {
	field Field
	typ   ruleset.Type
	mask  *Value // bits that are compared
	deps  Space
	names names
}

// names says whether the value of a field is the protocol of what follows.
type names uint8

const (
	namesNothing   names = iota
	namesTransport       // ip protocol
	namesNext            // ip6 nexthdr, which may be an extension header
)

// operand reads the left side of a match.
func (s Scan) operand(e ruleset.Expr) (Scan, operand, bool) {
	switch e := e.(type) {
	case ruleset.Payload:
		return s.payload(e)
	case ruleset.RawPayload:
		f, t, ok := RawPayload(e)
		return s, operand{field: f, typ: t}, ok
	case ruleset.Meta:
		t, ok := ruleset.TypeOf(e, nil)
		return s, operand{field: beyond("meta "+e.Key, t), typ: t}, ok && stable(e.Key) && len(e.Extra) == 0
	case ruleset.CT:
		o, ok := conntrack(e)
		return s, o, ok
	case ruleset.Binary:
		return s.masked(e)
	}
	return s, operand{}, false
}

func (s Scan) payload(e ruleset.Payload) (Scan, operand, bool) {
	f, t, ok := Payload(e)
	if !ok {
		return s, operand{}, false
	}
	o := operand{field: f, typ: t}
	switch e.Proto {
	case "vlan":
		if s.stacked || slices.Contains(s.vlans, e.Field) {
			s.stacked = true
			return s, operand{}, false
		}
		s.vlans = append(slices.Clip(s.vlans), e.Field)
		s.stacked = e.Field == "type"
	case "ether":
		// An outer tag of another kind has another one behind it.
		s.stacked = s.stacked || e.Field == "type"
	case "ip", "ip6", "arp", "icmp", "icmpv6", "igmp":
		s.Space.tags = s.Space.tags || s.link
	}
	s.link = s.link || f.Base == Link
	if n, ok := TransportNumber(e.Proto); ok {
		o.deps = Where(L4Proto(), One(Number(n)))
	}
	if !s.stacked {
		o.deps = o.deps.Meet(networkDeps(e.Proto))
		switch e.Proto + " " + e.Field {
		case "ip protocol":
			o.names = namesTransport
		case "ip6 nexthdr":
			o.names = namesNext
		}
	}
	return s, o, true
}

// networkDeps is what reading a header below the transport header implies. A tag behind another leaves meta protocol
// at that of the tag, and nft takes the innermost type for the protocol: callers leave the dependency out then.
func networkDeps(proto string) Space {
	switch proto {
	case "ip":
		return Where(L3Proto(), One(Number(etherIPv4)))
	case "ip6":
		return Where(L3Proto(), One(Number(etherIPv6)))
	case "arp":
		return Where(L3Proto(), One(Number(etherARP)))
	}
	return Everything()
}

func conntrack(e ruleset.CT) (operand, bool) {
	key := e.Key
	if e.Family != "" {
		key = e.Family + " " + key
	}
	name := "ct " + key
	if e.Dir != "" {
		name = "ct " + e.Dir + " " + key
	}
	t, ok := ruleset.TypeOf(e, nil)
	return operand{field: beyond(name, t), typ: t}, ok && stableCT(key) && len(e.Extra) == 0
}

// beyond is a field that is not in the packet. Devices are known by name.
func beyond(name string, t ruleset.Type) Field {
	if t.Name == "iface_index" {
		return Field{Base: Beyond, Len: valueBits, Name: name}
	}
	return Field{Base: Beyond, Len: t.Bits, Name: name}
}

// masked reads `FIELD & CONSTANT`.
func (s Scan) masked(e ruleset.Binary) (Scan, operand, bool) {
	if e.Op != "&" || len(e.Operands) != 2 {
		return s, operand{}, false
	}
	s, o, ok := s.operand(e.Operands[0])
	if !ok || o.mask != nil {
		return s, operand{}, false
	}
	m, ok := flags(o, e.Operands[1])
	if !ok {
		return s, operand{}, false
	}
	o.mask = &m
	return s, o, true
}

// Split is Match for each element of a set by itself, where the match is the lookup of a concatenation: what the
// components may be together is exact then. It is false where there are more than most elements.
func (s Scan) Split(m ruleset.Match, most int) ([]Scan, bool) {
	if _, ok := m.Left.(ruleset.Concat); !ok || m.Op != "==" {
		return []Scan{s.Match(m)}, true
	}
	elems, set, ok := s.elements(m.Right)
	if !ok {
		return []Scan{s.Match(m)}, true
	}
	if len(elems) > most || set != nil && set.unknown() {
		return nil, false
	}
	out := make([]Scan, 0, len(elems))
	for _, e := range elems {
		out = append(out, s.Match(ruleset.Match{Op: "==", Left: m.Left, Right: ruleset.SetLit{e}}))
	}
	return out, true
}
