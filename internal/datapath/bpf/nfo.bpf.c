// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The three programs of nft-offload and the journey of a packet:
 *
 *   nfo_xdp      XDP on the lowest device         a flow's packet is rewritten and redirected, or passed
 *   nfo_ingress  tc ingress on the lowest device  the same, after GRO; what it passes leaves a note
 *   nfo_egress   tc egress on the lowest device   a noted packet that the kernel forwarded becomes an entry, or
 *                                                 renews one
 *
 * What returns XDP_PASS or TC_ACT_UNSPEC goes on exactly as if no program were there.
 */
#include <linux/pkt_cls.h>

#include "observe.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Set when loading, per kind of device; the verifier removes what is not needed. */
const volatile __u32 partial_checksums; /* xdp: frames may carry only the pseudo-header sum */
const volatile __u32 behind_xdp;        /* ingress: an XDP program has counted the packet */

/* veth hands XDP a packet whose checksum its sender left to be finished; leaving by a redirect it would stay so. */
static __always_inline int partial4(const struct pkt *p, const struct key4 *k)
{
	__u32 l4 = p->l3_len - sizeof(struct iphdr);

	return partial_checksums &&
	       p->check == fold((__u64)k->saddr + k->daddr + bpf_htons(p->proto) + bpf_htons(l4));
}

static __always_inline int partial6(const struct pkt *p, const struct key6 *k)
{
	__u32 l4 = p->l3_len - sizeof(struct ipv6hdr);
	__u64 sum = (__u64)bpf_htons(p->proto) + bpf_htons(l4);

	sum += (__u64)k->saddr[0] + k->saddr[1] + k->saddr[2] + k->saddr[3];
	sum += (__u64)k->daddr[0] + k->daddr[1] + k->daddr[2] + k->daddr[3];
	return partial_checksums && p->check == fold(sum);
}

static __always_inline int gone4(void *ctx, enum hook hook, struct key4 *k, struct flow4 *e,
				 __u8 proto)
{
	struct bpf_sock_tuple t = {};

	t.ipv4.saddr = k->saddr;
	t.ipv4.daddr = k->daddr;
	t.ipv4.sport = k->sport;
	t.ipv4.dport = k->dport;
	if (ct_alive(ctx, hook, &t, sizeof(t.ipv4), proto, e->cold.ct))
		return 0;
	kill_pair4(k, e);
	return 1;
}

static __always_inline int gone6(void *ctx, enum hook hook, struct key6 *k, struct flow6 *e,
				 __u8 proto)
{
	struct bpf_sock_tuple t = {};

	__builtin_memcpy(t.ipv6.saddr, k->saddr, sizeof(k->saddr));
	__builtin_memcpy(t.ipv6.daddr, k->daddr, sizeof(k->daddr));
	t.ipv6.sport = k->sport;
	t.ipv6.dport = k->dport;
	if (ct_alive(ctx, hook, &t, sizeof(t.ipv6), proto, e->cold.ct))
		return 0;
	kill_pair6(k, e);
	return 1;
}

/* The flow's own counters. Two CPUs at the same instant may count as one: those of `stats` are exact. */
static __always_inline void carried(struct hot *h, const struct pkt *p)
{
	h->packets += p->segs;
	h->bytes += p->l3_len;
}

/* 0: rewritten, w->adj says where to. Else the reason; nothing was changed. */
static __always_inline int forward4(struct frame *f, enum hook hook, struct pkt *p, struct key4 *k,
				    struct pass *w)
{
	struct flow4 *e;
	int r;

	k->port = port_of(w->ifindex, p->tags, p->proto);
	k->sport = p->sport;
	k->dport = p->dport;
	if (p->tcp_flags & TCP_SYN)
		return R_TCP_FLAGS; /* never fast, teaches nothing: a new connection need not pay for a look */
	w->cookie = cookie4(k);
	if (!may_be_known(w->ctl, w->cookie))
		return R_MISS;
	e = bpf_map_lookup_elem(&flows4, k);
	if (!e)
		return R_MISS;
	w->hit = 1;
	w->now = now_ns();
	r = sum4(p, f->data, f->end);
	if (!r)
		r = admit(&e->hot, &e->cold, p, f->data, hook, w);
	if (r == R_TCP_FLAGS && p->tcp_flags & (TCP_FIN | TCP_RST))
		kill_pair4(k, e); /* before it is forwarded: conntrack must see all that follows */
	if (r)
		return r;
	if (hook == HOOK_XDP && partial4(p, k))
		return R_PARTIAL_CHECKSUM;
	if (check_due(&e->hot, w) && gone4(f->ctx, hook, k, e, p->proto))
		return R_CT_GONE;
	r = rewrite4(f, hook, p, e, w->adj, w->cookie);
	if (r)
		return r;
	carried(&e->hot, p);
	return 0;
}

static __always_inline int forward6(struct frame *f, enum hook hook, struct pkt *p, struct key6 *k,
				    struct pass *w)
{
	struct flow6 *e;
	int r;

	k->port = port_of(w->ifindex, p->tags, p->proto);
	k->sport = p->sport;
	k->dport = p->dport;
	if (p->tcp_flags & TCP_SYN)
		return R_TCP_FLAGS; /* never fast, teaches nothing: a new connection need not pay for a look */
	w->cookie = cookie6(k);
	if (!may_be_known(w->ctl, w->cookie))
		return R_MISS;
	e = bpf_map_lookup_elem(&flows6, k);
	if (!e)
		return R_MISS;
	w->hit = 1;
	w->now = now_ns();
	r = admit(&e->hot, &e->cold, p, f->data, hook, w);
	if (r == R_TCP_FLAGS && p->tcp_flags & (TCP_FIN | TCP_RST))
		kill_pair6(k, e);
	if (r)
		return r;
	if (hook == HOOK_XDP && partial6(p, k))
		return R_PARTIAL_CHECKSUM;
	if (check_due(&e->hot, w) && gone6(f->ctx, hook, k, e, p->proto))
		return R_CT_GONE;
	r = rewrite6(f, hook, p, e, w->adj, w->cookie);
	if (r)
		return r;
	carried(&e->hot, p);
	return 0;
}

/* One family at XDP. There is no tag: ETH_P_IP stands where it stands without one. */
static __always_inline int xdp4(struct frame *f, struct pkt *p, struct pass *w)
{
	struct key4 k = {};
	int r = parse4(p, &k, f->data, f->end, f->len);

	p->segs = 1;
	p->seg_len = p->l3_len;
	return r ? r : forward4(f, HOOK_XDP, p, &k, w);
}

static __always_inline int xdp6(struct frame *f, struct pkt *p, struct pass *w)
{
	struct key6 k = {};
	int r = parse6(p, &k, f->data, f->end, f->len);

	p->segs = 1;
	p->seg_len = p->l3_len;
	return r ? r : forward6(f, HOOK_XDP, p, &k, w);
}

static __always_inline int not_ip(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD) ||
			       proto == bpf_htons(ETH_P_PPP_SES) ?
		       R_ENCAP :
		       R_NOT_IP;
}

SEC("xdp")
int nfo_xdp(struct xdp_md *ctx)
{
	struct pkt p = { .off = sizeof(struct ethhdr) };
	struct pass w = { .ifindex = ctx->ingress_ifindex };
	struct frame f = { .ctx = ctx };
	__u32 zero = 0;
	__be16 proto;
	int r;

	w.ctl = bpf_map_lookup_elem(&control, &zero);
	locate(&f, HOOK_XDP);
	if (!w.ctl || f.data + sizeof(struct ethhdr) > f.end)
		return XDP_PASS; /* not even a header: the driver's or the kernel's to judge */
	proto = ((struct ethhdr *)f.data)->h_proto;
	p.l3_len = f.len - sizeof(struct ethhdr);
	if (proto == bpf_htons(ETH_P_IP))
		r = xdp4(&f, &p, &w);
	else if (proto == bpf_htons(ETH_P_IPV6))
		r = xdp6(&f, &p, &w);
	else
		r = not_ip(proto);
	if (r == R_FAST && (!w.adj || macs_write(&f, w.adj)))
		r = R_RECYCLED; /* cannot happen; for the verifier */
	count(HOOK_XDP, r, 1, p.l3_len);
	if (r != R_FAST)
		return XDP_PASS;
	return bpf_redirect(w.adj->ifindex, 0);
}

/* GSO: one sk_buff stands for several packets on the wire, each of at most gso_size bytes of payload. */
static __always_inline void segments(struct __sk_buff *skb, struct pkt *p)
{
	p->segs = skb->gso_segs ? skb->gso_segs : 1;
	p->seg_len = p->l3_len;
	if (!skb->gso_size)
		return;
	p->seg_len = p->l3_len - p->payload + skb->gso_size;
	/* The headers of a packet inside are not known here: too long for any entry. */
	if (BPF_CORE_READ_BITFIELD_PROBED((struct sk_buff *)skb, encapsulation))
		p->seg_len = 0xffffffff;
}

static __always_inline int tc_redirect(struct __sk_buff *skb, struct adj *adj)
{
	skb->mark = adj->mark;
	skb->priority = adj->priority;
	skb->cb[0] = NFO_TOKEN; /* the observer must not learn from our own work */
	return bpf_redirect(adj->ifindex, 0);
}

/* One family at tc: what is not carried leaves a note, unless it is of no use to anybody. */
static __always_inline int ingress4(struct frame *f, struct pkt *p, struct pass *w)
{
	struct __sk_buff *skb = f->ctx;
	struct key4 k = {};
	int r = parse4(p, &k, f->data, f->end, f->len);

	if (r) {
		note_clear(skb);
		return r;
	}
	segments(skb, p);
	r = forward4(f, HOOK_TC, p, &k, w);
	if (r && p->tcp_flags & TCP_SYN) {
		note_clear(skb);
	} else if (r) {
		locate(f, HOOK_TC);
		if (f->data + sizeof(struct ethhdr) <= f->end)
			note4(skb, p, &k, f->data, w->hit);
	}
	return r;
}

static __always_inline int ingress6(struct frame *f, struct pkt *p, struct pass *w)
{
	struct __sk_buff *skb = f->ctx;
	struct key6 k = {};
	int r = parse6(p, &k, f->data, f->end, f->len);

	if (r) {
		note_clear(skb);
		return r;
	}
	segments(skb, p);
	r = forward6(f, HOOK_TC, p, &k, w);
	if (r && p->tcp_flags & TCP_SYN) {
		note_clear(skb);
	} else if (r) {
		locate(f, HOOK_TC);
		if (f->data + sizeof(struct ethhdr) <= f->end)
			note6(skb, p, &k, f->data, w->hit);
	}
	return r;
}

SEC("tc")
int nfo_ingress(struct __sk_buff *skb)
{
	__u32 zero = 0, want = MAX_L2 + sizeof(struct ipv6hdr) + sizeof(struct tcphdr);
	struct pass w = { .ifindex = skb->ifindex };
	struct frame f = { .ctx = skb };
	struct pkt p = {};
	__be16 proto = 0;
	int r;

	w.ctl = bpf_map_lookup_elem(&control, &zero);
	if (!w.ctl)
		return TC_ACT_UNSPEC; /* cannot happen: an array */
	w.mine = !behind_xdp;
	locate(&f, HOOK_TC);
	if (f.data + MAX_L2 + sizeof(struct iphdr) + sizeof(struct tcphdr) > f.end &&
	    f.len > f.end - f.data) {
		/* headers in fragments of a paged sk_buff */
		if (bpf_skb_pull_data(skb, f.len < want ? f.len : want)) {
			note_clear(skb);
			return TC_ACT_UNSPEC;
		}
		locate(&f, HOOK_TC);
	}
	p.segs = 1;
	r = layer2(&f, &p, &proto);
	p.l3_len = f.len - p.off;
	if (!r && proto == bpf_htons(ETH_P_IP)) {
		r = ingress4(&f, &p, &w);
	} else if (!r && proto == bpf_htons(ETH_P_IPV6)) {
		r = ingress6(&f, &p, &w);
	} else {
		note_clear(skb);
		r = r ? r : not_ip(proto);
	}
	if (r == R_FAST && !w.adj)
		r = R_RECYCLED; /* cannot happen; for the verifier */
	if (r == R_FAST)
		r = relink(&f, &p, w.adj);
	if (w.mine)
		count(HOOK_TC, r, p.segs, p.l3_len);
	if (r == R_NO_MEMORY)
		return TC_ACT_SHOT;
	if (r != R_FAST)
		return TC_ACT_UNSPEC;
	return tc_redirect(skb, w.adj);
}

SEC("tc")
int nfo_egress(struct __sk_buff *skb)
{
	int r;

	if (skb->cb[0] == NFO_TOKEN)
		return TC_ACT_UNSPEC;
	r = observe(skb);
	if (r)
		count(HOOK_TC, r, 1, skb->len);
	return TC_ACT_UNSPEC;
}
