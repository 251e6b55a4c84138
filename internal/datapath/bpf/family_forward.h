// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A packet of one family, at both hooks. A template: see family.h. */

static __always_inline int F(gone)(void *ctx, enum hook hook, struct F(key) * k, struct F(flow) * e,
				   __u8 proto, __u64 now)
{
	struct bpf_sock_tuple t = {};

	copy_words((__be32 *)&t.F(ipv).saddr, k->saddr, WORDS(k->saddr));
	copy_words((__be32 *)&t.F(ipv).daddr, k->daddr, WORDS(k->daddr));
	t.F(ipv).sport = k->sport;
	t.F(ipv).dport = k->dport;
	if (ct_alive(ctx, hook, &t, sizeof(t.F(ipv)), proto, e->cold.ct))
		return 0;
	F(kill_pair)(k, e, now);
	return 1;
}

/* 0: rewritten, w->adj says where to. Else the reason; nothing was changed. */
static __always_inline int F(forward)(struct frame *f, enum hook hook, struct pkt *p,
				      struct F(key) * k, struct pass *w)
{
	struct F(flow) * e;
	int r;

	k->port = port_of(w->ifindex, p->tags, p->proto);
	k->sport = p->sport;
	k->dport = p->dport;
	if (p->tcp_flags & TCP_SYN)
		return R_TCP_FLAGS; /* never fast, teaches nothing: a new connection need not pay for a look */
	w->cookie = F(cookie)(k);
	if (!may_be_known(w->ctl, w->cookie))
		return R_MISS;
	e = bpf_map_lookup_elem(&F(flows), k);
	if (!e)
		return R_MISS;
	w->now = now_ns();
	r = F(sum)(p, f->data, f->end);
	if (!r)
		r = admit(&e->hot, &e->cold, p, f->data, hook, w);
	if (r == R_TCP_FLAGS && p->tcp_flags & (TCP_FIN | TCP_RST))
		F(kill_pair)(k, e, w->now); /* first of all: conntrack must see all that follows */
	if (!r && hook == HOOK_XDP && F(partial)(p, k))
		r = R_PARTIAL_CHECKSUM;
	if (r)
		return missed(w, hook, &e->cold, r);
	if (check_due(&e->hot, w) && F(gone)(f->ctx, hook, k, e, p->proto, w->now))
		return missed(w, hook, &e->cold, R_CT_GONE);
	r = F(rewrite)(f, hook, p, e, w->adj, w->cookie);
	if (r)
		return r;
	carried(&e->hot, p);
	return 0;
}

/* At XDP. There is no tag: the EtherType stands where it stands without one. */
static __always_inline int F(xdp)(struct frame *f, struct pkt *p, struct pass *w)
{
	struct F(key) k = {};
	int r = F(parse)(p, &k, f->data, f->end, f->len);

	p->segs = 1;
	p->seg_len = p->l3_len;
	return r ? r : F(forward)(f, HOOK_XDP, p, &k, w);
}

/* At tc. What is not carried leaves a note, unless it is of no use to anybody. */
static __always_inline int F(ingress)(struct frame *f, struct pkt *p, struct pass *w)
{
	struct __sk_buff *skb = f->ctx;
	struct F(key) k = {};
	int r = F(parse)(p, &k, f->data, f->end, f->len);

	if (r) {
		note_clear(skb);
		if (r == R_FRAGMENT || r == R_IP_OPTIONS || r == R_EXT_HEADER)
			F(strange)(skb, &k, r);
		return r;
	}
	segments(skb, p);
	r = F(forward)(f, HOOK_TC, p, &k, w);
	if (r && p->tcp_flags & TCP_SYN) {
		note_clear(skb);
	} else if (r == R_MISS && too_short(w->ctl, w->cookie)) {
		count(HOOK_TC, R_MIN_PACKETS, 1, p->l3_len);
		note_clear(skb);
	} else if (r) {
		locate(f, HOOK_TC);
		if (f->data + sizeof(struct ethhdr) <= f->end)
			F(note)(skb, p, &k, f->data);
	}
	return r;
}
