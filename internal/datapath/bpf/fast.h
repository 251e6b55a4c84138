// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The fast path: admit a packet to its entry, or say why not. What it does to the packet is in rewrite.h.
 */
#pragma once

#include "parse.h"

static __always_inline int state_of(struct hot *h)
{
	return WORD_STATE(*(volatile __u32 *)&h->word);
}

/* Dead is final: a compare-and-swap to READY that races with this one fails or is overwritten. */
static __always_inline void kill(struct hot *h, struct cold *c, __u64 now)
{
	__u32 word = *(volatile __u32 *)&h->word;

	if (WORD_STATE(word) == STATE_DEAD)
		return;
	c->died = now;
	__sync_lock_test_and_set(&h->word, (word & ~0xff) | STATE_DEAD);
}

/* The key that packets of the other direction arrive with: what leaves, turned round, on the device it left by. */
static __always_inline void reverse4(struct key4 *r, const struct key4 *k, const struct flow4 *f,
				     __u32 ifindex)
{
	r->port = ifindex << 8 | (k->port & 0xff);
	r->saddr = f->daddr;
	r->daddr = f->saddr;
	r->sport = f->hot.dport;
	r->dport = f->hot.sport;
}

static __always_inline void reverse6(struct key6 *r, const struct key6 *k, const struct flow6 *f,
				     __u32 ifindex)
{
	r->port = ifindex << 8 | (k->port & 0xff);
	__builtin_memcpy(r->saddr, f->daddr, sizeof(r->saddr));
	__builtin_memcpy(r->daddr, f->saddr, sizeof(r->daddr));
	r->sport = f->hot.dport;
	r->dport = f->hot.sport;
}

static __noinline int kill_pair4(const struct key4 *k, struct flow4 *f)
{
	__u64 now = now_ns();
	struct flow4 *peer;
	struct key4 r = {};
	struct adj *adj;
	__u32 i;

	if (!k || !f)
		return 0;
	i = f->hot.adj;
	adj = bpf_map_lookup_elem(&adjs, &i);
	if (adj) {
		reverse4(&r, k, f, adj->ifindex);
		peer = bpf_map_lookup_elem(&flows4, &r);
		if (peer)
			kill(&peer->hot, &peer->cold, now);
	}
	kill(&f->hot, &f->cold, now);
	return 0;
}

static __noinline int kill_pair6(const struct key6 *k, struct flow6 *f)
{
	__u64 now = now_ns();
	struct flow6 *peer;
	struct key6 r = {};
	struct adj *adj;
	__u32 i;

	if (!k || !f)
		return 0;
	i = f->hot.adj;
	adj = bpf_map_lookup_elem(&adjs, &i);
	if (adj) {
		reverse6(&r, k, f, adj->ifindex);
		peer = bpf_map_lookup_elem(&flows6, &r);
		if (peer)
			kill(&peer->hot, &peer->cold, now);
	}
	kill(&f->hot, &f->cold, now);
	return 0;
}

/*
 * The lease. Longer while a daemon watches. Due: one packet takes the slow path to renew it, the others go on. Past the hard limit, or 100 ms after
 * a generation change, every packet goes slow. Nothing here can lengthen a lease; only the observer can, with the
 * arrival time of a packet that the kernel forwarded.
 */
static __always_inline int lease(struct hot *h, struct cold *c, const struct adj *adj,
				 const struct settings *ctl, const struct pkt *p, __u64 now)
{
	__u64 stamp = *(volatile __u64 *)&h->stamp;
	__u64 bump = ctl->bump > adj->bump ? ctl->bump : adj->bump;
	__u64 age = now - stamp, due = ctl->due, hard = ctl->hard, old;
	__u32 tick = now >> TICK_SHIFT;
	__u32 last = h->last;

	if (now < ctl->alive) {
		due = ctl->long_due;
		hard = ctl->long_hard;
	}
	h->last = tick;
	if (stamp > bump && age <= due)
		return 0;
	if (age > hard)
		return R_EXPIRED;
	if (stamp <= bump) {
		if (now > bump + ctl->soft)
			return R_GENERATION;
	} else if (p->payload && last == tick && age <= due + ctl->prefer) {
		/* In the middle of a burst of data: what goes slow now would be overtaken. Wait for a better one. */
		return 0;
	}
	old = *(volatile __u64 *)&c->claim;
	if (now - old > ctl->retry && __sync_val_compare_and_swap(&c->claim, old, now) == old)
		return R_RENEWAL;
	return 0;
}

/* Destination and source MAC as they were when the entry was learned: another station's packet is another packet. */
static __always_inline int macs_differ(const void *frame, const __u8 *want)
{
	const __u64 *f8 = frame, *w8 = (const void *)want;
	const __u32 *f4 = frame + 8, *w4 = (const void *)(want + 8);

	return *f8 != *w8 || *f4 != *w4;
}

/*
 * May this packet take the entry's way? On 0, *out is its adjacency. *past says that the entry is this hook's:
 * a tc program behind XDP stays silent about the others, which XDP has counted.
 */
static __always_inline int admit(struct hot *h, struct cold *c, const struct pkt *p,
				 const void *frame, enum hook hook, __u32 cookie, struct adj **out,
				 int *past)
{
	__u32 word = *(volatile __u32 *)&h->word, zero = 0, i = h->adj;
	struct settings *ctl = bpf_map_lookup_elem(&control, &zero);
	struct adj *adj = bpf_map_lookup_elem(&adjs, &i);
	int r;

	if (!ctl || !adj)
		return R_RECYCLED; /* cannot happen: both are arrays */
	if (adj->hook != hook)
		return R_OTHER_HOOK;
	*past = 1;
	*out = adj;
	if (WORD_STATE(word) != STATE_READY)
		return WORD_STATE(word) == STATE_DEAD ? R_DEAD : R_NOT_READY;
	if (h->cookie != cookie || h->tag != adj->tag || !adj->ifindex)
		return R_RECYCLED; /* deleted under our hands: what stands there is another flow's */
	if (macs_differ(frame, adj->in))
		return R_MAC;
	if (WORD_DSCP(word) != (p->tos & 0xfc))
		return R_DSCP; /* DSCP may choose route and priority */
	r = odd(p);
	if (r)
		return r;
	if (p->seg_len > h->max_len)
		return R_TOO_LONG;
	return lease(h, c, adj, ctl, p, now_ns());
}

/* Time to look whether the conntrack entry is still the one that the entry was learned from? Ticks, per entry. */
static __always_inline int check_due(struct hot *h)
{
	struct settings *ctl;
	__u64 now = now_ns();
	__u32 zero = 0, tick = now >> TICK_SHIFT;

	ctl = bpf_map_lookup_elem(&control, &zero);
	if (!ctl || tick - h->checked <= (now < ctl->alive ? ctl->long_check : ctl->check))
		return 0;
	h->checked = tick;
	return 1;
}

/* The entry's conntrack is there, not dying, and the same object. */
static __always_inline int ct_alive(void *ctx, enum hook hook, struct bpf_sock_tuple *t, __u32 size,
				    __u8 proto, __u64 want)
{
	struct bpf_ct_opts opts = { .netns_id = -1, .l4proto = proto };
	struct nf_conn *ct;
	int ok;

	if (hook == HOOK_XDP)
		ct = bpf_xdp_ct_lookup(ctx, t, size, &opts, CT_OPTS_SIZE);
	else
		ct = bpf_skb_ct_lookup(ctx, t, size, &opts, CT_OPTS_SIZE);
	if (!ct)
		return 0;
	ok = (ct->status & (IPS_CONFIRMED | IPS_DYING)) == IPS_CONFIRMED && (__u64)ct == want;
	bpf_ct_release(ct);
	return ok;
}
