// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A bridge that does not know the port of a destination sends clones to all but the last, one after the other on one CPU,
 * and then the packet itself (net/bridge/br_forward.c, br_flood): what leaves by the last port is not all there is.
 * Clones share the packet's bytes. The mark that a packet has been cloned is not enough to tell: a packet socket on the
 * bridge clones too, and hardly a router is without one (DHCP servers).
 */
#pragma once

#include "note.h"

enum floods {
	FLOODS_NOT = 0,
	FLOODS_SEEN = 1,   /* a bridge port, and this program runs on all the others */
	FLOODS_UNSEEN = 2, /* a bridge port; clones may leave where nobody looks */
};

/* Set when loading. */
const volatile __u32 floods;

/* 0: not cloned, else where the packet's bytes are. */
static __always_inline __u64 shared_bytes(struct __sk_buff *skb)
{
	unsigned char *head = 0;

	if (bpf_cast_to_kern_ctx) {
		struct sk_buff *sk = bpf_cast_to_kern_ctx(skb);

		return BPF_CORE_READ_BITFIELD(sk, cloned) ? (__u64)(long)sk->head : 0;
	}
	if (!BPF_CORE_READ_BITFIELD_PROBED((struct sk_buff *)skb, cloned))
		return 0;
	bpf_probe_read_kernel(&head, sizeof(head),
			      (void *)skb + bpf_core_field_offset(struct sk_buff, head));
	return (__u64)(long)head;
}

/*
 * A packet without a note leaves by a bridge port: it may be a clone of one with a note. A few are remembered, for the port may be
 * a tunnel whose packets leave by a bridge port, too, before the one with the note does.
 */
static __always_inline void see_clone(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct local *l = bpf_map_lookup_elem(&locals, &zero);
	__u64 bytes = shared_bytes(skb);

	if (!l || !bytes)
		return;
	l->clones[3] = l->clones[2];
	l->clones[2] = l->clones[1];
	l->clones[1] = l->clones[0];
	l->clones[0] = bytes;
}

/* Have clones of this noted packet left before it? */
static __always_inline int flooded(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct local *l = bpf_map_lookup_elem(&locals, &zero);
	__u64 bytes = shared_bytes(skb);

	if (!bytes)
		return 0;
	if (floods == FLOODS_UNSEEN || !l)
		return 1;
	return bytes == l->clones[0] || bytes == l->clones[1] || bytes == l->clones[2] ||
	       bytes == l->clones[3];
}
