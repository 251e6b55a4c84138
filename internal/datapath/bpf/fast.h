// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The fast path: admit a packet to its entry, or say why not. What it does to the packet is in rewrite.h.
 */
#pragma once

#include "family.h"
#include "link.h"

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

#define FAMILY 4
#include "family_pair.h"
#undef FAMILY
#define FAMILY 6
#include "family_pair.h"
#undef FAMILY

/*
 * The lease. Longer while a daemon watches. Due: one packet takes the slow path to renew it, the others go on. Past the
 * hard limit, or 100 ms after a generation change, every packet goes slow. Nothing here can lengthen a lease; only the
 * observer can, with the arrival time of a packet that the kernel forwarded.
 */
static __always_inline int lease(struct hot *h, struct cold *c, const struct settings *ctl,
				 const struct pkt *p, __u64 now)
{
	__u64 stamp = *(volatile __u64 *)&h->stamp;
	__u64 bump = ctl->bump;
	__u64 age = since(now, stamp), due = ctl->due, hard = ctl->hard, old;
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
	} else if (p->seg_len < h->max_len && age <= due + 2 * ctl->prefer) {
		/* Renewing with a short packet would send the long ones slow. */
		return 0;
	} else if (p->payload && last == tick && age <= due + ctl->prefer) {
		/* In the middle of a burst of data: what goes slow now would be overtaken. Wait for a better one. */
		return 0;
	}
	old = *(volatile __u64 *)&c->claim;
	if (since(now, old) > ctl->retry && __sync_val_compare_and_swap(&c->claim, old, now) == old)
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

/* What one packet's way through the fast path needs more than once. */
struct pass {
	const struct settings *ctl;
	struct adj *adj; /* of the entry, once admit has found it */
	__u64 now;
	__u32 ifindex; /* where the packet came in */
	__u32 cookie;
	/* The entry is this hook's: a tc program behind XDP stays silent about the others, which XDP has counted. */
	int mine;
};

/* Notes why a packet goes slow that has an entry, for those who ask. Others may count at the same instant. */
static __always_inline int missed(const struct pass *w, enum hook hook, struct cold *c, int r)
{
	/* Of a device with two programs the other one looks, too, or has looked. */
	if (r == R_OTHER_HOOK || (hook == HOOK_TC && !w->mine))
		return r;
	c->missed++;
	c->missed_why = r;
	c->missed_at = w->now;
	return r;
}

/* May this packet take the entry's way? On 0, w->adj is its adjacency. */
static __always_inline int admit(struct hot *h, struct cold *c, const struct pkt *p,
				 const void *frame, enum hook hook, struct pass *w)
{
	__u32 word = *(volatile __u32 *)&h->word, i = h->adj;
	struct adj *adj = bpf_map_lookup_elem(&adjs, &i);
	int r;

	if (!adj)
		return R_RECYCLED; /* cannot happen: indexes come from the array */
	if (adj->hook != hook)
		return R_OTHER_HOOK;
	w->mine = 1;
	w->adj = adj;
	if (WORD_STATE(word) != STATE_READY)
		return WORD_STATE(word) == STATE_DEAD ? R_DEAD : R_NOT_READY;
	if (h->cookie != w->cookie || h->tag != adj->tag || !adj->ifindex)
		return R_RECYCLED; /* deleted under our hands: what stands there is another flow's */
	if (p->tcp_flags & (TCP_FIN | TCP_RST))
		return R_TCP_FLAGS; /* ends the flow, whatever else is odd about the packet */
	if (adj->in_ifindex != w->ifindex || adj->in_tags != p->tags ||
	    (!bare && macs_differ(frame, adj->in)))
		return R_MAC;
	if (WORD_DSCP(word) != (p->tos & 0xfc))
		return R_DSCP; /* DSCP may choose route and priority */
	r = odd(p);
	if (r)
		return r;
	if (p->seg_len > h->max_len)
		return R_TOO_LONG;
	return lease(h, c, w->ctl, p, w->now);
}

/* Time to look whether the conntrack entry is still the one that the entry was learned from? */
static __always_inline int check_due(struct hot *h, const struct pass *w)
{
	__u32 tick = w->now >> TICK_SHIFT;
	__u32 every = w->now < w->ctl->alive ? w->ctl->long_check : w->ctl->check;

	if ((__s32)(tick - h->checked) <= (__s32)every)
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
