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
