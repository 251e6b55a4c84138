// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The other direction of a flow, and the end of both. A template: see family.h. */

/* The key that packets of the other direction arrive with: what leaves, turned round, on the device it left by. */
static __always_inline void F(reverse)(struct F(key) * r, const struct F(key) * k,
				       const struct F(flow) * f, __u32 ifindex, __u64 tags)
{
	r->port = port_of(ifindex, tags, k->port);
	copy_words(r->saddr, f->daddr, WORDS(r->saddr));
	copy_words(r->daddr, f->saddr, WORDS(r->daddr));
	r->sport = f->hot.dport;
	r->dport = f->hot.sport;
}

static __noinline int F(kill_pair)(const struct F(key) * k, struct F(flow) * f, __u64 now)
{
	struct F(key) r = {};
	struct F(flow) * peer;
	struct adj *adj;
	__u32 i;

	if (!k || !f)
		return 0;
	i = f->hot.adj;
	adj = bpf_map_lookup_elem(&adjs, &i);
	if (adj) {
		F(reverse)(&r, k, f, adj->ifindex, adj->out_tags);
		peer = bpf_map_lookup_elem(&F(flows), &r);
		if (peer)
			kill(&peer->hot, &peer->cold, now);
	}
	kill(&f->hot, &f->cold, now);
	return 0;
}
