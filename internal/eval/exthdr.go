package eval

import (
	"encoding/json"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// part is a field inside an extension header or option: offset and length in bits.
type part struct {
	offset int
	typ    dtype
}

func boolean() dtype { return dtype{"boolean", 8} }

// exthdr compiles a field of an IPv6 extension header, or the question whether there is one.
func (c *compiler) exthdr(e ruleset.Exthdr) (operand, error) {
	number, ok := exthdrNumber(e.Name)
	if !ok {
		return operand{}, fmt.Errorf("exthdr %s: %w", e.Name, errNotKnown)
	}
	c.needNetwork("ip6", true)
	if e.Field == "" {
		return one(func(r *run) ([]byte, status) {
			if r.s.protocol != packet.EtherTypeIPv6 {
				return []byte{0}, known
			}
			if _, ok := r.s.extension(number, false); ok {
				return []byte{1}, known
			}
			return []byte{0}, known
		}, boolean()), nil
	}
	p, ok := exthdrField(e.Name, e.Field)
	if !ok {
		return operand{}, fmt.Errorf("exthdr %s %s: %w", e.Name, e.Field, errNotKnown)
	}
	p.offset += 8 * e.Offset
	at := func(r *run) (int, int, bool) {
		if r.s.protocol != packet.EtherTypeIPv6 {
			return 0, 0, false
		}
		x, ok := r.s.extension(number, false)
		return x.at, len(r.s.data), ok
	}
	if kind, ok := routingType(e.Name); ok {
		c.condition(part{16, dtype{"integer", 8}}.load(at), kind)
	}
	return one(p.load(at), p.typ), nil
}

func exthdrNumber(name string) (int, bool) {
	switch name {
	case "hbh":
		return int(protoHopByHop), true
	case "rt", "rt0", "rt2", "srh":
		return int(protoRouting), true
	case "frag":
		return int(protoFragment), true
	case "dst":
		return int(protoDest), true
	case "mh":
		return int(protoMobility), true
	}
	return 0, false
}

// routingType is the type of routing header that a name stands for.
func routingType(name string) (uint64, bool) {
	switch name {
	case "rt0":
		return 0, true
	case "rt2":
		return 2, true
	case "srh":
		return 4, true
	}
	return 0, false
}

func exthdrField(name, field string) (part, bool) {
	integer := func(offset, bits int) (part, bool) { return part{offset, dtype{"integer", bits}}, true }
	switch field {
	case "nexthdr":
		return part{0, dtype{"inet_proto", 8}}, true
	case "hdrlength":
		return integer(8, 8)
	}
	switch name + " " + field {
	case "rt type":
		return integer(16, 8)
	case "mh type":
		return part{16, dtype{"mh_type", 8}}, true
	case "rt seg-left":
		return integer(24, 8)
	case "srh last-entry":
		return integer(32, 8)
	case "srh flags":
		return integer(40, 8)
	case "srh tag":
		return integer(48, 16)
	case "frag reserved":
		return integer(8, 8)
	case "frag frag-off":
		return integer(16, 13)
	case "frag reserved2":
		return integer(29, 2)
	case "frag more-fragments":
		return integer(31, 1)
	case "frag id":
		return integer(32, 32)
	case "mh reserved":
		return integer(24, 8)
	case "mh checksum":
		return integer(32, 16)
	}
	return part{}, false
}

// load reads a part of what at finds: from where, and where the bytes that may be read end.
func (p part) load(at func(*run) (from, end int, ok bool)) load {
	first, last := p.offset/8, (p.offset+p.typ.bits+7)/8
	below := last*8 - p.offset - p.typ.bits
	return func(r *run) ([]byte, status) {
		from, end, ok := at(r)
		if !ok || from+last > end {
			return nil, broke
		}
		b, ok := r.s.bytes(from+first, last-first)
		if !ok {
			return nil, broke
		}
		v := cutBits(shift(b, below, false), p.typ.bits)
		return v[len(v)-p.typ.bytes():], known
	}
}

// option compiles a TCP option, its field, or the question whether there is one; of IPv4 options only that question.
func (c *compiler) option(e ruleset.Option) (operand, error) {
	switch e.Kind {
	case "tcp option":
		return tcpOption(e) // of another protocol there is none: no need to ask
	case "ip option":
		c.needNetwork("ip", true)
		if kind, ok := ipOptionKind(e.Name); ok && e.Field == "" {
			return one(func(r *run) ([]byte, status) { return r.s.ipOption(kind), known }, boolean()), nil
		}
	}
	return operand{}, fmt.Errorf("%s %s %s: %w", e.Kind, e.Name, e.Field, errNotKnown)
}

func tcpOption(e ruleset.Option) (operand, error) {
	kind, p, ok := rawOption(e.Extra)
	if e.Name != "" {
		kind, p, ok = tcpOptionField(e.Name, e.Field)
	}
	if !ok {
		return operand{}, fmt.Errorf("tcp option %s %s: %w", e.Name, e.Field, errNotKnown)
	}
	at := func(r *run) (int, int, bool) { return r.s.tcpOption(kind) }
	if e.Name != "" && e.Field == "" {
		return one(func(r *run) ([]byte, status) {
			if from, end, ok := at(r); ok && from+1 <= end {
				return []byte{1}, known
			}
			return []byte{0}, known
		}, boolean()), nil
	}
	return one(p.load(at), p.typ), nil
}

// rawOption reads `tcp option @kind,offset,length`.
func rawOption(x ruleset.Extra) (kind byte, p part, ok bool) {
	var base, offset, length int
	for key, into := range map[string]*int{"base": &base, "offset": &offset, "len": &length} {
		if json.Unmarshal(x[key], into) != nil {
			return 0, p, false
		}
	}
	fine := length > 0 && length <= widest && offset >= 0 && offset <= farthest
	return byte(base), part{offset, dtype{"integer", length}}, fine
}

func tcpOptionField(name, field string) (kind byte, p part, ok bool) {
	kinds := map[string]byte{
		"eol": 0, "nop": 1, "noop": 1, "maxseg": 2, "window": 3, "sack-perm": 4, "sack-permitted": 4, "sack": 5, "sack0": 5,
		"sack1": 5, "sack2": 5, "sack3": 5, "timestamp": 8, "md5sig": 19, "mptcp": 30, "fastopen": 34,
	}
	kind, ok = kinds[name]
	bits := map[string][2]int{
		"kind": {0, 8}, "length": {8, 8}, "size": {16, 16}, "count": {16, 8}, "tsval": {16, 32}, "tsecr": {48, 32},
		"subtype": {16, 4}, "left": {16, 32}, "right": {48, 32},
	}
	where, isField := bits[field]
	if field != "" && !isField {
		return 0, p, false
	}
	if len(name) == len("sack0") && name[:4] == "sack" {
		where[0] += 64 * int(name[4]-'0') // each block is two numbers of 32 bits
	}
	return kind, part{where[0], dtype{"integer", where[1]}}, ok
}

// tcpOption finds an option of the TCP header and where it ends (nft_exthdr_tcp_eval).
func (s *skb) tcpOption(kind byte) (from, end int, ok bool) {
	if !s.l4 || s.proto != protoTCP || s.fragOff != 0 {
		return 0, 0, false
	}
	h, ok := s.bytes(s.th, packet.TCPLen)
	if !ok {
		return 0, 0, false
	}
	length := int(h[12]>>4) * 4
	if length < packet.TCPLen {
		return 0, 0, false
	}
	if h, ok = s.bytes(s.th, length); !ok {
		return 0, 0, false
	}
	for i := packet.TCPLen; i < length-1; {
		n := 1
		if h[i] > 1 && h[i+1] != 0 { // neither end nor padding
			n = int(h[i+1])
		}
		if h[i] == kind {
			return s.th + i, s.th + i + n, i+n <= length
		}
		i += n
	}
	return 0, 0, false
}

func ipOptionKind(name string) (byte, bool) {
	switch name {
	case "lsrr":
		return 131, true
	case "ra":
		return 148, true
	case "rr":
		return 7, true
	case "ssrr":
		return 137, true
	}
	return 0, false
}

// ipOption reports as a boolean whether the IPv4 header has an option.
func (s *skb) ipOption(kind byte) []byte {
	h, ok := s.bytes(s.net, packet.IPv4Len)
	if !ok || s.protocol != packet.EtherTypeIPv4 {
		return []byte{0}
	}
	h, ok = s.bytes(s.net, int(h[0]&0xf)*4)
	if !ok {
		return []byte{0}
	}
	for i := packet.IPv4Len; i < len(h) && h[i] != 0; {
		n := 1
		if h[i] != 1 {
			if i+1 >= len(h) || h[i+1] < 2 || i+int(h[i+1]) > len(h) {
				return []byte{0}
			}
			n = int(h[i+1])
		}
		if h[i] == kind {
			return []byte{1}
		}
		i += n
	}
	return []byte{0}
}
