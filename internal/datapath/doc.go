// Package datapath loads and keeps the eBPF programs and their maps: pins, links, settings, entries, counters.
//
// A packet enters in bpf/nfo.bpf.c, which tells its journey; this package never sees packets. It knows nothing of
// rulesets: which devices, hooks and labels is its caller's decision. Time is CLOCK_MONOTONIC throughout.
package datapath
