// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs of nft-offload and the journey of a packet:
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

	return partial_checksums && p->check == fold((__u64)k->saddr[0] + k->daddr[0] +
						     bpf_htons(p->proto) + bpf_htons(l4));
}

/* IPv6 has no header checksum. */
static __always_inline int sum6(const struct pkt *p, void *data, void *end)
{
	return 0;
}

static __always_inline int partial6(const struct pkt *p, const struct key6 *k)
{
	__u32 l4 = p->l3_len - sizeof(struct ipv6hdr);
	__u64 sum = (__u64)bpf_htons(p->proto) + bpf_htons(l4);

	sum += (__u64)k->saddr[0] + k->saddr[1] + k->saddr[2] + k->saddr[3];
	sum += (__u64)k->daddr[0] + k->daddr[1] + k->daddr[2] + k->daddr[3];
	return partial_checksums && p->check == fold(sum);
}

/* The flow's own counters. Two CPUs at the same instant may count as one: those of `stats` are exact. */
static __always_inline void carried(struct hot *h, const struct pkt *p)
{
	h->packets += p->segs;
	h->bytes += p->l3_len;
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

#define FAMILY 4
#include "family_forward.h"
#undef FAMILY
#define FAMILY 6
#include "family_forward.h"
#undef FAMILY

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

static __always_inline int tc_redirect(struct __sk_buff *skb, struct adj *adj)
{
	skb->mark = adj->mark;
	skb->priority = adj->priority;
	skb->cb[0] = NFO_TOKEN; /* the observer must not learn from our own work */
	return bpf_redirect(adj->ifindex, 0);
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
	drop_ticket(skb);
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

/* What nfo_end is called with: the time, and the key of one direction. Such programs have no coarse clock. */
struct end_args {
	__u64 now;
	struct key4 k4;
	struct key6 k6;
	__u32 family;
};

/*
 * Not for packets: the daemon calls it to end a flow, both directions. Only a program can mark an entry dead while others
 * use it, and only what has been dead for a second may be deleted.
 */
SEC("syscall")
int nfo_end(struct end_args *a)
{
	struct key6 k6 = a->k6;
	struct key4 k4 = a->k4;
	struct flow4 *e4;
	struct flow6 *e6;

	if (a->family == 6) {
		e6 = bpf_map_lookup_elem(&flows6, &k6);
		if (!e6 || state_of(&e6->hot) == STATE_DEAD)
			return 0;
		kill_pair6(&k6, e6, a->now);
		return 1;
	}
	e4 = bpf_map_lookup_elem(&flows4, &k4);
	if (!e4 || state_of(&e4->hot) == STATE_DEAD)
		return 0;
	kill_pair4(&k4, e4, a->now);
	return 1;
}
