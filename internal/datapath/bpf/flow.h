// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The state: what is in the maps, and who may write it.
 *
 *   flows4, flows6   one entry a direction. Inserted by the observer, never rewritten while it can be read:
 *                    only the lease, the length, the counters and the state change. Programs mark it dead;
 *                    the daemon deletes what has been dead for a second.
 *   adjs             where packets go and what they must look like on arrival. Written once by the observer,
 *                    recycled by the daemon after no entry has named it for seconds.
 *   notes            per CPU: what tc ingress saw of the packets that are inside the kernel now.
 *   control          one record the daemon writes: generation and limits.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC_COARSE unless they say ticks (nanoseconds >> TICK_SHIFT, 32 bits, wraps).
 */
#pragma once

#include "kernel.h"
#include "reasons.h"

#define NFO_TOKEN 0x6f666e31 /* skb->cb[0] of packets that we redirect at tc */
#define TICK_SHIFT 20        /* 1.05 ms */

enum hook { HOOK_TC = 1, HOOK_XDP = 2 };
enum state { STATE_LEARNED = 0, STATE_READY = 1, STATE_DEAD = 2 };

#define FLOW_NAT 1 /* addresses or ports change */
#define WORD(state, flags, tos) ((state) | (flags) << 8 | (__u32)((tos) & 0xfc) << 16)
#define WORD_STATE(w) ((w) & 0xff)
#define WORD_FLAGS(w) ((w) >> 8 & 0xff)
#define WORD_DSCP(w) ((w) >> 16)

/*
 * port: where the packet comes in, see port_of, and the IP protocol in the low byte. Sixteen bytes in all, so that the
 * value starts on a cache line of its own.
 */
struct key4 {
	__u32 port;
	__be32 saddr[1], daddr[1];
	__be16 sport, dport;
};

struct key6 {
	__u32 port;
	__be32 saddr[4], daddr[4];
	__be16 sport, dport;
};

/* The cache line every packet of a flow touches. */
struct hot {
	__u64 stamp;   /* when the packet of the last renewal arrived */
	__u64 packets; /* carried here */
	__u64 bytes;   /* of these, layer 3 */
	__u32 last;    /* ticks: last packet, either path */
	__u32 checked; /* ticks: last look at the conntrack entry */
	__u32 cookie;  /* mix of the key: tells a recycled element */
	__u32 adj;     /* index into adjs */
	__u32 word;    /* enum state | FLOW_* << 8 | DSCP (ECN bits zero) << 16 */
	__u16 tag;     /* of the adjacency */
	__u16 delta3; /* IPv4: header checksum delta, TTL included. IPv6: sum of the address changes */
	__u16 delta4; /* checksum delta of addresses and ports */
	__u16 max_len; /* longest layer 3 packet (GSO: segment) that the kernel forwarded within this lease */
	__be16 sport, dport; /* after translation */
};

/* What only learning, renewing and the daemon touch. */
struct cold {
	__u64 claim; /* when a packet last claimed the renewal */
	__u64 ct;    /* address of the conntrack entry; compared, never followed */
	__u64 born;
	__u64 died;
	__u32 slow;  /* packets of this direction that the kernel forwarded and we learned from */
	__u32 asked; /* ticks: the daemon was last asked for BE_LIBERAL */
	/* Packets that met the entry and went slow all the same; when and why the last one did. */
	__u64 missed, missed_at;
	__u32 missed_why;
	__u32 reserved;
};

struct flow4 {
	struct hot hot;
	__be32 saddr[1], daddr[1];
	struct cold cold;
};

struct flow6 {
	struct hot hot;
	__be32 saddr[4], daddr[4];
	struct cold cold;
};

/*
 * VLAN tags of a frame, in the payload or beside it: the outer one in the upper half, the inner one in the lower half,
 * each TPID << 16 | TCI, 0 for none. The TCI is compared whole: priority bits become skb->priority on the way in.
 */
#define TAG(tpid, tci) ((__u32)bpf_ntohs(tpid) << 16 | (__u16)(tci))
#define TAG_OUTER(tags) ((__u32)((tags) >> 32))
#define TAG_INNER(tags) ((__u32)(tags))

/* One cache line; few exist and they stay hot. A device without Ethernet header has zeros for MAC addresses. */
struct adj {
	__u64 in_tags, out_tags;
	__u32 in_ifindex;
	__u32 ifindex; /* egress; 0: free */
	__u32 mark, priority;
	__u8 in[12];  /* destination and source MAC on arrival */
	__u8 out[12]; /* the same as they leave */
	__u16 tag;    /* new with each use of the slot */
	__u8 hook;    /* enum hook: which program may carry it */
	__u8 bare;    /* leaves without Ethernet header */
	__u32 reserved;
};

struct adj_key {
	__u64 in_tags, out_tags;
	__u32 in_ifindex, ifindex, mark, priority;
	__u8 in[12], out[12];
	__u32 hook, bare;
};

struct settings {
	__u64 bump; /* generation: entries renewed at or before are due now, dead after soft */
	__u64 due, hard, soft;
	__u64 retry;  /* a claimed renewal that taught nothing is claimed again after this */
	__u64 prefer; /* how long a due lease waits for a packet that nothing can overtake */
	__u32 check;  /* ticks between looks at the conntrack entry */
	__u32 min_packets;
	__u32 mark; /* lowering by mark: the bit, else 0 */
	__u32 long_check;
	/*
	 * Until then a daemon watches, and bumps when anything changes: leases may be longer, so that renewals and
	 * looks at conntrack stay within a budget however many flows there are.
	 */
	__u64 alive;
	__u64 long_due, long_hard;
	__u32 known_mask; /* words of the map known, less one */
	__u32 holds;      /* slots of the map holds to look at */
};

struct device {
	__u64 labels[2]; /* conntrack label bits that make a flow eligible here */
	__u8 hook;
	__u8 xdp_target;
	__u8 flowtable;
	__u8 present; /* an array has all its elements */
	__u8 bare;    /* packets have no Ethernet header here */
	__u8 refused; /* no flow may go through here */
	__u8 under;   /* only flows that came in by a device above are meant */
	__u8 pad;
	__u32 stack; /* the same for devices that stand on one another */
	__u32 pad2;
};
#define LOW_DEVICES 1024 /* ifindexes below have their record in an array */

/*
 * A note is about one sk_buff: its address is the identity of the packet while it is inside the kernel, since
 * nobody else can have the same address before it is freed. The rest makes sure of it.
 */
struct note {
	__u64 skb;
	__u64 time;
	__u64 tags;
	__u32 ifindex;
	__u32 left; /* the packet has left once; a second time betrays duplication */
	__u32 print[4];
	__u8 macs[12];
	__u8 tos, ttl, proto, family;
	__be32 saddr[4], daddr[4];
	__be16 sport, dport;
	__u32 ticket; /* the tc_index that the packet went on with */
	__u32 ours;   /* it has that from us */
};
#define NOTES 64

/* Counters of too_short: whose, how often others have met it, and how many packets. */
#define SEEN 4096
#define SEEN_COUNT 0xff
#define SEEN_MET_ONCE 0x100
#define SEEN_MET 0x300
#define SEEN_HASH_SHIFT 10

struct counter {
	__u64 packets, bytes;
};

struct candidate {
	struct ct_tuple orig, reply;
};

#define MAP(name, kind, k, v, n, fl)                 \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_##kind);   \
		__type(key, k);                      \
		__type(value, v);                    \
		__uint(max_entries, n);              \
		__uint(map_flags, fl);               \
		__uint(pinning, LIBBPF_PIN_BY_NAME); \
	} name SEC(".maps")

MAP(flows4, HASH, struct key4, struct flow4, 131072, 0);
MAP(flows6, HASH, struct key6, struct flow6, 131072, 0);
MAP(adjs, ARRAY, __u32, struct adj, 4096, 0);
MAP(adj_ids, HASH, struct adj_key, __u32, 4096, 0);
MAP(notes, PERCPU_ARRAY, __u32, struct note, NOTES, 0);
MAP(short_flows, PERCPU_ARRAY, __u32, __u32, SEEN, 0);
MAP(control, ARRAY, __u32, struct settings, 1, 0);
MAP(low_devices, ARRAY, __u32, struct device, LOW_DEVICES, 0);
MAP(devices, HASH, __u32, struct device, 512, 0);
MAP(stats, PERCPU_ARRAY, __u32, struct counter, 2 * R_MAX, 0);

/*
 * One bit for many keys: clear where none of them is in the table, so that packets of new connections need no look there.
 * Set with every entry and renewal, cleared only by the daemon's sweep. A bit that gets lost on the way makes a flow slow
 * until its next observed packet. Two bits for every flow that fits.
 */
MAP(known, ARRAY, __u32, __u64, 4096, 0);

/* Free slots of adjs. Filled by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(key_size, 0);
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} adj_free SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} candidates SEC(".maps");

/* What a CPU keeps between programs. */
struct local {
	__u64 skb;     /* see note_slot */
	__u64 tickets; /* see take_ticket */
	__u64 jiffies, ns;
	__u64 clones[4]; /* where the bytes are of the last clones that left by bridge ports */
	__u32 refused;   /* ticks: the last sample in the map refused */
	__u32 passed;    /* and in the map passed */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct local);
	__uint(max_entries, 1);
} locals SEC(".maps");

/*
 * The coarse clock moves with jiffies, and those are an inlined load where the clock is a call that costs more than the
 * lookup of a flow. So the clock is read once a tick and CPU. May be late by two ticks, never early.
 */
static __always_inline __u64 now_ns(void)
{
	__u64 jiffies = bpf_jiffies64();
	__u32 zero = 0;
	struct local *l = bpf_map_lookup_elem(&locals, &zero);

	if (!l)
		return bpf_ktime_get_coarse_ns();
	if (l->jiffies != jiffies) {
		l->ns = bpf_ktime_get_coarse_ns();
		l->jiffies = jiffies;
	}
	return l->ns;
}

/* Never negative: what another CPU stamped may be a tick ahead of what this one has read. */
static __always_inline __u64 since(__u64 now, __u64 then)
{
	return now > then ? now - then : 0;
}

static __always_inline struct device *device_of(__u32 ifindex)
{
	struct device *d;

	if (ifindex >= LOW_DEVICES)
		return bpf_map_lookup_elem(&devices, &ifindex);
	d = bpf_map_lookup_elem(&low_devices, &ifindex);
	return d && d->present ? d : 0;
}

static __always_inline void count(enum hook hook, __u32 reason, __u32 packets, __u32 bytes)
{
	__u32 i = reason + (hook == HOOK_XDP ? R_MAX : 0);
	struct counter *c = bpf_map_lookup_elem(&stats, &i);

	if (c) {
		c->packets += packets;
		c->bytes += bytes;
	}
}

/*
 * The first word of a key. Tags are mixed in: two ports may get the same word, and the adjacency then tells them
 * apart. Without their priority bits, for those need not be the same in both directions of a flow.
 */
static __always_inline __u32 port_of(__u32 ifindex, __u64 tags, __u8 proto)
{
	__u32 outer = TAG_OUTER(tags) & 0xffff0fff, inner = TAG_INNER(tags) & 0xffff0fff;

	return (ifindex + outer * 0x9e3779b1 + inner * 0x85ebca6b) << 8 | proto;
}

static __always_inline __u32 cookie4(const struct key4 *k)
{
	return (k->saddr[0] * 0x9e3779b1 ^ k->daddr[0]) * 0x85ebca6b ^
	       ((__u32)k->sport << 16 | k->dport) ^ k->port;
}

static __always_inline __u32 cookie6(const struct key6 *k)
{
	__u32 a = k->saddr[0] ^ k->saddr[1] * 3 ^ k->saddr[2] * 5 ^ k->saddr[3] * 0x9e3779b1;
	__u32 b = k->daddr[0] ^ k->daddr[1] * 3 ^ k->daddr[2] * 5 ^ k->daddr[3] * 0x85ebca6b;

	return a * 0x9e3779b1 ^ b ^ ((__u32)k->sport << 16 | k->dport) ^ k->port;
}

/* The word of `known` for a key, and the bit. Two flows of one host may have cookies that differ in a few bits only. */
static __always_inline __u64 *known_word(const struct settings *ctl, __u32 cookie, __u64 *bit)
{
	__u32 mixed = (cookie ^ cookie >> 16) * 0x85ebca6b, i;

	mixed ^= mixed >> 13;
	i = mixed & ctl->known_mask;
	*bit = 1ULL << (mixed >> 26);
	return bpf_map_lookup_elem(&known, &i);
}

static __always_inline int may_be_known(const struct settings *ctl, __u32 cookie)
{
	__u64 bit, *word = known_word(ctl, cookie, &bit);

	return word && *word & bit;
}

static __always_inline void make_known(const struct settings *ctl, __u32 cookie)
{
	__u64 bit, *word = known_word(ctl, cookie, &bit);

	if (word && !(*word & bit))
		__sync_fetch_and_or(word, bit);
}
