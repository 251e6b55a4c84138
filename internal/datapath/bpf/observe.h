// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * tc egress: the kernel has decided, the packet is as it will leave. If tc ingress left a note about this very
 * packet, what happened between the two becomes an entry, or renews one.
 */
#pragma once

#include "conntrack.h"
#include "note.h"
#include "rewrite.h"

/* Scratch that does not fit the stack. tc runs with softirqs off, so one a CPU is enough. */
struct scratch {
	struct pkt p;
	struct ct_view ct;
	struct ct_tuple pre, post; /* on arrival, as it leaves */
	struct adj_key ak;
	__u16 tag; /* of the adjacency */
	struct key4 k4;
	struct key6 k6;
	struct flow4 f4;
	struct flow6 f6;
	__u8 out[12]; /* MAC addresses as they leave */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct scratch);
	__uint(max_entries, 1);
} scratch SEC(".maps");

static __always_inline int same_address(const __be32 *a, const __be32 *b)
{
	return ((const __u64 *)a)[0] == ((const __u64 *)b)[0] &&
	       ((const __u64 *)a)[1] == ((const __u64 *)b)[1];
}

static __always_inline void copy_address(__be32 *to, const __be32 *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

/* The packet that leaves, parsed into s->p and s->post. */
static __always_inline int leaving(struct scratch *s, struct __sk_buff *skb)
{
	struct frame f = { .ctx = skb };
	struct key4 k4 = {};
	struct key6 k6 = {};
	int r;

	locate(&f, HOOK_TC);
	if (skb->vlan_present)
		return R_EGRESS_ENCAP;
	if (f.data + sizeof(struct ethhdr) > f.end)
		return R_MALFORMED;
	__builtin_memset(&s->post, 0, sizeof(s->post));
	__builtin_memcpy(s->out, f.data, sizeof(s->out));
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		r = parse4(&s->p, &k4, f.data, f.end, f.len);
		s->post.src[0] = k4.saddr;
		s->post.dst[0] = k4.daddr;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		r = parse6(&s->p, &k6, f.data, f.end, f.len);
		__builtin_memcpy(s->post.src, k6.saddr, sizeof(k6.saddr));
		__builtin_memcpy(s->post.dst, k6.daddr, sizeof(k6.daddr));
	} else {
		return R_EGRESS_ENCAP;
	}
	s->post.sport = s->p.sport;
	s->post.dport = s->p.dport;
	s->post.proto = s->p.proto;
	s->p.segs = 1;
	s->p.seg_len = s->p.l3_len;
	if (skb->gso_size)
		s->p.seg_len = s->p.l3_len - s->p.payload + skb->gso_size;
	return r;
}

/* Is the packet that leaves the one the note is about, changed in nothing but addresses, ports, TTL and checksums? */
static __always_inline int altered(const struct scratch *s, const struct note *n)
{
	const struct pkt *p = &s->p;

	return n->print[0] != p->print[0] || n->print[1] != p->print[1] ||
	       n->print[2] != p->print[2] || n->print[3] != p->print[3] || n->proto != p->proto ||
	       n->tos != p->tos || n->ttl != (__u8)(p->ttl + 1) || n->family != (p->v6 ? 6 : 4);
}

/*
 * Where the conntrack entry is, into *address. The slow path leaves it in the packet.
 */
static __always_inline int packets_ct(struct scratch *s, struct __sk_buff *skb, __u64 *address)
{
	unsigned long nfct = skb_nfct(skb);
	__u32 info;

	*address = nfct & ~NFCT_INFOMASK;
	info = nfct & NFCT_INFOMASK;
	if (!*address)
		return 0;
	if (info != IP_CT_ESTABLISHED && info != IP_CT_ESTABLISHED_REPLY)
		return R_CT_STATE;
	s->ct.reply_dir = info == IP_CT_ESTABLISHED_REPLY;
	return 0;
}

/*
 * The kernel's flowtable does not: there it is looked up by the tuple of the packets that come back.
 */
static __always_inline int flowtables_ct(struct scratch *s, struct __sk_buff *skb, __u64 *address)
{
	struct bpf_ct_opts opts = { .netns_id = -1, .l4proto = s->p.proto };
	struct bpf_sock_tuple t = {};
	struct nf_conn *ct;
	__u32 size;

	if (s->p.v6) {
		size = sizeof(t.ipv6);
		__builtin_memcpy(t.ipv6.saddr, s->post.dst, sizeof(s->post.dst));
		__builtin_memcpy(t.ipv6.daddr, s->post.src, sizeof(s->post.src));
		t.ipv6.sport = s->post.dport;
		t.ipv6.dport = s->post.sport;
	} else {
		size = sizeof(t.ipv4);
		t.ipv4.saddr = s->post.dst[0];
		t.ipv4.daddr = s->post.src[0];
		t.ipv4.sport = s->post.dport;
		t.ipv4.dport = s->post.sport;
	}
	ct = bpf_skb_ct_lookup(skb, &t, size, &opts, CT_OPTS_SIZE);
	if (!ct)
		return R_UNTRACKED;
	*address = (__u64)ct;
	bpf_ct_release(ct);
	s->ct.reply_dir =
		!opts.dir; /* the direction of the tuple that was looked up is the other one */
	return 0;
}

/*
 * Short flows are not worth an entry: two map insertions cost more than they save. Counts the packets of a direction
 * that could be learned from, in a small table of the last flows: a flow that meets another's counter takes it over
 * every fourth time, so neither can keep the other out.
 */
static __always_inline int too_short(const struct note *n, const struct settings *ctl)
{
	__u32 from = n->saddr[0], to = n->daddr[0], hash, i, *seen;

	if (n->hit || ctl->min_packets <= 1)
		return 0;
	if (n->family == 6) {
		from ^= n->saddr[3];
		to ^= n->daddr[3];
	}
	hash = (from * 0x9e3779b1 ^ to * 0x85ebca6b ^ ((__u32)n->sport << 16 | n->dport)) *
	       0xc2b2ae35;
	i = hash >> 20; /* SEEN counters */
	seen = bpf_map_lookup_elem(&short_flows, &i);
	if (!seen)
		return 0;
	hash <<= 8;
	if ((*seen & ~0xff) != hash) {
		if (*seen && bpf_get_prandom_u32() & 3)
			return 1;
		*seen = hash;
	}
	if ((*seen & 0xff) != 0xff)
		++*seen;
	return (*seen & 0xff) < ctl->min_packets;
}

/* Did the ruleset hand the flow over? By the kernel's own `flow add`, or by the label or mark of the lowered one. */
static __always_inline int added(struct scratch *s, const struct device *in,
				 const struct settings *ctl)
{
	if (in->flowtable && s->ct.status & IPS_OFFLOAD)
		return 1;
	if ((s->ct.labels[0] & in->labels[0]) | (s->ct.labels[1] & in->labels[1]))
		return 1;
	return s->ct.mark & ctl->mark;
}

/* Note, conntrack and packet must tell one story. Fills s->pre. */
static __always_inline int consistent(struct scratch *s, const struct note *n)
{
	struct ct_tuple *mine = s->ct.reply_dir ? &s->ct.reply : &s->ct.orig;
	struct ct_tuple *other = s->ct.reply_dir ? &s->ct.orig : &s->ct.reply;

	copy_address(s->pre.src, n->saddr);
	copy_address(s->pre.dst, n->daddr);
	if (n->family == 4) {
		s->pre.src[1] = s->pre.src[2] = s->pre.src[3] = 0;
		s->pre.dst[1] = s->pre.dst[2] = s->pre.dst[3] = 0;
	}
	s->pre.sport = n->sport;
	s->pre.dport = n->dport;
	s->pre.proto = n->proto;
	if (!same_address(s->pre.src, mine->src) || !same_address(s->pre.dst, mine->dst) ||
	    s->pre.sport != mine->sport || s->pre.dport != mine->dport ||
	    s->pre.proto != mine->proto)
		return R_TUPLE_MISMATCH;
	if (!same_address(s->post.src, other->dst) || !same_address(s->post.dst, other->src) ||
	    s->post.sport != other->dport || s->post.dport != other->sport)
		return R_TUPLE_MISMATCH;
	return 0;
}

/* What the entry's adjacency must say for this packet. */
static __always_inline void way(struct scratch *s, struct __sk_buff *skb, const struct note *n,
				__u8 hook)
{
	struct adj_key *k = &s->ak;

	k->ifindex = skb->ifindex;
	/* XDP frames have neither: one adjacency serves all */
	k->mark = hook == HOOK_XDP ? 0 : skb->mark;
	k->priority = hook == HOOK_XDP ? 0 : skb->priority;
	k->hook = hook;
	__builtin_memcpy(k->in, n->macs, sizeof(k->in));
	__builtin_memcpy(k->out, s->out, sizeof(k->out));
}

static __always_inline int same_way(const struct adj *a, const struct adj_key *k)
{
	return a->ifindex == k->ifindex && a->mark == k->mark && a->priority == k->priority &&
	       a->hook == k->hook && !macs_differ(k->out, a->out);
}

/* The index of the adjacency for a new entry, made if need be. Its tag goes to s->tag. */
static __always_inline int adjacency(struct scratch *s, __u32 *id)
{
	struct adj_key *k = &s->ak;
	struct adj *a;
	__u32 *known, i;

	known = bpf_map_lookup_elem(&adj_ids, k);
	if (known) {
		i = *known;
		a = bpf_map_lookup_elem(&adjs, &i);
		if (!a || !same_way(a, k) || macs_differ(k->in, a->in))
			return R_ADJACENCIES_FULL; /* being recycled */
		s->tag = a->tag;
		*id = i;
		return 0;
	}
	if (bpf_map_pop_elem(&adj_free, &i))
		return R_ADJACENCIES_FULL;
	a = bpf_map_lookup_elem(&adjs, &i);
	if (!a)
		return R_ADJACENCIES_FULL;
	/* Nobody can read the slot yet: no entry names it. */
	a->mark = k->mark;
	a->priority = k->priority;
	a->hook = k->hook;
	a->tag = bpf_get_prandom_u32();
	__builtin_memcpy(a->in, k->in, sizeof(a->in));
	__builtin_memcpy(a->out, k->out, sizeof(a->out));
	s->tag = a->tag;
	__sync_lock_test_and_set(&a->ifindex, k->ifindex);
	if (bpf_map_update_elem(&adj_ids, k, &i, BPF_NOEXIST)) {
		/* another CPU was first: give the slot back, learn from the next packet */
		__sync_lock_test_and_set(&a->ifindex, 0);
		bpf_map_push_elem(&adj_free, &i, 0);
		return R_ADJACENCIES_FULL;
	}
	*id = i;
	return 0;
}

/* Sum of new minus old, as RFC 1624 wants it, over addresses. */
static __always_inline __u64 address_delta(const struct ct_tuple *pre, const struct ct_tuple *post)
{
	__u64 sum = 0;

	for (int i = 0; i < 4; i++) {
		sum += (__u64)(__u32)~pre->src[i] + post->src[i];
		sum += (__u64)(__u32)~pre->dst[i] + post->dst[i];
	}
	return sum;
}

static __always_inline int translated(const struct scratch *s)
{
	return !same_address(s->pre.src, s->post.src) || !same_address(s->pre.dst, s->post.dst) ||
	       s->pre.sport != s->post.sport || s->pre.dport != s->post.dport;
}

static __always_inline void fill(struct hot *h, struct cold *c, struct scratch *s,
				 const struct note *n, __u32 adj)
{
	__u64 addresses = address_delta(&s->pre, &s->post);
	__u32 tick = now_ns() >> TICK_SHIFT;

	h->stamp = n->time;
	h->packets = 0;
	h->bytes = 0;
	h->last = tick;
	h->checked = tick;
	h->adj = adj;
	h->word = WORD(STATE_LEARNED, translated(s) ? FLOW_NAT : 0, n->tos);
	h->tag = s->tag;
	h->delta3 = fold(addresses + (n->family == 4 ? (__u16)~bpf_htons(0x0100) : 0));
	h->delta4 = fold(addresses + (__u16)~s->pre.sport + s->post.sport + (__u16)~s->pre.dport +
			 s->post.dport);
	h->max_len = s->p.seg_len;
	h->sport = s->post.sport;
	h->dport = s->post.dport;
	c->claim = 0;
	c->ct = s->ct.address;
	c->born = n->time;
	c->died = 0;
	c->slow = 1;
	c->asked = 0;
}

/*
 * An entry exists and the kernel forwarded a packet of its tuple. Another class or another station's packet of the same
 * tuple may go another way: it stays slow, and the entry is as it was.
 */
static __always_inline int stranger(const struct hot *h, const struct adj *a, const struct note *n)
{
	if (WORD_DSCP(h->word) != (n->tos & 0xfc))
		return R_DSCP;
	if (macs_differ(n->macs, a->in))
		return R_MAC;
	return 0;
}

/*
 * Same way: the lease starts anew at the packet's arrival, and its length is what the lease allows from now on (longer
 * ones go slow once and raise it).
 */
static __always_inline int renew(struct hot *h, struct cold *c, struct scratch *s,
				 const struct note *n)
{
	const struct adj_key *k = &s->ak;
	__u32 i = h->adj;
	const struct adj *a = bpf_map_lookup_elem(&adjs, &i);
	int r;

	if (!a || a->tag != h->tag)
		return R_CONTRADICTION;
	/* The sweeper may just be deleting what has been idle for a minute: nothing that old comes to life again. */
	if (since(n->time, h->stamp) > 50000000000ULL)
		return R_CONTRADICTION;
	r = stranger(h, a, n);
	if (r)
		return r;
	if (!same_way(a, k) || c->ct != s->ct.address || h->sport != s->post.sport ||
	    h->dport != s->post.dport)
		return R_CONTRADICTION;
	h->last = now_ns() >> TICK_SHIFT;
	c->slow++;
	if (n->time > h->stamp) {
		h->max_len = s->p.seg_len;
		h->stamp = n->time;
		return R_RENEWED;
	}
	if (s->p.seg_len > h->max_len)
		h->max_len = s->p.seg_len;
	return R_RENEWED;
}

static __always_inline void make_ready(struct hot *h)
{
	__u32 word = *(volatile __u32 *)&h->word;

	if (WORD_STATE(word) == STATE_LEARNED)
		__sync_val_compare_and_swap(&h->word, word, word | STATE_READY);
}

static __always_inline void ask_liberal(struct scratch *s, struct cold *c)
{
	__u32 tick = now_ns() >> TICK_SHIFT;
	struct candidate *e;

	if (c->asked && (__s32)(tick - c->asked) < 95) /* 100 ms */
		return;
	e = bpf_ringbuf_reserve(&candidates, sizeof(*e), 0);
	if (!e)
		return; /* full: the next packet asks again */
	c->asked = tick ? tick : 1;
	__builtin_memcpy(&e->orig, &s->ct.orig, sizeof(e->orig));
	__builtin_memcpy(&e->reply, &s->ct.reply, sizeof(e->reply));
	bpf_ringbuf_submit(e, 0);
}

/* May the pair carry packets? r is what learning said. The peer is 0 where the other direction was not seen. */
static __always_inline int pair(struct scratch *s, const struct settings *ctl, struct hot *h,
				struct cold *c, struct hot *ph, struct cold *pc, int r)
{
	__u64 now = now_ns();

	if (WORD_STATE(h->word) == STATE_READY && (!ph || WORD_STATE(ph->word) != STATE_LEARNED))
		return r;
	if (s->p.proto == IPPROTO_TCP && !(s->ct.tcp_flags & IP_CT_TCP_FLAG_BE_LIBERAL)) {
		ask_liberal(s, c);
		return R_NOT_LIBERAL;
	}
	if (!ph || pc->ct != c->ct ||
	    since(now, ph->stamp) > (now < ctl->alive ? ctl->long_hard : ctl->hard))
		return R_ONE_WAY;
	if (WORD_STATE(ph->word) == STATE_DEAD)
		return R_DEAD;
	make_ready(ph);
	make_ready(h);
	return r;
}

static __noinline int learn4(struct scratch *s, struct note *n)
{
	struct settings *ctl;
	struct flow4 *e, *peer;
	struct key4 *k, r = {};
	__u32 zero = 0, adj = 0;
	int ret;

	if (!s || !n)
		return R_MISS;
	k = &s->k4;
	ctl = bpf_map_lookup_elem(&control, &zero);
	if (!ctl)
		return R_MISS;
	k->port = n->ifindex << 8 | n->proto;
	k->saddr = s->pre.src[0];
	k->daddr = s->pre.dst[0];
	k->sport = s->pre.sport;
	k->dport = s->pre.dport;
	e = bpf_map_lookup_elem(&flows4, k);
	if (e) {
		if (state_of(&e->hot) == STATE_DEAD)
			return R_DEAD;
		ret = e->saddr != s->post.src[0] || e->daddr != s->post.dst[0] ?
			      R_CONTRADICTION :
			      renew(&e->hot, &e->cold, s, n);
		if (ret == R_CONTRADICTION)
			kill_pair4(k, e);
		if (ret != R_RENEWED)
			return ret;
	} else {
		ret = adjacency(s, &adj);
		if (ret)
			return ret;
		fill(&s->f4.hot, &s->f4.cold, s, n, adj);
		s->f4.saddr = s->post.src[0];
		s->f4.daddr = s->post.dst[0];
		s->f4.hot.cookie = cookie4(k);
		ret = bpf_map_update_elem(&flows4, k, &s->f4, BPF_NOEXIST);
		if (ret)
			return ret == -17 /* EEXIST: another CPU was first */ ? R_NOT_READY :
										R_TABLE_FULL;
		e = bpf_map_lookup_elem(&flows4, k);
		if (!e)
			return R_TABLE_FULL;
		ret = R_LEARNED;
	}
	reverse4(&r, k, e, s->ak.ifindex);
	peer = bpf_map_lookup_elem(&flows4, &r);
	/* The peer must lead back here: same addresses, and packets of it arrive where ours leave. */
	if (peer && (peer->saddr != k->daddr || peer->daddr != k->saddr ||
		     peer->hot.sport != k->dport || peer->hot.dport != k->sport))
		peer = 0;
	if (!peer)
		return pair(s, ctl, &e->hot, &e->cold, 0, 0, ret);
	return pair(s, ctl, &e->hot, &e->cold, &peer->hot, &peer->cold, ret);
}

static __noinline int learn6(struct scratch *s, struct note *n)
{
	struct settings *ctl;
	struct flow6 *e, *peer;
	struct key6 *k, r = {};
	__u32 zero = 0, adj = 0;
	int ret;

	if (!s || !n)
		return R_MISS;
	k = &s->k6;
	ctl = bpf_map_lookup_elem(&control, &zero);
	if (!ctl)
		return R_MISS;
	k->port = n->ifindex << 8 | n->proto;
	copy_address(k->saddr, s->pre.src);
	copy_address(k->daddr, s->pre.dst);
	k->sport = s->pre.sport;
	k->dport = s->pre.dport;
	e = bpf_map_lookup_elem(&flows6, k);
	if (e) {
		if (state_of(&e->hot) == STATE_DEAD)
			return R_DEAD;
		ret = !same_address(e->saddr, s->post.src) || !same_address(e->daddr, s->post.dst) ?
			      R_CONTRADICTION :
			      renew(&e->hot, &e->cold, s, n);
		if (ret == R_CONTRADICTION)
			kill_pair6(k, e);
		if (ret != R_RENEWED)
			return ret;
	} else {
		ret = adjacency(s, &adj);
		if (ret)
			return ret;
		fill(&s->f6.hot, &s->f6.cold, s, n, adj);
		copy_address(s->f6.saddr, s->post.src);
		copy_address(s->f6.daddr, s->post.dst);
		s->f6.hot.cookie = cookie6(k);
		ret = bpf_map_update_elem(&flows6, k, &s->f6, BPF_NOEXIST);
		if (ret)
			return ret == -17 /* EEXIST: another CPU was first */ ? R_NOT_READY :
										R_TABLE_FULL;
		e = bpf_map_lookup_elem(&flows6, k);
		if (!e)
			return R_TABLE_FULL;
		ret = R_LEARNED;
	}
	reverse6(&r, k, e, s->ak.ifindex);
	peer = bpf_map_lookup_elem(&flows6, &r);
	if (peer && (!same_address(peer->saddr, k->daddr) || !same_address(peer->daddr, k->saddr) ||
		     peer->hot.sport != k->dport || peer->hot.dport != k->sport))
		peer = 0;
	if (!peer)
		return pair(s, ctl, &e->hot, &e->cold, 0, 0, ret);
	return pair(s, ctl, &e->hot, &e->cold, &peer->hot, &peer->cold, ret);
}

/* A second packet with the note of the first: the kernel sends copies, which one entry cannot do. */
static __always_inline int copied(struct scratch *s, struct note *n)
{
	if (n->family == 4) {
		struct key4 *k = &s->k4;
		struct flow4 *e;

		k->port = n->ifindex << 8 | n->proto;
		k->saddr = n->saddr[0];
		k->daddr = n->daddr[0];
		k->sport = n->sport;
		k->dport = n->dport;
		e = bpf_map_lookup_elem(&flows4, k);
		if (e)
			kill_pair4(k, e);
	} else {
		struct key6 *k = &s->k6;
		struct flow6 *e;

		k->port = n->ifindex << 8 | n->proto;
		copy_address(k->saddr, n->saddr);
		copy_address(k->daddr, n->daddr);
		k->sport = n->sport;
		k->dport = n->dport;
		e = bpf_map_lookup_elem(&flows6, k);
		if (e)
			kill_pair6(k, e);
	}
	return R_COPIED;
}

/* Is this the noted packet, neither copied nor come by another way than the kernel's own? */
static __always_inline int authentic(struct scratch *s, struct __sk_buff *skb, struct note *n)
{
	struct sk_buff *sk = (void *)skb;
	__u8 ext = 0;
	int r = leaving(s, skb);

	if (r)
		return r;
	if (altered(s, n) || skb->ingress_ifindex != n->ifindex)
		return R_ALTERED;
	if (__sync_lock_test_and_set(&n->used, 1))
		return copied(s, n);
	s->p.ttl = n->ttl;
	r = odd(&s->p);
	if (r)
		return r;
	if (BPF_CORE_READ_BITFIELD_PROBED(sk, redirected))
		return R_REDIRECTED; /* somebody's tc filter or fwd rule sent it here */
	if (!bpf_core_field_exists(struct sk_buff, active_extensions) ||
	    !bpf_core_enum_value_exists(enum skb_ext_id, SKB_EXT_SEC_PATH))
		return 0; /* a kernel without IPsec */
	bpf_probe_read_kernel(
		&ext, 1, (void *)skb + bpf_core_field_offset(struct sk_buff, active_extensions));
	if (ext & 1 << bpf_core_enum_value(enum skb_ext_id, SKB_EXT_SEC_PATH))
		return R_IPSEC; /* came out of a tunnel: in the clear the same packet must not pass */
	return 0;
}

/* The conntrack entry is one to learn from, and the ruleset handed it over. */
static __always_inline int eligible(struct scratch *s, __u64 address, const struct device *in,
				    const struct settings *ctl)
{
	int r = ct_look(&s->ct, address);

	if (r)
		return r;
	return added(s, in, ctl) ? 0 : R_NOT_ADDED;
}

/*
 * The reason to count, or 0 for packets that are nobody's business (no note: locally made, or came another way). What
 * is cheap and refuses most comes first: new connections must not pay for a fast path they may never need.
 */
static __always_inline int observe(struct __sk_buff *skb)
{
	struct note *n = note_slot(skb);
	struct device *in, *out;
	struct settings *ctl;
	struct scratch *s;
	__u32 zero = 0;
	__u64 address;
	__u8 hook;
	int r;

	if (!n || n->skb != (__u64)(long)skb)
		return 0;
	s = bpf_map_lookup_elem(&scratch, &zero);
	ctl = bpf_map_lookup_elem(&control, &zero);
	if (!s || !ctl)
		return 0;
	if (since(now_ns(), n->time) > 100000000ULL)
		return R_NOTE_OLD; /* held somewhere: NFQUEUE, a qdisc of a stacked device */
	r = packets_ct(s, skb, &address);
	if (r)
		return r;
	in = device_of(n->ifindex);
	out = device_of(skb->ifindex);
	if (!in || !out)
		return R_UNKNOWN_DEVICE;
	if (address) {
		r = eligible(s, address, in, ctl);
		if (r)
			return r;
		if (too_short(n, ctl))
			return R_MIN_PACKETS;
		r = authentic(s, skb, n);
		if (r)
			return r;
	} else {
		if (!in->flowtable)
			return R_UNTRACKED;
		r = authentic(s, skb, n);
		if (r)
			return r;
		r = flowtables_ct(s, skb, &address);
		if (r)
			return r;
		r = eligible(s, address, in, ctl);
		if (r)
			return r;
		if (too_short(n, ctl))
			return R_MIN_PACKETS;
	}
	r = ct_details(&s->ct);
	if (r)
		return r;
	r = consistent(s, n);
	if (r)
		return r;
	hook = in->hook == HOOK_XDP && out->xdp_target ? HOOK_XDP : HOOK_TC;
	way(s, skb, n, hook);
	if (s->p.v6)
		return learn6(s, n);
	return learn4(s, n);
}
