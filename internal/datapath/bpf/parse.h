// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * From a frame to a key, or to the reason why it is none of our business. Nothing is written here.
 * Every early return is safe for the same reason: the packet goes on to the kernel as it came.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "flow.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_URG 0x20

#define MAX_L2 (sizeof(struct ethhdr) + 4) /* the outer tag is never in the bytes */

/* What the parsers found, both families. */
struct pkt {
	__u64 tags;
	__u32 off;     /* of the IP header */
	__u32 l3_len;  /* by the IP header */
	__u32 seg_len; /* the longest layer 3 packet this becomes on the wire: for GSO one segment */
	__u32 segs;    /* packets this is on the wire */
	__u32 payload;  /* bytes after the TCP or UDP header */
	__u32 print[4]; /* what no translation changes and few two packets share */
	__be16 sport, dport;
	__u16 check;
	__u8 proto, tos, ttl, tcp_flags;
	__u8 v6;
};

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return sum;
}

static __always_inline int parse_tcp(struct pkt *p, void *l4, void *end, __u32 len)
{
	struct tcphdr *t = l4;
	__u32 words, hdr;

	if ((void *)(t + 1) > end)
		return R_MALFORMED;
	words = ((__u32 *)l4)[3];
	hdr = (words & 0xf0) >> 2; /* data offset: high nibble of byte 12, in 32-bit words */
	if (hdr < sizeof(*t) || hdr > len)
		return R_MALFORMED;
	p->tcp_flags = words >> 8; /* byte 13 */
	p->sport = t->source;
	p->dport = t->dest;
	p->check = t->check;
	p->payload = len - hdr;
	p->print[0] = t->seq;
	p->print[1] = t->ack_seq;
	p->print[2] = words; /* data offset, flags, window */
	return 0;
}

static __always_inline int parse_udp(struct pkt *p, void *l4, void *end, __u32 len)
{
	struct udphdr *u = l4;
	__u32 *body = (void *)(u + 1);

	if ((void *)(u + 1) > end || len < sizeof(*u))
		return R_MALFORMED;
	/* Shorter than the IP payload is legal, but what follows is nobody's: let the kernel decide. */
	if (bpf_ntohs(u->len) != len)
		return R_MALFORMED;
	p->tcp_flags = TCP_ACK; /* nothing odd */
	p->sport = u->source;
	p->dport = u->dest;
	p->check = u->check;
	p->payload = len - sizeof(*u);
	p->print[0] = 0;
	p->print[1] = 0;
	if (p->payload >= 8 &&
	    (void *)(body + 2) <= end) { /* not the padding, which is cut off on the way */
		p->print[0] = body[0];
		p->print[1] = body[1];
	}
	p->print[2] = u->len;
	return 0;
}

static __always_inline int parse_l4(struct pkt *p, void *l4, void *end, __u32 len)
{
	if (p->proto == IPPROTO_UDP)
		return parse_udp(p, l4, end, len);
	if (p->proto == IPPROTO_TCP)
		return parse_tcp(p, l4, end, len);
	return R_NOT_TCP_UDP;
}

/*
 * p->off says where the IP header is, len how long the frame is in all, in or out of the linear part. All of the key
 * but the port is filled in; the addresses also where ports cannot be read.
 */
static __always_inline int parse4(struct pkt *p, struct key4 *k, void *data, void *end, __u32 len)
{
	struct iphdr *ip = data + p->off;
	__u8 first;

	if ((void *)(ip + 1) > end)
		return R_MALFORMED;
	first = *(__u8 *)ip;
	k->saddr[0] = ip->saddr;
	k->daddr[0] = ip->daddr;
	if (first != 0x45)
		return first >> 4 == 4 && (first & 15) > 5 ? R_IP_OPTIONS : R_MALFORMED;
	p->l3_len = bpf_ntohs(ip->tot_len);
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->proto = ip->protocol;
	p->v6 = 0;
	if (p->l3_len < sizeof(*ip) || p->l3_len > len - p->off)
		return R_MALFORMED;
	/* More fragments, an offset, or the reserved bit. */
	if (ip->frag_off & bpf_htons(0xbfff))
		return R_FRAGMENT;
	p->print[3] = ip->id;
	return parse_l4(p, ip + 1, end, p->l3_len - sizeof(*ip));
}

static __always_inline int parse6(struct pkt *p, struct key6 *k, void *data, void *end, __u32 len)
{
	struct ipv6hdr *ip = data + p->off;
	__u32 first;

	if ((void *)(ip + 1) > end)
		return R_MALFORMED;
	first = bpf_ntohl(*(__u32 *)ip);
	if (first >> 28 != 6)
		return R_MALFORMED;
	p->l3_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	p->tos = first >> 20;
	p->ttl = ip->hop_limit;
	p->proto = ip->nexthdr;
	p->v6 = 1;
	if (p->l3_len > len - p->off)
		return R_MALFORMED;
	__builtin_memcpy(k->saddr, &ip->saddr, sizeof(k->saddr));
	__builtin_memcpy(k->daddr, &ip->daddr, sizeof(k->daddr));
	if (p->proto == IPPROTO_HOPOPTS || p->proto == IPPROTO_ROUTING ||
	    p->proto == IPPROTO_DSTOPTS || p->proto == IPPROTO_AH || p->proto == IPPROTO_MH)
		return R_EXT_HEADER;
	if (p->proto == IPPROTO_FRAGMENT)
		return R_FRAGMENT;
	p->print[3] = first & 0xfffff; /* flow label */
	return parse_l4(p, ip + 1, end, p->l3_len - sizeof(*ip));
}

/*
 * ip_rcv drops a bad header checksum; with the incremental update it would leave here still bad. Needed only for
 * packets that have an entry: the others meet ip_rcv.
 */
static __always_inline int sum4(const struct pkt *p, void *data, void *end)
{
	__u32 *w = data + p->off;

	if ((void *)(w + 5) > end)
		return R_MALFORMED; /* cannot happen: parsed before */
	return fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]) == 0xffff ? 0 : R_IP_CHECKSUM;
}

/* What a well-formed packet may still be too odd for. */
static __always_inline int odd(const struct pkt *p)
{
	if (p->ttl <= 1)
		return R_TTL;
	if (p->proto == IPPROTO_UDP && p->v6 && p->check == 0)
		return R_UDP_NO_CHECKSUM;
	if ((p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_URG | TCP_ACK)) != TCP_ACK)
		return R_TCP_FLAGS;
	return 0;
}
