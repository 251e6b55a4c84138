// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The few kernel types the programs read, with CO-RE relocations: the loader patches each offset for
 * the running kernel. Only the members used are named; the order here means nothing.
 * Sources: include/linux/skbuff.h, include/net/netfilter/nf_conntrack.h and nf_conntrack_extend.h.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CORE __attribute__((preserve_access_index))

struct sk_buff {
	unsigned long _nfct;
	unsigned char *head;
	__u8 ip_summed : 2;
	__u8 redirected : 1;
	__u8 cloned : 1;
	__u8 encapsulation : 1;
	__u8 active_extensions;
} CORE;

enum skb_ext_id { SKB_EXT_SEC_PATH = 1 }; /* the value is relocated */

/* include/linux/skbuff.h; an ABI between drivers and stack, stable */
#define CHECKSUM_COMPLETE 2
#define CHECKSUM_PARTIAL 3

/* struct nf_conntrack_tuple: 40 bytes, the same since Linux 2.6.21 (include/net/netfilter/nf_conntrack_tuple.h) */
struct ct_tuple {
	__be32 src[4];
	__be16 sport;
	__u16 l3num;
	__be32 dst[4];
	__be16 dport;
	__u8 proto;
	__u8 dir;
};

struct nf_conntrack_tuple {
	__u8 any;
} CORE;

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
} CORE;

struct ip_ct_tcp_state {
	__u8 flags;
} CORE;

struct ip_ct_tcp {
	struct ip_ct_tcp_state seen[2];
	__u8 state;
} CORE;

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
} CORE;

struct nf_conn_labels {
	unsigned long bits[2];
} CORE;

struct nf_conntrack_zone {
	__u16 id;
} CORE;

enum nf_ct_ext_id { NF_CT_EXT_HELPER = 0, NF_CT_EXT_LABELS = 7 }; /* values are relocated */

struct nf_ct_ext {
	__u8 offset[1];
} CORE;

struct nf_conn {
	struct nf_conntrack_zone zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	struct nf_ct_ext *ext;
	__u32 mark;
	union nf_conntrack_proto proto;
} CORE;

/* include/uapi/linux/netfilter/nf_conntrack_common.h */
#define IPS_SEEN_REPLY (1 << 1)
#define IPS_ASSURED (1 << 2)
#define IPS_CONFIRMED (1 << 3)
#define IPS_SEQ_ADJUST (1 << 6)
#define IPS_DYING (1 << 9)
#define IPS_NAT_CLASH (1 << 12)
#define IPS_OFFLOAD (1 << 14)
#define IP_CT_ESTABLISHED 0
#define IP_CT_ESTABLISHED_REPLY 3
#define NFCT_INFOMASK 7UL
/* include/uapi/linux/netfilter/nf_conntrack_tcp.h */
#define TCP_CONNTRACK_ESTABLISHED 3
#define IP_CT_TCP_FLAG_BE_LIBERAL 0x08

/* net/netfilter/nf_conntrack_bpf.c; 12 bytes are accepted on every kernel since 5.18, 16 only since 6.11 */
struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};
#define CT_OPTS_SIZE 12

struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *, struct bpf_sock_tuple *, __u32,
				  struct bpf_ct_opts *, __u32) __ksym;
struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *, struct bpf_sock_tuple *, __u32,
				  struct bpf_ct_opts *, __u32) __ksym;
void bpf_ct_release(struct nf_conn *) __ksym;

/* kernel/bpf/helpers.c, since 6.2: typed pointers whose members are loaded without a helper. Absent on 6.1. */
void *bpf_cast_to_kern_ctx(void *) __ksym __weak;
void *bpf_rdonly_cast(const void *, __u32)
__ksym __weak;
