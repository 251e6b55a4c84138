// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * tc egress: the kernel has decided, the packet is as it will leave. If tc ingress left a note about this very
 * packet, what happened between the two becomes an entry, or renews one.
 */
#pragma once

#include "flood.h"
#include "learn.h"

#define NOTE_AGE 100000000ULL /* ns: what is older was held somewhere, or is about another packet */

/* The packet that leaves, parsed into s->p and s->post. */
static __noinline int leaving(struct scratch *s, struct __sk_buff *skb)
{
	struct frame f = { .ctx = skb };
	struct key4 k4 = {};
	struct key6 k6 = {};
	__be16 proto;
	int r;

	locate(&f, HOOK_TC);
	r = layer2(&f, &s->p, &proto);
	if (r)
		return r;
	__builtin_memset(&s->post, 0, sizeof(s->post));
	if (bare)
		__builtin_memset(s->out, 0, sizeof(s->out));
	else if (f.data + sizeof(struct ethhdr) <= f.end)
		__builtin_memcpy(s->out, f.data, sizeof(s->out));
	if (proto == bpf_htons(ETH_P_IP)) {
		r = parse4(&s->p, &k4, f.data, f.end, f.len);
		s->post.src[0] = k4.saddr[0];
		s->post.dst[0] = k4.daddr[0];
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
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

/*
 * The device that the packet came in by last is the noted one, or stands on it: a bridge, a VLAN, a VRF. Another one
 * means that it has been somewhere in between, as in a container.
 */
static __always_inline int through(struct scratch *s, struct __sk_buff *skb, const struct note *n,
				   const struct device *in)
{
	struct device *upper;

	if (skb->ingress_ifindex == n->ifindex)
		return in->under ? R_NOT_ADDED : 0;
	upper = device_of(skb->ingress_ifindex);
	if (!upper || upper->stack != in->stack)
		return R_ALTERED;
	if (!upper->refused)
		return 0;
	s->refused.in = skb->ingress_ifindex;
	return R_DEVICE_REFUSED;
}

/* Is this the noted packet, neither copied nor come by another way than the kernel's own? */
static __always_inline int authentic(struct scratch *s, struct __sk_buff *skb, struct note *n,
				     const struct device *in)
{
	struct sk_buff *sk = (void *)skb;
	__u8 ext = 0;
	int r = leaving(s, skb);

	if (r)
		return r;
	if (altered(s, n))
		return R_ALTERED;
	r = through(s, skb, n, in);
	if (r)
		return r;
	if (floods && flooded(skb))
		return R_COPIED;
	if (s->again)
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

static __always_inline struct refused_key *refusal_of(struct scratch *s, struct __sk_buff *skb,
						      const struct note *n, __u32 reason)
{
	struct refused_key *k = &s->refused;

	if (!k->in)
		k->in = n->ifindex;
	k->out = skb->ifindex;
	copy_words(k->saddr, n->saddr, 4);
	copy_words(k->daddr, n->daddr, 4);
	k->sport = n->sport;
	k->dport = n->dport;
	k->family = n->family;
	k->proto = n->proto;
	k->reason = reason;
	return k;
}

/* A packet of a flow that was handed over and of which nothing is learned: for `flows --refused`. */
static __always_inline void refuse(struct scratch *s, struct __sk_buff *skb, const struct note *n,
				   __u32 reason)
{
	sample_refused(refusal_of(s, skb, n, reason));
}

/*
 * A packet that goes by before anybody has looked at its connection. Not for what conntrack tells whoever asks (new, not
 * handed over): every new connection would pay for it.
 */
static __always_inline int pass_by(struct scratch *s, struct __sk_buff *skb, const struct note *n,
				   __u32 reason)
{
	if (pass_due(n->time))
		sample(&passed, refusal_of(s, skb, n, reason), n->time);
	return reason;
}

/* The rest, for a flow that was handed over. Its conntrack entry is in s->ct, the packet in s->p and s->post. */
static __always_inline int teach(struct scratch *s, struct __sk_buff *skb, struct note *n,
				 const struct device *in, const struct device *out,
				 const struct settings *ctl)
{
	__u8 hook = HOOK_TC;
	int r;

	if (in->refused || out->refused)
		return R_DEVICE_REFUSED;
	r = ct_details(&s->ct);
	if (r)
		return r;
	r = consistent(s, n);
	if (r)
		return r;
	if (ctl->holds && held(ctl->holds, &s->pre, &s->post, n->family))
		return R_HELD;
	/* XDP sees no tags, and no device without Ethernet header runs it. */
	if (in->hook == HOOK_XDP && out->xdp_target && !n->tags && !s->p.tags && !bare)
		hook = HOOK_XDP;
	way(s, skb, n, hook);
	if (s->p.v6)
		return learn6(n);
	return learn4(n);
}

/* Is the note about the packet that leaves? What is asked where the address of the sk_buff does not tell. */
static __always_inline int alike(struct scratch *s, struct __sk_buff *skb, const struct note *n)
{
	return since(now_ns(), n->time) <= NOTE_AGE && !leaving(s, skb) && !altered(s, n);
}

/*
 * The note about a packet that has another sk_buff now. What a flood or `dup` sends has a copy of the ticket, too; clones
 * share their bytes, and the other has no conntrack entry.
 */
static __always_inline struct note *moved(struct __sk_buff *skb, __u32 ticket)
{
	__u32 i = ticket % NOTES;
	struct note *n;

	if (!ticket || !(skb_nfct(skb) & ~NFCT_INFOMASK) || shared_bytes(skb))
		return 0;
	n = bpf_map_lookup_elem(&notes, &i);
	return n && n->skb && n->ours && n->ticket == ticket && !n->left ? n : 0;
}

/* A note is about a packet with its ticket, or about one that left before and gave it back. */
static __always_inline int another(const struct note *n, __u32 ticket)
{
	return n->ticket != ticket && !(n->left && n->ours && !ticket);
}

/*
 * The note about this packet, or 0. Addresses of sk_buffs are used again at once: a clone or a packet that moved may have
 * that of a noted one which left, or was dropped. So one that may be a clone, one that moved, and any at an address whose
 * noted packet has left, must look like the noted one before anything else is believed.
 */
static __always_inline struct note *note_about(struct scratch *s, struct __sk_buff *skb)
{
	struct note *n = note_slot(skb);
	__u32 ticket = skb->tc_index;

	s->again = 0;
	if (!n || n->skb != (__u64)(long)skb || another(n, ticket))
		n = moved(skb, ticket);
	else if (!n->left && !(floods && shared_bytes(skb)))
		goto found;
	if (!n || !alike(s, skb, n)) {
		if (floods)
			see_clone(skb);
		return 0;
	}
	s->again = n->left;
found:
	n->left = 1;
	if (n->ours && n->ticket == ticket)
		set_tc_index(skb, 0);
	return n;
}

/*
 * The reason to count, or 0 for packets that are nobody's business (no note: locally made, or came another way). What
 * is cheap and refuses most comes first: new connections must not pay for a fast path they may never need.
 */
static __always_inline int observe(struct __sk_buff *skb)
{
	struct device *in, *out, *listed;
	struct settings *ctl;
	struct scratch *s;
	struct note *n;
	__u32 zero = 0;
	__u64 address;
	int r;

	s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return 0;
	n = note_about(s, skb);
	if (!n)
		return 0;
	r = packets_ct(s, skb, &address);
	if (r)
		return r;
	s->refused.in = 0;
	/* Held somewhere: NFQUEUE, a qdisc of a stacked device. */
	if (since(now_ns(), n->time) > NOTE_AGE)
		return pass_by(s, skb, n, R_NOTE_OLD);
	ctl = bpf_map_lookup_elem(&control, &zero);
	in = device_of(n->ifindex);
	out = device_of(skb->ifindex);
	if (!ctl || !in || !out)
		return R_UNKNOWN_DEVICE;
	if (address) {
		/* By which flowtable? That of the device that the rules saw. */
		listed = in;
		if (skb->ingress_ifindex != n->ifindex)
			listed = device_of(skb->ingress_ifindex);
		if (!listed)
			return pass_by(s, skb, n, R_ALTERED); /* see through */
		r = eligible(s, address, listed, ctl);
		if (r)
			return r;
		r = authentic(s, skb, n, in);
	} else {
		if (!in->flowtable)
			return pass_by(s, skb, n, R_UNTRACKED);
		r = authentic(s, skb, n, in);
		if (r)
			return r;
		r = flowtables_ct(s, skb, &address);
		if (r)
			return r;
		r = eligible(s, address, in, ctl);
		if (r)
			return r;
	}
	if (!r)
		r = teach(s, skb, n, in, out, ctl);
	/* Through memory: the verifier would follow the rest once for every reason there is. */
	*(volatile __u32 *)&s->verdict = r;
	r = *(volatile __u32 *)&s->verdict;
	if (r != R_LEARNED && r != R_RENEWED && r != R_TCP_FLAGS)
		refuse(s, skb, n, r);
	return r;
}
