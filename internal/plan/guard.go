package plan

import (
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/cond"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// begin writes what the kernel asks before entry i, the first rule of a base chain; next is that of the next one. Chains of family inet see well-formed packets
// of IP only: the kernel drops malformed ones there without a rule, and others pass by (net/netfilter/nft_chain_filter.c
// nft_do_chain_inet_ingress).
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
// for the outer one, or a rule asks for more than nft says (hidesType).
func (b *shareBuilder) leaveTagged() {
	const etherVLAN, etherQinQ = 0x8100, 0x88a8 // include/uapi/linux/if_ether.h
	typ := space.Field{Base: space.Link, Off: 96, Len: 16}
	b.leave(share.Cond{Fields: []share.Field{whole(typ)}, Keys: []share.Key{single(etherVLAN), single(etherQinQ)}})
}

// leaveForeignICMP writes that ICMP in IPv6 and ICMPv6 in IPv4 are left to the kernel (hidesVersion).
func (b *shareBuilder) leaveForeignICMP() {
	for _, v := range [][2]uint64{{etherIPv6, protoICMP}, {etherIPv4, protoICMPv6}} {
		b.leave(
			share.Cond{Fields: []share.Field{whole(space.L3Proto())}, Keys: []share.Key{single(v[0])}},
			share.Cond{Fields: []share.Field{whole(space.L4Proto())}, Keys: []share.Key{single(v[1])}},
		)
	}
}

func (b *shareBuilder) leave(cs ...share.Cond) {
	b.append(share.Entry{Conds: cs, Ending: share.Unsure}, 0)
}

// hidesType reports whether a rule may ask for the type of an untagged frame where it is listed as asking for meta
// protocol, which frames with a tag have, too: nft lists `ether type ip ip saddr 10.0.0.1` without its first half.
func (e *entry) hidesType() bool { return e.runs() && e.hides }

// mayHideType reports whether the conditions of one rule may hide such a question. A tag that it asks for itself leaves no
// room for one; a tag that the rule asks for which jumped there does not.
func mayHideType(own []cond.Cond) bool {
	e := &entry{conds: own}
	return e.asks(space.L3Proto()) && !e.readsTag()
}

// hidesVersion reports whether a rule may not ask for the version of IP where it is listed as if it did: nft lists
// `meta l4proto icmp icmp type 8` without its first half, and `icmp type 8` is about IPv4 alone.
func (e *entry) hidesVersion() bool {
	return e.runs() && e.asks(space.L3Proto()) && (e.wants(space.L4Proto(), protoICMP) || e.wants(space.L4Proto(), protoICMPv6))
}

// asks reports whether an entry has a condition about a field.
func (e *entry) asks(f space.Field) bool {
	return slices.ContainsFunc(e.conds, func(c cond.Cond) bool {
		return slices.ContainsFunc(c.Fields, func(g share.Field) bool { return g.At == f })
	})
}

// wants reports whether an entry compares a field with one value.
func (e *entry) wants(f space.Field, value uint64) bool {
	return slices.ContainsFunc(e.conds, func(c cond.Cond) bool {
		return len(c.Fields) == 1 && c.Fields[0].At == f && !c.Not && slices.ContainsFunc(c.Keys, func(k share.Key) bool {
			return k[0].First == space.Number(value) && k[0].Last == k[0].First
		})
	})
}

func single(n uint64) share.Key { return share.Key{{First: space.Number(n), Last: space.Number(n)}} }

func whole(f space.Field) share.Field { return share.Field{At: f, Mask: space.Highest(f.Len)} }
