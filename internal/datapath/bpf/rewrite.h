// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the kernel did to the flow's last slow packet, done to this one: MAC header, TTL, addresses, ports, checksums.
 * Checksums are updated incrementally (RFC 1624) exactly as nf_nat and ip_forward do, so the bytes are the kernel's.
 */
#pragma once

#include "fast.h"

/*
 * Ethernet pads short frames and ip_rcv trims them. Done after the packet was admitted: if it fails, the kernel gets
 * the packet, and trims it or not as it would have.
 */
static __always_inline int trim(struct frame *f, enum hook hook, __u32 want)
{
	if (f->len == want)
		return 0;
	if (hook == HOOK_XDP) {
		if (bpf_xdp_adjust_tail(f->ctx, (int)want - (int)f->len))
			return R_PADDING;
	} else if (((struct __sk_buff *)f->ctx)->gso_size || bpf_skb_change_tail(f->ctx, want, 0)) {
		return R_PADDING; /* change_tail would end segmentation; honest super-packets have no padding */
	}
	locate(f, hook);
	return 0;
}

/* skb->ip_summed: a tc packet may carry an unfinished or a cached checksum. XDP frames never say so. */
static __always_inline int summed(struct frame *f, enum hook hook)
{
	if (hook == HOOK_XDP)
		return 0;
	return BPF_CORE_READ_BITFIELD_PROBED((struct sk_buff *)f->ctx, ip_summed);
}

/*
 * A new TCP or UDP checksum. PARTIAL: the field holds the sum of the pseudo header, not complemented, and the ports
 * are not in it. UDP over IPv4 without a checksum keeps none; a sum that comes out as zero is sent as all ones.
 */
static __always_inline __u16 l4_sum(__u16 check, __u16 addresses, __u16 all, __u8 proto, int how)
{
	/* PARTIAL may be about a packet inside this one (a UDP tunnel): no checksum stays none all the same */
	if (proto == IPPROTO_UDP && !check)
		return 0;
	if (how == CHECKSUM_PARTIAL)
		check = fold((__u64)check + addresses);
	else
		check = ~fold((__u64)(__u16)~check + all);
	if (proto == IPPROTO_UDP && !check)
		return 0xffff;
	return check;
}

static __always_inline int l4_write(void *l4, void *end, const struct pkt *p, __be16 sport,
				    __be16 dport, __u16 addresses, __u16 all, int how)
{
	__u16 *check = l4 + (p->proto == IPPROTO_TCP ? 16 : 6);
	__be16 *ports = l4;

	if ((void *)(check + 1) > end || l4 + 8 > end)
		return R_MALFORMED; /* cannot happen: parsed before */
	ports[0] = sport;
	ports[1] = dport;
	*check = l4_sum(p->check, addresses, all, p->proto, how);
	return 0;
}

/* tc only: CHECKSUM_COMPLETE caches the sum of all bytes from the network header on. */
static __always_inline void cached_sum(struct frame *f, enum hook hook, int how, __u32 diff)
{
	if (hook == HOOK_TC && how == CHECKSUM_COMPLETE)
		bpf_csum_update(f->ctx, diff);
}

static __always_inline int rewrite4(struct frame *f, enum hook hook, const struct pkt *p,
				    struct flow4 *e, const struct adj *adj, __u32 cookie)
{
	struct hot *h = &e->hot;
	__u32 word = *(volatile __u32 *)&h->word;
	__be32 saddr = *(volatile __u32 *)e->saddr, daddr = *(volatile __u32 *)e->daddr;
	__be16 sport = *(volatile __u16 *)&h->sport, dport = *(volatile __u16 *)&h->dport;
	__u16 delta3 = *(volatile __u16 *)&h->delta3, delta4 = *(volatile __u16 *)&h->delta4;
	/* delta3 without the TTL: what the addresses alone change */
	__u16 addresses = fold((__u64)delta3 + bpf_htons(0x0100));
	int how = 0, r = trim(f, hook, p->l3_len + p->off);
	struct iphdr *ip;

	if (r)
		return r;
	/* All is copied; was it one flow's, and this one's? */
	if (*(volatile __u32 *)&h->cookie != cookie || *(volatile __u16 *)&h->tag != adj->tag)
		return R_RECYCLED;
	ip = f->data + p->off;
	if ((void *)(ip + 1) > f->end)
		return R_MALFORMED;
	if (WORD_FLAGS(word) & FLOW_NAT) {
		how = summed(f, hook);
		r = l4_write(ip + 1, f->end, p, sport, dport, addresses, delta4, how);
		if (r)
			return r;
		ip->saddr = saddr;
		ip->daddr = daddr;
	}
	ip->ttl--;
	ip->check = ~fold((__u64)(__u16)~ip->check + delta3);
	if (WORD_FLAGS(word) & FLOW_NAT) {
		/* IPv4 headers sum to nothing; layer 4 changes by the opposite of what the addresses did */
		__u16 diff = ~addresses;

		if (p->proto == IPPROTO_UDP && !p->check)
			diff = fold((__u64)delta4 + diff);
		cached_sum(f, hook, how, diff);
	}
	return 0;
}

static __always_inline int rewrite6(struct frame *f, enum hook hook, const struct pkt *p,
				    struct flow6 *e, const struct adj *adj, __u32 cookie)
{
	struct hot *h = &e->hot;
	__u32 word = *(volatile __u32 *)&h->word, saddr[4], daddr[4];
	__be16 sport = *(volatile __u16 *)&h->sport, dport = *(volatile __u16 *)&h->dport;
	__u16 delta3 = *(volatile __u16 *)&h->delta3, delta4 = *(volatile __u16 *)&h->delta4;
	int nat = WORD_FLAGS(word) & FLOW_NAT, how, r = trim(f, hook, p->l3_len + p->off);
	struct ipv6hdr *ip;

	if (r)
		return r;
	if (nat) {
		__builtin_memcpy(saddr, e->saddr, sizeof(saddr));
		__builtin_memcpy(daddr, e->daddr, sizeof(daddr));
	}
	barrier();
	if (*(volatile __u32 *)&h->cookie != cookie || *(volatile __u16 *)&h->tag != adj->tag)
		return R_RECYCLED;
	ip = f->data + p->off;
	if ((void *)(ip + 1) > f->end)
		return R_MALFORMED;
	how = summed(f, hook);
	if (nat) {
		r = l4_write(ip + 1, f->end, p, sport, dport, delta3, delta4, how);
		if (r)
			return r;
		__builtin_memcpy(&ip->saddr, saddr, sizeof(saddr));
		__builtin_memcpy(&ip->daddr, daddr, sizeof(daddr));
	}
	ip->hop_limit--;
	/* addresses, ports and checksum cancel out; the hop limit has no checksum of its own */
	cached_sum(f, hook, how, (__u16)~bpf_htons(1));
	return 0;
}
