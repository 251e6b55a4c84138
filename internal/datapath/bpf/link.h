// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Layer 2: where a frame's IP header is and what stands before it, and, at tc, how it gets another one.
 *
 * At tc the outer VLAN tag is always beside the bytes (skb->vlan_*), an inner one in them. XDP carries no tags: those
 * in the bytes make it pass, and devices on which they might not be seen do not run it.
 */
#pragma once

#include "parse.h"

/* Set when loading: packets begin with the IP header here (ppp, WireGuard, IPIP, a tun). Never for XDP. */
const volatile __u32 bare;

/* Where the frame is; the programs are one source for both hooks and the compiler drops the other half. */
struct frame {
	void *ctx, *data, *end;
	__u32 len;
};

static __always_inline void locate(struct frame *f, enum hook hook)
{
	if (hook == HOOK_XDP) {
		struct xdp_md *x = f->ctx;

		f->data = (void *)(long)x->data;
		f->end = (void *)(long)x->data_end;
		f->len = f->end - f->data;
	} else {
		struct __sk_buff *s = f->ctx;

		f->data = (void *)(long)s->data;
		f->end = (void *)(long)s->data_end;
		f->len = s->len;
	}
}

/* Finds the IP header at tc, and the tags; *proto is what is said to stand there. */
static __always_inline int layer2(struct frame *f, struct pkt *p, __be16 *proto)
{
	struct __sk_buff *skb = f->ctx;
	__be16 *inner;

	p->tags = 0;
	p->off = 0;
	*proto = skb->protocol;
	if (bare)
		return 0;
	p->off = sizeof(struct ethhdr);
	if (f->data + sizeof(struct ethhdr) > f->end)
		return R_MALFORMED;
	if (!skb->vlan_present) /* 6.1 leaves the rest as it was after taking a tag off */
		return 0;
	p->tags = (__u64)TAG(skb->vlan_proto, skb->vlan_tci) << 32;
	if (*proto != bpf_htons(ETH_P_8021Q))
		return 0;
	inner = f->data + sizeof(struct ethhdr);
	if ((void *)(inner + 2) > f->end)
		return R_MALFORMED;
	p->tags |= TAG(bpf_htons(ETH_P_8021Q), bpf_ntohs(inner[0]));
	p->off = MAX_L2;
	*proto = inner[1];
	return 0;
}

static __always_inline int macs_write(struct frame *f, const struct adj *adj)
{
	if (f->data + sizeof(struct ethhdr) > f->end)
		return R_MALFORMED; /* cannot happen: parsed, or just made */
	*(__u64 *)f->data = *(const __u64 *)adj->out;
	*(__u32 *)(f->data + 8) = *(const __u32 *)(adj->out + 8);
	return 0;
}

/*
 * Gives a packet at tc the layer 2 it leaves with. The IP header has been rewritten, so there is no way back to the
 * kernel's path: what fails here, for want of memory, is dropped, as it would be there. A redirect to a device without
 * Ethernet header takes the header off by itself.
 */
static __always_inline int relink(struct frame *f, const struct pkt *p, const struct adj *adj)
{
	struct __sk_buff *skb = f->ctx;
	__u64 out = adj->out_tags;
	struct ethhdr *eth;

	if (bare) {
		if (adj->bare)
			return 0;
		if (bpf_skb_change_head(skb, sizeof(*eth), 0))
			return R_NO_MEMORY;
		locate(f, HOOK_TC);
		eth = f->data;
		if ((void *)(eth + 1) > f->end)
			return R_NO_MEMORY; /* cannot happen: just made */
		eth->h_proto = skb->protocol;
	} else if (p->tags != out) {
		if (p->tags && bpf_skb_vlan_pop(skb))
			return R_NO_MEMORY;
		if (TAG_INNER(p->tags) && bpf_skb_vlan_pop(skb))
			return R_NO_MEMORY;
		locate(f, HOOK_TC);
	}
	if (adj->bare)
		return 0;
	if (macs_write(f, adj))
		return R_NO_MEMORY;
	if (!bare && p->tags == out)
		return 0;
	if (TAG_INNER(out) &&
	    bpf_skb_vlan_push(skb, bpf_htons(TAG_INNER(out) >> 16), TAG_INNER(out)))
		return R_NO_MEMORY;
	if (TAG_OUTER(out) &&
	    bpf_skb_vlan_push(skb, bpf_htons(TAG_OUTER(out) >> 16), TAG_OUTER(out)))
		return R_NO_MEMORY;
	return 0;
}
