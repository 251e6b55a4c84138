// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Why a packet took the slow path, or taught nothing. The order is part of the pinned state; reason.go has the
 * same list with a reason of package reason each, and a test compares the two. New reasons go at the end.
 */
#pragma once

enum reason {
	R_FAST, /* forwarded here */

	/* what arrived */
	R_NOT_IP,
	R_ENCAP,
	R_NOT_TCP_UDP,
	R_MALFORMED,
	R_IP_OPTIONS,
	R_EXT_HEADER,
	R_FRAGMENT,
	R_TTL,
	R_IP_CHECKSUM,
	R_TCP_FLAGS,
	R_UDP_NO_CHECKSUM,
	R_PARTIAL_CHECKSUM,
	R_PADDING,

	/* what the table says */
	R_MISS,
	R_NOT_READY,
	R_DEAD,
	R_OTHER_HOOK,
	R_MAC,
	R_DSCP,
	R_TOO_LONG,
	R_RENEWAL,
	R_EXPIRED,
	R_GENERATION,
	R_CT_GONE,
	R_RECYCLED,

	/* what the observer says of a packet that the kernel forwarded */
	R_LEARNED,
	R_RENEWED,
	R_NO_NOTE,
	R_NOTE_OLD,
	R_ALTERED,
	R_COPIED,
	R_REDIRECTED,
	R_IPSEC,
	R_EGRESS_ENCAP,
	R_UNTRACKED,
	R_NOT_ADDED,
	R_CT_STATE,
	R_HELPER,
	R_ZONE,
	R_TUPLE_MISMATCH,
	R_TCP_STATE,
	R_NOT_LIBERAL,
	R_NO_REPLY,
	R_ONE_WAY,
	R_MIN_PACKETS,
	R_CONTRADICTION,
	R_TABLE_FULL,
	R_ADJACENCIES_FULL,
	R_UNKNOWN_DEVICE,
	R_DEVICE_REFUSED,
	R_HELD,
	R_NO_MEMORY,
	R_MAX,
};
