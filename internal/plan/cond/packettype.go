package cond

import (
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Packet types (include/uapi/linux/if_packet.h).
const (
	typeHost = iota
	typeBroadcast
	typeMulticast
	typeOther
)

// packetType adds the condition that the type which the kernel is going to give the packet by its address is, or is not,
// one of some (net/ethernet/eth.c eth_type_trans). Which address is the host's own may change: what is neither broadcast
// nor multicast is only taken as a whole.
func (c *compiler) packetType(not bool, keys []share.Key) *Refusal {
	wanted := func(n uint64) bool {
		for _, k := range keys {
			if (space.Set{k[0]}).Contains(space.Number(n)) {
				return !not
			}
		}
		return not
	}
	if wanted(typeHost) != wanted(typeOther) {
		return refuse(reason.MatchNotEarly, "meta pkttype: whether the address is the device's own")
	}
	mac := share.Field{At: space.Field{Base: space.Link, Len: 48}, Mask: space.Highest(48)}
	group := mac
	group.Mask = space.Number(1).ShiftLeft(40)
	all := space.Interval{First: space.Value{}, Last: space.Highest(48)}
	inGroup, toAll, single := interval(group.Mask), interval(space.Highest(48)), interval(space.Value{})
	add := func(not bool, f share.Field, iv space.Interval) {
		c.append(Cond{Cond: share.Cond{Fields: []share.Field{f}, Not: not, Keys: []share.Key{{iv}}}})
	}
	switch unicast, broadcast, multicast := wanted(typeHost), wanted(typeBroadcast), wanted(typeMulticast); {
	case unicast && broadcast && multicast:
	case unicast && broadcast:
		c.append(Cond{Cond: share.Cond{Fields: []share.Field{group, mac}, Keys: []share.Key{{single, all}, {all, toAll}}}})
	case unicast && multicast:
		add(true, mac, toAll)
	case unicast:
		add(false, group, single)
	case broadcast && multicast:
		add(false, group, inGroup)
	case broadcast:
		add(false, mac, toAll)
	case multicast:
		add(false, group, inGroup)
		add(true, mac, toAll)
	default:
		c.rule.Never = true
	}
	return nil
}
