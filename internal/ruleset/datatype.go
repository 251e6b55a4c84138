package ruleset

import "slices"

// Type is what values an expression has.
type Type struct {
	Name string // datatype of nft(8), DATA TYPES, "inet_service"; "string" and "integer" where there is none
	Bits int
	// Host is set where the kernel holds the number in the machine's byte order: marks, indexes, sizes. Constant gives
	// all numbers in network byte order, so that they compare as numbers.
	Host bool
	// Fields are the types of a concatenation; then Name is empty and Bits is the sum.
	Fields []Type
}

// Bitmask reports whether the values are sets of flags, which match when one of them is there.
func (t Type) Bitmask() bool {
	switch t.Name {
	case "tcp_flag", "ct_state", "ct_status", "ct_label", "ct_event", "bitmask":
		return true
	}
	return false
}

// Text reports whether the values are strings.
func (t Type) Text() bool { return t.Name == "ifname" || t.Name == "string" }

// NamedType returns a datatype by its name in the declaration of a set.
func NamedType(name string) (Type, bool) {
	bits, host := 0, false
	switch name {
	case "ecn":
		bits = 2
	case "dccp_pkttype":
		bits = 4
	case "dscp":
		bits = 6
	case "inet_proto", "icmp_type", "icmpv6_type", "icmp_code", "icmpv6_code", "icmpx_code", "igmp_type", "tcp_flag",
		"mh_type", "nf_proto", "ct_dir", "pkt_type", "day", "boolean":
		bits = 8
	case "inet_service", "ether_type", "arp_op":
		bits = 16
	case "iface_type":
		bits, host = 16, true
	case "ipv4_addr":
		bits = 32
	case "mark", "iface_index", "devgroup", "realm", "classid", "uid", "gid", "ct_state", "ct_status", "ct_event",
		"fib_addrtype", "hour":
		bits, host = 32, true
	case "ether_addr", "ll_addr":
		bits = 48
	case "time", "cgroupsv2":
		bits, host = 64, true
	case "ipv6_addr":
		bits = 128
	case "ct_label":
		bits, host = 128, true
	case "ifname", "string":
		bits = 128
	case "verdict":
	default:
		return Type{}, false
	}
	return Type{Name: name, Bits: bits, Host: host}, true
}

// typeOf is NamedType for a name that is known to be one.
func typeOf(name string) Type {
	t, _ := NamedType(name)
	return t
}

func integer(bits int, host bool) Type { return Type{Name: "integer", Bits: bits, Host: host} }

// concatenation is the type of fields in a row; of one field, that field's.
func concatenation(fields []Type) Type {
	if len(fields) == 1 {
		return fields[0]
	}
	t := Type{Fields: fields}
	for _, f := range fields {
		t.Bits += f.Bits
	}
	return t
}

// namedTypes is the type of a declaration.
func namedTypes(names []string) (Type, bool) {
	var fields []Type
	for _, n := range names {
		t, ok := NamedType(n)
		if !ok {
			return Type{}, false
		}
		fields = append(fields, t)
	}
	return concatenation(fields), len(fields) > 0
}

// KeyType returns the type of a set's keys. It is not known for keys declared as "integer", whose length nft 1.0.6
// does not print.
func (s *Set) KeyType() (Type, bool) {
	if s.TypeOf != nil {
		return TypeOf(s.TypeOf, nil)
	}
	return namedTypes(s.Type)
}

// DataType returns the type of a map's data; not of one whose data are names of objects.
func (s *Set) DataType() (Type, bool) {
	if s.MapTypeOf != nil {
		return TypeOf(s.MapTypeOf, nil)
	}
	return namedTypes(s.MapType)
}

// TypeOf returns the type of an expression that reads something. The table has the sets that a Map may name; nil: none.
// ok is false for constants, which have the type of what they are compared with, and for what is not known.
func TypeOf(e Expr, in *Table) (t Type, ok bool) {
	switch e := e.(type) {
	case Payload:
		return payloadType(e)
	case RawPayload:
		return integer(e.Len, false), e.Len > 0
	case Exthdr:
		if e.Field == "" {
			return typeOf("boolean"), true
		}
		f, ok := HeaderField(e.Name, e.Field)
		return fieldType(f), ok
	case Option:
		f, _, ok := OptionField(e.Kind, e.Name, e.Field)
		if e.Kind == "dccp option" || e.Kind == "tcp option" && e.Name == "" {
			return rawOptionType(e)
		}
		return fieldType(f), ok
	case Meta:
		return metaType(e.Key)
	case RT:
		return rtType(e)
	case CT:
		return ctType(e)
	case FIB:
		return fibType(e.Result)
	case Generator:
		return integer(32, true), true
	case Other:
		return otherType(e)
	case Concat:
		var fields []Type
		for _, x := range e {
			f, ok := TypeOf(x, in)
			if !ok {
				return Type{}, false
			}
			fields = append(fields, f)
		}
		return concatenation(fields), len(fields) > 0
	case Binary:
		return binaryType(e, in)
	case Map:
		return mapType(e, in)
	case Prefix:
		return TypeOf(e.Addr, in)
	case Elem:
		return TypeOf(e.Val, in)
	}
	return Type{}, false
}

func payloadType(e Payload) (Type, bool) {
	f, ok := PayloadField(e.Proto, e.Field)
	return fieldType(f), ok
}

// fieldType is the type of a header's field: as long as the field, in network byte order.
func fieldType(f Field) Type {
	t := typeOf(f.Type)
	t.Name, t.Bits, t.Host = f.Type, f.Bits, false
	return t
}

// rawOptionType is the type of `tcp option @42,16,4` and of `dccp option 3`.
func rawOptionType(e Option) (Type, bool) {
	if e.Kind == "dccp option" {
		return typeOf("boolean"), true
	}
	n, ok := e.Extra.Int("len")
	return integer(n, false), ok && n > 0
}

// binaryType is the type of the first operand that is not a constant.
func binaryType(e Binary, in *Table) (Type, bool) {
	for _, x := range e.Operands {
		if t, ok := TypeOf(x, in); ok {
			return t, true
		}
	}
	return Type{}, false
}

// mapType is the type of what a map gives.
func mapType(e Map, in *Table) (Type, bool) {
	switch d := e.Data.(type) {
	case SetRef:
		if in == nil {
			return Type{}, false
		}
		if s := in.Set(string(d)); s != nil {
			return s.DataType()
		}
	case SetLit:
		// What the data of a literal map are depends on where it stands.
		for _, x := range d {
			if p, ok := x.(Pair); ok {
				return TypeOf(p.Data, in)
			}
		}
	}
	return Type{}, false
}

func metaType(key string) (Type, bool) {
	switch key {
	case "length", "cpu", "cgroup", "random", "secmark":
		return integer(32, true), true
	case "nftrace", "broute":
		return integer(1, true), true
	case "ibrpvid":
		return integer(16, true), true
	case "protocol", "ibrvproto":
		return typeOf("ether_type"), true
	case "nfproto":
		return typeOf("nf_proto"), true
	case "l4proto":
		return typeOf("inet_proto"), true
	case "priority":
		return typeOf("classid"), true
	case "mark":
		return typeOf("mark"), true
	case "iif", "oif", "sdif":
		return typeOf("iface_index"), true
	case "iiftype", "oiftype":
		return typeOf("iface_type"), true
	case "skuid":
		return typeOf("uid"), true
	case "skgid":
		return typeOf("gid"), true
	case "rtclassid":
		return typeOf("realm"), true
	case "pkttype":
		return typeOf("pkt_type"), true
	case "iifgroup", "oifgroup":
		return typeOf("devgroup"), true
	case "secpath", "ipsec":
		return typeOf("boolean"), true
	case "time", "day", "hour":
		return typeOf(key), true
	case "ibrhwaddr":
		return typeOf("ether_addr"), true
	case "iifname", "oifname", "sdifname", "iifkind", "oifkind", "ibrname", "obrname", "ibriport", "obriport", "ibridgename", "obridgename":
		return typeOf("ifname"), true
	}
	return Type{}, false
}

func rtType(e RT) (Type, bool) {
	switch {
	case e.Key == "classid":
		return typeOf("realm"), true
	case e.Key == "nexthop" && e.Family == "ip":
		return typeOf("ipv4_addr"), true
	case e.Key == "nexthop" && e.Family == "ip6":
		return typeOf("ipv6_addr"), true
	case e.Key == "mtu":
		return integer(16, true), true
	case e.Key == "ipsec":
		return typeOf("boolean"), true
	}
	return Type{}, false
}

func ctType(e CT) (Type, bool) {
	switch key := e.Key; key {
	case "state", "status", "label", "event":
		return typeOf("ct_" + key), true
	case "direction":
		return typeOf("ct_dir"), true
	case "mark":
		return typeOf("mark"), true
	case "secmark", "id", "count":
		return integer(32, true), true
	case "expiration":
		return Type{Name: "time", Bits: 32, Host: true}, true
	case "helper":
		return typeOf("string"), true
	case "l3proto":
		return typeOf("nf_proto"), true
	case "protocol":
		return typeOf("inet_proto"), true
	case "bytes", "packets", "avgpkt":
		return integer(64, true), true
	case "zone":
		return integer(16, true), true
	case "proto-src", "proto-dst":
		return typeOf("inet_service"), true
	}
	return ctAddress(e)
}

// ctAddress is the type of an address of a connection: "ip saddr", or in older form "saddr" and a family.
func ctAddress(e CT) (Type, bool) {
	switch {
	case slices.Contains([]string{"ip saddr", "ip daddr"}, e.Key):
		return typeOf("ipv4_addr"), true
	case slices.Contains([]string{"ip6 saddr", "ip6 daddr"}, e.Key):
		return typeOf("ipv6_addr"), true
	case e.Key != "saddr" && e.Key != "daddr":
		return Type{}, false
	case e.Family == "ip":
		return typeOf("ipv4_addr"), true
	case e.Family == "ip6":
		return typeOf("ipv6_addr"), true
	}
	return Type{}, false
}

func fibType(result string) (Type, bool) {
	switch result {
	case "oif":
		return typeOf("iface_index"), true
	case "oifname":
		return typeOf("ifname"), true
	case "type":
		return typeOf("fib_addrtype"), true
	case "check":
		return typeOf("boolean"), true
	}
	return Type{}, false
}

func otherType(e Other) (Type, bool) {
	switch e.Kind + " " + e.Key {
	case "socket transparent", "socket wildcard":
		return integer(8, true), true
	case "socket mark":
		return typeOf("mark"), true
	case "socket cgroupv2":
		return typeOf("cgroupsv2"), true
	case "osf name", "osf version":
		return typeOf("string"), true
	case "ipsec reqid", "tunnel id":
		return integer(32, true), true
	case "ipsec spi":
		return integer(32, false), true
	case "ipsec saddr", "ipsec daddr":
		family, _ := e.Fields.Str("family")
		return map[string]Type{"ip": typeOf("ipv4_addr"), "ip6": typeOf("ipv6_addr")}[family], family == "ip" || family == "ip6"
	case "tunnel path":
		return typeOf("boolean"), true
	}
	return Type{}, false
}
