// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * From an observation to an entry: make one, renew it, pair it with that of the other direction, or end both. observe.h
 * has made sure that the observation is one of this very packet.
 */
#pragma once

#include "conntrack.h"
#include "hold.h"
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
	struct refused_key refused;
	__u32 verdict; /* what observe says */
	__u32 again;   /* the packet has left before, by another device */
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

/* What the entry's adjacency must say for this packet. */
static __always_inline void way(struct scratch *s, struct __sk_buff *skb, const struct note *n,
				__u8 hook)
{
	struct adj_key *k = &s->ak;

	k->in_tags = n->tags;
	k->out_tags = s->p.tags;
	k->in_ifindex = n->ifindex;
	k->ifindex = skb->ifindex;
	k->bare = bare;
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
	       a->hook == k->hook && a->bare == k->bare && a->out_tags == k->out_tags &&
	       !macs_differ(k->out, a->out);
}

/* ... and for where it came from. */
static __always_inline int same_origin(const struct adj *a, const struct adj_key *k)
{
	return a->in_ifindex == k->in_ifindex && a->in_tags == k->in_tags &&
	       !macs_differ(k->in, a->in);
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
		if (!a || !same_way(a, k) || !same_origin(a, k))
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
	a->in_tags = k->in_tags;
	a->out_tags = k->out_tags;
	a->in_ifindex = k->in_ifindex;
	a->bare = k->bare;
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
static __always_inline int stranger(const struct hot *h, const struct adj *a, const struct note *n,
				    const struct adj_key *k)
{
	if (WORD_DSCP(h->word) != (n->tos & 0xfc))
		return R_DSCP;
	if (!same_origin(a, k))
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
	r = stranger(h, a, n, k);
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

#define FAMILY 4
#include "family_learn.h"
#undef FAMILY
#define FAMILY 6
#include "family_learn.h"
#undef FAMILY

/* A second packet with the note of the first: the kernel sends copies, which one entry cannot do. */
static __always_inline int copied(struct scratch *s, struct note *n)
{
	if (n->family == 4)
		end4(s, n);
	else
		end6(s, n);
	return R_COPIED;
}
