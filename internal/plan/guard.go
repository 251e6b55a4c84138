package plan

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// begin writes what the kernel asks before entry i, the first rule of a base chain; next is that of the next one. Chains
// of family inet see well-formed packets of IP only: the kernel drops malformed ones there without a rule, and others
// pass by (net/netfilter/nft_chain_filter.c nft_do_chain_inet_ingress).
func (b *shareBuilder) begin(all []*entry, i, next int) {
	base := all[i].base
	if base == nil || base.Family != ruleset.Inet {
		return
	}
	if !slices.ContainsFunc(all[i:], (*entry).runs) {
		return // no chain behind it, either, that would take a malformed packet for one of its own
	}
	ip := share.Cond{Fields: []share.Field{whole(space.L3Proto())}, Keys: []share.Key{single(etherIPv4), single(etherIPv6)}}
	fine := share.Cond{Fields: []share.Field{whole(space.L4Proto())}, Keys: []share.Key{{{Last: space.Highest(space.L4Proto().Len)}}}}
	ref := share.Ref{Family: base.Family, Table: base.Table, Chain: base.Name}
	first := len(b.share.Entries) + 3
	b.append(share.Entry{Rule: ref, Conds: []share.Cond{ip, fine}, Ending: share.Leaves, To: first}, 0)
	b.append(share.Entry{Rule: ref, Conds: []share.Cond{ip}, Ending: share.Leaves}, len(all))
	b.append(share.Entry{Rule: ref, Ending: share.Leaves}, next)
}

// leaveTagged writes that frames with a VLAN tag are left to the kernel: another one may be hidden, which the kernel takes
// for the outer one.
func (b *shareBuilder) leaveTagged() {
	const etherVLAN, etherQinQ = 0x8100, 0x88a8 // include/uapi/linux/if_ether.h
	typ := space.Field{Base: space.Link, Off: 96, Len: 16}
	tagged := share.Cond{Fields: []share.Field{whole(typ)}, Keys: []share.Key{single(etherVLAN), single(etherQinQ)}}
	b.append(share.Entry{Conds: []share.Cond{tagged}, Ending: share.Unsure}, 0)
}

func single(n uint64) share.Key { return share.Key{{First: space.Number(n), Last: space.Number(n)}} }

func whole(f space.Field) share.Field { return share.Field{At: f, Mask: space.Highest(f.Len)} }
