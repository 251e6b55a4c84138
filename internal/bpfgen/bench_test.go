package bpfgen

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// BenchmarkPacket is the time for one frame, that of BPF_PROG_TEST_RUN included (about that of an empty share). The frame matches
// no rule but the last one, which drops it.
func BenchmarkPacket(b *testing.B) {
	frame := ether(0x800, v4{proto: 6}.packet(tcp(1000, 80, 2)))
	last := []share.Cond{
		is(whole(space.L3Proto()), 0x800), is(at(space.Network, 96, 32), 0x0a000001),
		is(whole(space.L4Proto()), 6), is(at(space.Transport, 16, 16), 80),
	}
	for _, hook := range []share.Hook{share.XDP, share.TC} {
		for _, n := range []int{0, 1, 10, 100, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", hook, n), func(b *testing.B) {
				s := addressAndPort(hook, n)
				if n > 0 {
					s.Entries[n-1].Conds = last
				}
				l := install(b, s, Options{})
				opts := &ebpf.RunOptions{Data: frame, Repeat: uint32(b.N)}
				b.ResetTimer()
				if _, err := l.progs[0].Run(opts); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkCompile is the time to make a program.
func BenchmarkCompile(b *testing.B) {
	for name, s := range map[string]share.Share{
		"of one shape": addressAndPort(share.XDP, 10000), "of no shape": odd(share.XDP, 10000), "of intervals": pairs(share.XDP, 10000),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Compile(s, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
