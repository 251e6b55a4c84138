// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the observer reads of a conntrack entry. By bpf_probe_read_kernel on every kernel: the same code from 6.1 on,
 * and safe on an entry that is freed meanwhile (the values are checked against the packet afterwards).
 */
#pragma once

#include "parse.h"

struct ct_view {
	__u64 address;
	__u64 status;
	struct ct_tuple orig, reply;
	__u64 labels[2];
	__u32 mark;
	__u16 zone;
	__u8 tcp_state, tcp_flags; /* flags: those set in both directions */
	__u8 helper;
	__u8 reply_dir; /* the packet's direction: 1 reply */
};

#define ct_read(dst, ct, field)                    \
	bpf_probe_read_kernel(dst, sizeof(*(dst)), \
			      (void *)(ct) + bpf_core_field_offset(struct nf_conn, field))

static __always_inline void ct_extensions(struct ct_view *v, void *ct)
{
	__u8 helper = 0, labels = 0;
	void *ext = 0;

	ct_read(&ext, ct, ext);
	if (!ext)
		return;
	bpf_probe_read_kernel(&helper, 1,
			      ext + bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_HELPER));
	v->helper = helper != 0;
	if (!bpf_core_enum_value_exists(enum nf_ct_ext_id, NF_CT_EXT_LABELS))
		return;
	bpf_probe_read_kernel(&labels, 1,
			      ext + bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_LABELS));
	if (labels)
		bpf_probe_read_kernel(v->labels, sizeof(v->labels), ext + labels);
}

/* 0, or why nothing can be learned from an entry in this state. */
static __always_inline int ct_state(struct ct_view *v, void *ct)
{
	v->address = (__u64)(long)ct;
	ct_read(&v->status, ct, status);
	if ((v->status & (IPS_CONFIRMED | IPS_DYING | IPS_SEQ_ADJUST | IPS_NAT_CLASH)) !=
	    IPS_CONFIRMED)
		return R_CT_STATE;
	return 0;
}

static __always_inline int ct_details(struct ct_view *v, void *ct)
{
	__u8 a = 0, b = 0;

	ct_read(&v->orig, ct, tuplehash[0].tuple);
	ct_read(&v->reply, ct, tuplehash[1].tuple);
	v->zone = 0;
	if (bpf_core_field_exists(struct nf_conn, zone))
		ct_read(&v->zone, ct, zone.id);
	if (v->zone)
		return R_ZONE; /* the same tuple may mean another flow in another zone */
	if (v->helper)
		return R_HELPER; /* a helper rewrites payload or expects connections */
	if (v->orig.proto == IPPROTO_UDP)
		return v->status & IPS_SEEN_REPLY ? 0 : R_NO_REPLY;
	if (v->orig.proto != IPPROTO_TCP)
		return R_NOT_TCP_UDP;
	ct_read(&v->tcp_state, ct, proto.tcp.state);
	if (v->tcp_state != TCP_CONNTRACK_ESTABLISHED || !(v->status & IPS_ASSURED))
		return R_TCP_STATE;
	ct_read(&a, ct, proto.tcp.seen[0].flags);
	ct_read(&b, ct, proto.tcp.seen[1].flags);
	v->tcp_flags = a & b;
	return 0;
}
