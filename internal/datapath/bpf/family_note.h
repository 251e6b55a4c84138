// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A note about a packet of one family. A template: see family.h. */

static __always_inline void F(note)(struct __sk_buff *skb, const struct pkt *p,
				    const struct F(key) * k, const void *frame)
{
	struct note *n = note_slot(skb);

	if (!n)
		return;
	n->family = FAMILY;
	widen(n->saddr, k->saddr, WORDS(k->saddr));
	widen(n->daddr, k->daddr, WORDS(k->daddr));
	note_common(n, skb, p, frame);
}

/* A packet between two addresses that teaches nothing, for it has a header that is not read, or no ports. */
static __always_inline void F(strange)(struct __sk_buff *skb, const struct F(key) * k, __u32 reason)
{
	__u64 now = now_ns();
	struct refused_key r = { .in = skb->ifindex, .family = FAMILY, .reason = reason };

	if (!pass_due(now))
		return;
	copy_words(r.saddr, k->saddr, WORDS(k->saddr));
	copy_words(r.daddr, k->daddr, WORDS(k->daddr));
	sample(&passed, &r, now);
}
