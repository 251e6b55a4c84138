package eval

import (
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

func (c *compiler) ct(e ruleset.CT) (operand, error) {
	d, ok := c.ctType(e)
	if !ok {
		return operand{}, fmt.Errorf("ct %s: %w", e.Key, errNotKnown)
	}
	return one(func(r *run) ([]byte, status) { return r.ctLoad(e, d) }, d), nil
}

// ctType is the datatype of a conntrack key.
func (c *compiler) ctType(e ruleset.CT) (dtype, bool) {
	key := e.Key
	switch key {
	case "state", "status", "label":
		key = "ct_" + key
	case "direction":
		key = "ct_dir"
	case "mark":
	case "secmark", "expiration", "id", "event", "count":
		return dtype{"integer", 32}, true
	case "helper":
		key = "string"
	case "l3proto":
		key = "nf_proto"
	case "protocol":
		key = "inet_proto"
	case "proto-src", "proto-dst":
		key = "inet_service"
	case "bytes", "packets", "avgpkt":
		return dtype{"integer", 64}, true
	case "zone":
		return dtype{"integer", 16}, true
	case "saddr", "daddr":
		key = "ipv4_addr"
		if e.Family == "ip6" || e.Family == "" && c.network == "ip6" {
			key = "ipv6_addr"
		}
	case "ip saddr", "ip daddr":
		key = "ipv4_addr"
	case "ip6 saddr", "ip6 daddr":
		key = "ipv6_addr"
	default:
		return dtype{}, false
	}
	return typeOf(key)
}

// ctLoad reads conntrack data (net/netfilter/nft_ct.c). Before conntrack's own hook every packet is invalid and has no
// entry.
func (r *run) ctLoad(e ruleset.CT, d dtype) ([]byte, status) {
	ct := r.ct
	if !r.tracked {
		ct = &Conntrack{State: StateInvalid}
	}
	if r.untracked {
		ct = &Conntrack{State: StateUntracked}
	}
	if ct == nil {
		return nil, r.missing(FactConntrack, "ct "+e.Key)
	}
	num := func(n uint64) ([]byte, status) { return uintBytes(n, d.bytes()), known }
	if e.Key == "state" {
		return num(uint64(ct.State))
	}
	if !ct.entry() {
		return nil, broke
	}
	ask := func() ([]byte, status) {
		return nil, r.missing(FactConntrack, strings.TrimSpace("ct "+e.Dir+" "+e.Key))
	}
	switch e.Key {
	case "status":
		if ct.Status != nil {
			return num(uint64(*ct.Status))
		}
	case "mark":
		if ct.Mark != nil {
			return num(uint64(*ct.Mark))
		}
	case "label":
		if ct.Labels != nil {
			return ct.Labels[:], known
		}
	case "direction":
		if ct.Reply == nil {
			return ask()
		}
		if *ct.Reply {
			return num(1)
		}
		return num(0)
	case "zone":
		if ct.Zone != nil {
			return num(uint64(*ct.Zone))
		}
	case "helper":
		if ct.Helper == nil {
			return ask()
		}
		if *ct.Helper == "" {
			return nil, broke
		}
		return name(*ct.Helper, d.bytes()).lo, known
	case "expiration":
		if ct.Expiration != nil {
			return num(uint64(ct.Expiration.Milliseconds()))
		}
	case "bytes", "packets", "avgpkt":
		if v, ok := ct.counted(e.Key, e.Dir); ok {
			return num(v)
		}
	default:
		if t := ct.tuple(e.Dir); t != nil {
			return tupleLoad(*t, e.Key, d)
		}
	}
	return ask()
}

// counted is the accounting of one direction, or of both.
func (c *Conntrack) counted(key, dir string) (uint64, bool) {
	if c.Packets == nil || c.Bytes == nil {
		return 0, false
	}
	sum := func(v *[2]uint64) uint64 {
		switch dir {
		case "original":
			return v[0]
		case "reply":
			return v[1]
		}
		return v[0] + v[1]
	}
	switch key {
	case "bytes":
		return sum(c.Bytes), true
	case "packets":
		return sum(c.Packets), true
	}
	if n := sum(c.Packets); n != 0 {
		return sum(c.Bytes) / n, true
	}
	return 0, true
}

// tuple returns the tuple of a direction; nft reads that of the original direction where none is said and the key
// needs none.
func (c *Conntrack) tuple(dir string) *packet.Tuple {
	if dir == "reply" {
		return c.Answer
	}
	return c.Original
}

func tupleLoad(t packet.Tuple, key string, d dtype) ([]byte, status) {
	num := func(n uint64) ([]byte, status) { return uintBytes(n, d.bytes()), known }
	addr := t.Src.Addr()
	switch key {
	case "l3proto":
		if t.Is4() {
			return num(pfIPv4)
		}
		return num(pfIPv6)
	case "protocol":
		return num(uint64(t.Proto))
	case "proto-src":
		return num(uint64(t.Src.Port()))
	case "proto-dst":
		return num(uint64(t.Dst.Port()))
	case "daddr", "ip daddr", "ip6 daddr":
		addr = t.Dst.Addr()
	}
	if addr.BitLen() != d.bits {
		return nil, broke
	}
	return addr.AsSlice(), known
}
