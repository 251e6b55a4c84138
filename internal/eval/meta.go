package eval

import (
	"bytes"
	"fmt"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

func (c *compiler) meta(e ruleset.Meta) (operand, error) {
	d, ok := metaType(e.Key)
	if !ok {
		return operand{}, fmt.Errorf("meta %s: %w", e.Key, errNotKnown)
	}
	return one(metaLoad(e.Key), d), nil
}

// metaType is the datatype of a meta key.
func metaType(key string) (dtype, bool) {
	name := ""
	switch key {
	case "length":
		return dtype{"integer", 32}, true
	case "protocol":
		name = "ether_type"
	case "nfproto":
		name = "nf_proto"
	case "l4proto":
		name = "inet_proto"
	case "priority":
		name = "classid"
	case "mark":
		name = "mark"
	case "iif", "oif", "sdif":
		name = "iface_index"
	case "iifname", "oifname", "iifkind", "oifkind", "ibrname", "obrname", "ibriport", "sdifname":
		name = "ifname"
	case "ibrpvid":
		return dtype{"integer", 16}, true
	case "ibrvproto":
		name = "ether_type"
	case "iiftype", "oiftype":
		name = "iface_type"
	case "skuid":
		name = "uid"
	case "skgid":
		name = "gid"
	case "rtclassid":
		name = "realm"
	case "pkttype":
		name = "pkt_type"
	case "iifgroup", "oifgroup":
		name = "devgroup"
	case "cpu", "cgroup", "random":
		return dtype{"integer", 32}, true
	case "nftrace", "secpath":
		return dtype{"integer", 8}, true
	case "ipsec":
		name = "boolean"
	case "time", "day", "hour":
		name = key
	default:
		return dtype{}, false
	}
	return typeOf(name)
}

// metaLoad reads meta data (net/netfilter/nft_meta.c).
func metaLoad(key string) load {
	d, _ := metaType(key)
	num := func(n uint64) ([]byte, status) { return uintBytes(n, d.bytes()), known }
	return func(r *run) ([]byte, status) {
		s := r.s
		switch key {
		case "length":
			return num(uint64(s.length()))
		case "protocol":
			return num(uint64(s.protocol))
		case "nfproto":
			return num(uint64(s.pf))
		case "l4proto":
			if !s.l4 {
				return nil, broke
			}
			return num(uint64(s.proto))
		case "priority":
			return num(uint64(r.p.Priority))
		case "mark":
			return num(uint64(r.p.Mark))
		case "nftrace":
			return num(0)
		case "pkttype":
			t, ok := r.pktType()
			if !ok {
				return nil, r.missing(FactMeta, "meta pkttype")
			}
			return num(uint64(t))
		}
		if v, st, ok := deviceLoad(r, key, d); ok {
			return v, st
		}
		return factLoad(r, key, d)
	}
}

// deviceLoad reads what meta says about the devices of the hook.
func deviceLoad(r *run, key string, d dtype) ([]byte, status, bool) {
	dev := r.in
	switch key {
	case "oif", "oifname", "oiftype", "oifgroup", "oifkind", "obrname":
		dev = r.out
	}
	switch key {
	case "iif", "oif":
		return uintBytes(uint64(r.e.deviceIndex(dev)), d.bytes()), known, true
	case "iifname", "oifname":
		v := make([]byte, d.bytes())
		if dev != nil {
			copy(v, dev.Name)
		}
		return v, known, true
	case "iiftype", "oiftype", "iifgroup", "oifgroup", "iifkind", "oifkind":
		if dev == nil {
			return nil, broke, true
		}
	case "ibrname", "obrname":
		if dev == nil || dev.Bridge == nil {
			return nil, broke, true
		}
		return name(dev.Bridge.Name, d.bytes()).lo, known, true
	default:
		return nil, known, false
	}
	switch key {
	case "iiftype", "oiftype":
		return uintBytes(uint64(dev.arphrd()), d.bytes()), known, true
	case "iifgroup", "oifgroup":
		return uintBytes(uint64(dev.Group), d.bytes()), known, true
	}
	if dev.Kind == "" {
		return nil, r.missing(FactMeta, "meta "+key), true
	}
	return name(dev.Kind, d.bytes()).lo, known, true
}

// factLoad reads what only the caller can know.
func factLoad(r *run, key string, d dtype) ([]byte, status) {
	var fact *uint32
	switch key {
	case "cpu":
		fact = r.p.CPU
	case "skuid":
		fact = r.p.UID
	case "skgid":
		fact = r.p.GID
	case "cgroup":
		fact = r.p.Cgroup
	case "time", "day", "hour":
		if r.p.Time != nil {
			return timeLoad(*r.p.Time, key, d), known
		}
	}
	if fact != nil {
		return uintBytes(uint64(*fact), d.bytes()), known
	}
	switch key {
	case "skuid", "skgid", "cgroup":
		if r.p.NoSocket {
			return nil, broke
		}
		return nil, r.missing(FactSocket, "meta "+key)
	case "random":
		return nil, r.missing(FactRandom, "meta random")
	}
	return nil, r.missing(FactMeta, "meta "+key)
}

func timeLoad(t time.Time, key string, d dtype) []byte {
	switch key {
	case "day":
		return uintBytes(uint64(t.Weekday()), d.bytes())
	case "hour":
		return uintBytes(uint64(t.Hour()*3600+t.Minute()*60+t.Second()), d.bytes())
	}
	return uintBytes(uint64(t.UnixNano()), d.bytes())
}

// Packet types (include/uapi/linux/if_packet.h).
const (
	pktHost      = 0
	pktBroadcast = 1
	pktMulticast = 2
	pktOther     = 3
)

// pktType is skb->pkt_type: what a rule set, or what the frame's address says.
func (r *run) pktType() (uint8, bool) {
	if r.p.Type != nil {
		return *r.p.Type, true
	}
	return r.addressed()
}

// addressed is the type the receive path gives a packet by its destination address (eth_type_trans). A bridge counts
// what is addressed to itself as for this host.
func (r *run) addressed() (uint8, bool) {
	p := &r.p
	if r.s.bare || p.Route == RouteOutput {
		return pktHost, true
	}
	dst := packet.MAC(r.s.data)
	switch {
	case bytes.Equal(dst[:], bytes.Repeat([]byte{0xff}, len(dst))):
		return pktBroadcast, true
	case dst[0]&1 != 0:
		return pktMulticast, true
	case p.In == nil || p.In.MAC == nil:
		return pktHost, false
	case dst == *p.In.MAC, r.bridged && p.In.Bridge.MAC != nil && dst == *p.In.Bridge.MAC:
		return pktHost, true
	}
	return pktOther, true
}
