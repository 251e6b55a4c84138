// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* From an observation to an entry, one family. A template: see family.h. */

static __always_inline void F(key_of)(struct F(key) * k, const struct note *n)
{
	k->port = port_of(n->ifindex, n->tags, n->proto);
	copy_words(k->saddr, n->saddr, WORDS(k->saddr));
	copy_words(k->daddr, n->daddr, WORDS(k->daddr));
	k->sport = n->sport;
	k->dport = n->dport;
}

/* There is an entry: renew it, or end it and its peer where the kernel contradicts it. */
static __always_inline int F(again)(struct scratch *s, const struct note *n,
				    const struct F(key) * k, struct F(flow) * e)
{
	int r = R_CONTRADICTION;

	if (state_of(&e->hot) == STATE_DEAD)
		return R_DEAD;
	if (same_words(e->saddr, s->post.src, WORDS(e->saddr)) &&
	    same_words(e->daddr, s->post.dst, WORDS(e->daddr)))
		r = renew(&e->hot, &e->cold, s, n);
	if (r == R_CONTRADICTION)
		F(kill_pair)(k, e, now_ns());
	return r;
}

/* There is none: make one. */
static __always_inline int F(insert)(struct scratch *s, const struct note *n,
				     const struct F(key) * k, struct F(flow) * fresh)
{
	__u32 adj = 0;
	int r = adjacency(s, &adj);

	if (r)
		return r;
	fill(&fresh->hot, &fresh->cold, s, n, adj);
	copy_words(fresh->saddr, s->post.src, WORDS(fresh->saddr));
	copy_words(fresh->daddr, s->post.dst, WORDS(fresh->daddr));
	fresh->hot.cookie = F(cookie)(k);
	r = bpf_map_update_elem(&F(flows), k, fresh, BPF_NOEXIST);
	if (!r)
		return R_LEARNED;
	return r == -17 /* EEXIST: another CPU was first */ ? R_NOT_READY : R_TABLE_FULL;
}

/* The entry of the other direction, if it leads back: same addresses, and packets of it arrive where ours leave. */
static __always_inline struct F(flow) *
	F(peer_of)(struct scratch *s, const struct F(key) * k, const struct F(flow) * e)
{
	struct F(key) r = {};
	struct F(flow) * peer;

	F(reverse)(&r, k, e, s->ak.ifindex, s->ak.out_tags);
	peer = bpf_map_lookup_elem(&F(flows), &r);
	if (!peer || !same_words(peer->saddr, k->daddr, WORDS(k->daddr)) ||
	    !same_words(peer->daddr, k->saddr, WORDS(k->saddr)) || peer->hot.sport != k->dport ||
	    peer->hot.dport != k->sport)
		return 0;
	return peer;
}

/*
 * A global function, which the verifier looks at once. It finds its scratch memory itself: before Linux 6.4 no key or
 * value of a map may be in memory that such a function was given.
 */
__attribute__((noinline)) int F(learn)(struct note *n)
{
	struct settings *ctl;
	struct scratch *s;
	struct F(flow) * e, *peer;
	struct F(key) * k;
	__u32 zero = 0;
	int r;

	s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s || !n)
		return R_MISS;
	k = &s->F(k);
	ctl = bpf_map_lookup_elem(&control, &zero);
	if (!ctl)
		return R_MISS;
	F(key_of)(k, n);
	e = bpf_map_lookup_elem(&F(flows), k);
	if (e) {
		r = F(again)(s, n, k, e);
		if (r != R_RENEWED)
			return r;
	} else {
		r = F(insert)(s, n, k, &s->F(f));
		if (r != R_LEARNED)
			return r;
		e = bpf_map_lookup_elem(&F(flows), k);
		if (!e)
			return R_TABLE_FULL;
	}
	make_known(ctl, e->hot.cookie);
	peer = F(peer_of)(s, k, e);
	if (!peer)
		return pair(s, ctl, &e->hot, &e->cold, 0, 0, r);
	return pair(s, ctl, &e->hot, &e->cold, &peer->hot, &peer->cold, r);
}

static __always_inline void F(end)(struct scratch *s, const struct note *n)
{
	struct F(key) *k = &s->F(k);
	struct F(flow) * e;

	F(key_of)(k, n);
	e = bpf_map_lookup_elem(&F(flows), k);
	if (e)
		F(kill_pair)(k, e, now_ns());
}
