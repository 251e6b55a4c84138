// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What is the same for IPv4 and IPv6 but for the width of an address is written once, in the files family_*.h, which
 * are included once with FAMILY 4 and once with 6. There F(key) is key4 or key6.
 */
#pragma once

#include "flow.h"

#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)
#define F(name) GLUE(name, FAMILY)

#define WORDS(address) (sizeof(address) / sizeof(__be32))

static __always_inline void copy_words(__be32 *to, const __be32 *from, int n)
{
	for (int i = 0; i < n; i++)
		to[i] = from[i];
}

static __always_inline int same_words(const __be32 *a, const __be32 *b, int n)
{
	__be32 differ = 0;

	for (int i = 0; i < n; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

/* An address in a field for either family: IPv4 in the first word, the others zero. */
static __always_inline void widen(__be32 *to, const __be32 *from, int n)
{
	for (int i = 0; i < 4; i++)
		to[i] = i < n ? from[i] : 0;
}
