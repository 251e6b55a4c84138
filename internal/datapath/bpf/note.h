// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * tc ingress leaves a note about each packet that goes into the kernel and might be learned from. The slot comes from
 * the address of the sk_buff, so the observer finds it without knowing the flow, and a packet that came another way
 * has another address.
 */
#pragma once

#include "family.h"
#include "hold.h"
#include "link.h"

static __always_inline __u32 slot_of(__u64 address)
{
	return (address >> 8) % NOTES; /* sk_buffs are 256 bytes apart in their slab */
}

static __always_inline struct note *note_of(__u64 address)
{
	__u32 i = slot_of(address);

	return bpf_map_lookup_elem(&notes, &i);
}

/* The verifier lets a pointer be stored but not computed with: through a map it comes back as a number. */
static __always_inline struct note *note_slot(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct local *l = bpf_map_lookup_elem(&locals, &zero);

	if (!l)
		return 0;
	*(volatile __u64 *)&l->skb = (__u64)(long)skb;
	return note_of(*(volatile __u64 *)&l->skb);
}

static __always_inline void note_clear(struct __sk_buff *skb)
{
	struct note *n = note_slot(skb);

	if (n)
		n->skb = 0;
}

static __always_inline void set_tc_index(struct __sk_buff *skb, __u32 v)
{
	/* clang would keep the member's address in a register, which the verifier does not take for a context's */
	asm volatile("*(u32 *)(%[skb] + %[off]) = %[v]" ::[skb] "r"(skb),
		     [off] "i"(__builtin_offsetof(struct __sk_buff, tc_index)), [v] "r"(v)
		     : "memory");
}

/*
 * No other packet has the address of a sk_buff that is inside the kernel, but addresses are used again at once. And an IPv6
 * packet may leave the stack as a copy in another sk_buff: for lack of room for the header of its next device (a tunnel, a
 * VLAN in a VLAN; skb_expand_head of net/core/skbuff.c, in ip6_finish_output2. IPv4 makes room in place before, in
 * ip_forward). So a packet goes through the kernel with a number in tc_index, which copies keep and which means nothing but
 * to the qdisc it leaves by: the slot of the note, and what tells it from the notes that were in the slot before. The
 * observer takes it out again. Packets with an index of somebody else keep that.
 */
static __always_inline void take_ticket(struct note *n, struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct local *l = bpf_map_lookup_elem(&locals, &zero);

	n->ticket = skb->tc_index;
	n->ours = 0;
	if (n->ticket || !l)
		return;
	l->tickets += NOTES;
	if (!(l->tickets & 0xffff))
		l->tickets += NOTES;
	n->ticket = (l->tickets | slot_of(l->skb)) &
		    0xffff; /* note_slot has put the address there */
	n->ours = 1;
	set_tc_index(skb, n->ticket);
}

/* A packet that comes in again, out of a tunnel, has the ticket from before. */
static __always_inline void drop_ticket(struct __sk_buff *skb)
{
	struct note *n;

	if (!skb->tc_index)
		return;
	n = note_slot(skb);
	if (n && n->skb == (__u64)(long)skb && n->ours && n->ticket == skb->tc_index)
		set_tc_index(skb, 0);
}

static __always_inline void note_common(struct note *n, struct __sk_buff *skb, const struct pkt *p,
					const void *frame)
{
	take_ticket(n, skb);
	n->tags = p->tags;
	n->time = now_ns();
	n->ifindex = skb->ifindex;
	n->left = 0;
	__builtin_memcpy(n->print, p->print, sizeof(n->print));
	if (bare) {
		__builtin_memset(n->macs, 0, sizeof(n->macs));
	} else {
		*(__u64 *)n->macs = *(const __u64 *)frame;
		*(__u32 *)(n->macs + 8) = *(const __u32 *)(frame + 8);
	}
	n->tos = p->tos;
	n->ttl = p->ttl;
	n->proto = p->proto;
	n->sport = p->sport;
	n->dport = p->dport;
	n->skb = (__u64)(long)skb;
}

/*
 * Short flows are not worth an entry: two map insertions cost more than they save. Nor are their packets worth a note, so
 * new connections pay for no observer. Counts the packets of a direction that has no entry, in a small table of the last
 * ones. One that meets another's counter takes it over the fourth time, and counts as long enough then: a flow that stays
 * slow must not keep others out by passing more often.
 */
static __always_inline int too_short(const struct settings *ctl, __u32 cookie)
{
	__u32 hash = cookie * 0xc2b2ae35, i = hash >> 20; /* SEEN counters */
	__u32 *seen, old;

	if (ctl->min_packets <= 1)
		return 0;
	seen = bpf_map_lookup_elem(&short_flows, &i);
	if (!seen)
		return 0;
	old = *seen;
	hash <<= SEEN_HASH_SHIFT;
	if (!old)
		old = hash;
	if ((old ^ hash) >> SEEN_HASH_SHIFT) {
		int taken = (old & SEEN_MET) == SEEN_MET;

		*seen = taken ? hash + 1 : old + SEEN_MET_ONCE;
		return !taken;
	}
	if ((old & SEEN_COUNT) != SEEN_COUNT)
		*seen = ++old;
	return (old & SEEN_COUNT) < ctl->min_packets;
}

#define FAMILY 4
#include "family_note.h"
#undef FAMILY
#define FAMILY 6
#include "family_note.h"
#undef FAMILY
