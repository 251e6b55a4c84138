// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the observer reads of a conntrack entry. Every way of reading is safe on an entry that is freed meanwhile; the
 * values are checked against the packet afterwards. Loads through typed pointers come first, because a helper call a
 * member would be most of what a new connection pays; 6.1 has only the helper.
 */
#pragma once

#include "parse.h"

struct ct_view {
	__u8 raw[320]; /* struct nf_conn as it is on this kernel: about 250 bytes */
	struct ct_tuple orig, reply;
	__u64 address;
	__u64 status;
	__u64 labels[2];
	__u32 mark;
	__u8 tcp_flags; /* those set in both directions */
	__u8 helper;
	__u8 reply_dir; /* the packet's direction: 1 reply */
};

/* A member of the copy. The offset is a constant by the time the verifier looks. */
#define ct_member(v, type, field) \
	(*(type *)((v)->raw + bpf_core_field_offset(struct nf_conn, field)))

/* sk_buff::_nfct: address of the conntrack entry and, in the low bits, what this packet is to it. */
static __always_inline unsigned long skb_nfct(struct __sk_buff *skb)
{
	unsigned long nfct = 0;

	if (bpf_cast_to_kern_ctx) {
		struct sk_buff *sk = bpf_cast_to_kern_ctx(skb);

		return sk->_nfct;
	}
	bpf_probe_read_kernel(&nfct, sizeof(nfct),
			      (void *)skb + bpf_core_field_offset(struct sk_buff, _nfct));
	return nfct;
}

/* The extensions of an entry, loaded directly. */
static __always_inline void ct_extensions_cast(struct ct_view *v, struct nf_conn *ct)
{
	struct nf_ct_ext *ext = ct->ext;
	const __u8 *offset = (const __u8 *)ext;
	__u8 labels;

	if (!ext)
		return;
	v->helper = offset[bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_HELPER)] != 0;
	if (!bpf_core_enum_value_exists(enum nf_ct_ext_id, NF_CT_EXT_LABELS) ||
	    !bpf_core_type_exists(struct nf_conn_labels))
		return;
	labels = offset[bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_LABELS)];
	if (labels) {
		struct nf_conn_labels *l;

		l = bpf_rdonly_cast((void *)((__u64)ext + labels),
				    bpf_core_type_id_kernel(struct nf_conn_labels));
		v->labels[0] = l->bits[0];
		v->labels[1] = l->bits[1];
	}
}

static __always_inline void ct_extensions_probe(struct ct_view *v, void *ct)
{
	__u8 helper = 0, labels = 0;
	void *ext = 0;

	bpf_probe_read_kernel(&ext, sizeof(ext), ct + bpf_core_field_offset(struct nf_conn, ext));
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

/* What any use of the entry needs: 0, or why nothing can be learned from an entry in this state. */
static __always_inline int ct_look(struct ct_view *v, __u64 address)
{
	void *ct = (void *)(long)address;

	v->address = address;
	v->status = 0;
	v->helper = 0;
	v->mark = 0;
	v->labels[0] = 0;
	v->labels[1] = 0;
	if (bpf_rdonly_cast) {
		struct nf_conn *typed =
			bpf_rdonly_cast(ct, bpf_core_type_id_kernel(struct nf_conn));

		v->status = typed->status;
		if (bpf_core_field_exists(struct nf_conn, mark))
			v->mark = typed->mark;
		ct_extensions_cast(v, typed);
	} else {
		bpf_probe_read_kernel(&v->status, sizeof(v->status),
				      ct + bpf_core_field_offset(struct nf_conn, status));
		if (bpf_core_field_exists(struct nf_conn, mark))
			bpf_probe_read_kernel(&v->mark, sizeof(v->mark),
					      ct + bpf_core_field_offset(struct nf_conn, mark));
		ct_extensions_probe(v, ct);
	}
	if ((v->status & (IPS_CONFIRMED | IPS_DYING | IPS_SEQ_ADJUST | IPS_NAT_CLASH)) !=
	    IPS_CONFIRMED)
		return R_CT_STATE;
	return 0;
}

/* Copies the entry, and says whether it is one to learn from. */
static __always_inline int ct_details(struct ct_view *v)
{
	__u32 size = bpf_core_type_size(struct nf_conn);

	if (bpf_probe_read_kernel(v->raw, size < sizeof(v->raw) ? size : sizeof(v->raw),
				  (void *)(long)v->address))
		return R_CT_STATE;
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
