// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the administrator asks of single flows: to keep some slow for a while, and to say which ones are refused.
 */
#pragma once

#include "flow.h"

#define HOLDS 16

/* Keeps flows slow. Of prefixes, length 0 matches any; so do family, proto and port 0. */
struct hold {
	__u64 until;                      /* 0: free */
	__be32 saddr[4], daddr[4];        /* IPv4 in the first word */
	__u8 sbits, dbits, family, proto; /* family 4 or 6 */
	__be16 port;                      /* of either end */
	__u16 pad;
	__u32 pad2;
};

MAP(holds, ARRAY, __u32, struct hold, HOLDS, 0);

/* A flow that the ruleset handed over and that nothing is learned from: one direction, as it arrived. */
struct refused_key {
	__u32 in, out;
	__be32 saddr[4], daddr[4];
	__be16 sport, dport;
	__u8 family, proto;
	__u16 reason;
};

/* A sample: no CPU writes more than one a millisecond. */
struct refusal {
	__u64 time, packets;
};

MAP(refused, LRU_HASH, struct refused_key, struct refusal, 1024, 0);

/*
 * The same of packets that are refused before anybody looks whether the ruleset handed their flow over: for those who ask
 * about a flow. Of packets whose ports cannot be read these are zero.
 */
MAP(passed, LRU_HASH, struct refused_key, struct refusal, 1024, 0);

static __always_inline int within(const __be32 *a, const __be32 *net, __u32 bits)
{
	for (int i = 0; i < 4; i++) {
		__u32 mask = bits >= 32 ? ~0U : bits ? ~0U << (32 - bits) : 0;

		if ((a[i] ^ net[i]) & bpf_htonl(mask))
			return 0;
		bits = bits > 32 ? bits - 32 : 0;
	}
	return 1;
}

/* A global function: the verifier looks at it once and not with every combination of prefix lengths. */
__attribute__((noinline)) int hold_matches(const struct hold *h, const struct ct_tuple *t)
{
	if (!h || !t)
		return 0;
	if (h->port && h->port != t->sport && h->port != t->dport)
		return 0;
	return (within(t->src, h->saddr, h->sbits) && within(t->dst, h->daddr, h->dbits)) ||
	       (within(t->src, h->daddr, h->dbits) && within(t->dst, h->saddr, h->sbits));
}

struct holding {
	const struct ct_tuple *pre, *post;
	__u64 now;
	__u8 family;
	__u8 held;
};

static long hold_check(__u32 i, struct holding *c)
{
	const struct hold *h = bpf_map_lookup_elem(&holds, &i);

	if (!h || h->until <= c->now || (h->family && h->family != c->family) ||
	    (h->proto && h->proto != c->pre->proto))
		return 0;
	if (!hold_matches(h, c->pre) && !hold_matches(h, c->post))
		return 0;
	c->held = 1;
	return 1;
}

/* Does the administrator hold this flow? n slots are in use. */
static __always_inline int held(__u32 n, const struct ct_tuple *pre, const struct ct_tuple *post,
				__u8 family)
{
	struct holding c = { .pre = pre, .post = post, .now = now_ns(), .family = family };

	bpf_loop(n < HOLDS ? n : HOLDS, hold_check, &c, 0);
	return c.held;
}

static __always_inline void sample(void *map, struct refused_key *k, __u64 now)
{
	struct refusal v = { .time = now, .packets = 1 }, *old = bpf_map_lookup_elem(map, k);

	if (old) {
		old->time = now;
		old->packets++;
		return;
	}
	bpf_map_update_elem(map, k, &v, BPF_ANY);
}

/* Leaves a sample for the administrator. The key is in scratch memory: zeroed where not said. */
static __always_inline void sample_refused(struct refused_key *k)
{
	__u64 now = now_ns();
	__u32 zero = 0, tick = now >> TICK_SHIFT;
	struct local *l = bpf_map_lookup_elem(&locals, &zero);

	if (!l || l->refused == tick)
		return;
	l->refused = tick;
	sample(&refused, k, now);
}

/* Is it time for a sample in the map passed? Asked before the key is made: such packets may be many. */
static __always_inline int pass_due(__u64 now)
{
	__u32 zero = 0, tick = now >> TICK_SHIFT;
	struct local *l = bpf_map_lookup_elem(&locals, &zero);

	if (!l || l->passed == tick)
		return 0;
	l->passed = tick;
	return 1;
}
