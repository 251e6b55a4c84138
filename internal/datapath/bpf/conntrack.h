// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the observer reads of a conntrack entry. By bpf_probe_read_kernel on every kernel: the same code from 6.1 on,
 * and safe on an entry that is freed meanwhile (the values are checked against the packet afterwards).
 */
#pragma once

#include "parse.h"

struct ct_view {
	__u8 raw[320]; /* struct nf_conn as it is on this kernel: about 250 bytes */
	struct ct_tuple orig, reply;
	__u64 address;
	__u64 status;
	__u64 labels[2];
	__u8 tcp_flags; /* those set in both directions */
	__u8 helper;
	__u8 reply_dir; /* the packet's direction: 1 reply */
};

/* A member of the copy. The offset is a constant by the time the verifier looks. */
#define ct_member(v, type, field) \
	(*(type *)((v)->raw + bpf_core_field_offset(struct nf_conn, field)))

/*
 * Copies the entry and looks at what any use of it needs. 0, or why nothing can be learned from an entry in this
 * state.
 */
static __always_inline int ct_load(struct ct_view *v, __u64 address)
{
	__u32 size = bpf_core_type_size(struct nf_conn);
	__u8 helper = 0, labels = 0;
	void *ext;

	v->address = address;
	v->helper = 0;
	v->labels[0] = 0;
	v->labels[1] = 0;
	if (bpf_probe_read_kernel(v->raw, size < sizeof(v->raw) ? size : sizeof(v->raw),
				  (void *)(long)address))
		return R_CT_STATE;
	v->status = ct_member(v, __u64, status);
	if ((v->status & (IPS_CONFIRMED | IPS_DYING | IPS_SEQ_ADJUST | IPS_NAT_CLASH)) !=
	    IPS_CONFIRMED)
		return R_CT_STATE;
	ext = ct_member(v, void *, ext);
	if (!ext)
		return 0;
	bpf_probe_read_kernel(&helper, 1,
			      ext + bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_HELPER));
	v->helper = helper != 0;
	if (!bpf_core_enum_value_exists(enum nf_ct_ext_id, NF_CT_EXT_LABELS))
		return 0;
	bpf_probe_read_kernel(&labels, 1,
			      ext + bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_LABELS));
	if (labels)
		bpf_probe_read_kernel(v->labels, sizeof(v->labels), ext + labels);
	return 0;
}

static __always_inline int ct_details(struct ct_view *v)
{
	__builtin_memcpy(&v->orig, &ct_member(v, struct ct_tuple, tuplehash[0].tuple),
			 sizeof(v->orig));
	__builtin_memcpy(&v->reply, &ct_member(v, struct ct_tuple, tuplehash[1].tuple),
			 sizeof(v->reply));
	if (bpf_core_field_exists(struct nf_conn, zone) && ct_member(v, __u16, zone.id))
		return R_ZONE; /* the same tuple may mean another flow in another zone */
	if (v->helper)
		return R_HELPER; /* a helper rewrites payload or expects connections */
	if (v->orig.proto == IPPROTO_UDP)
		return v->status & IPS_SEEN_REPLY ? 0 : R_NO_REPLY;
	if (v->orig.proto != IPPROTO_TCP)
		return R_NOT_TCP_UDP;
	if (ct_member(v, __u8, proto.tcp.state) != TCP_CONNTRACK_ESTABLISHED ||
	    !(v->status & IPS_ASSURED))
		return R_TCP_STATE;
	v->tcp_flags = ct_member(v, __u8, proto.tcp.seen[0].flags) &
		       ct_member(v, __u8, proto.tcp.seen[1].flags);
	return 0;
}
