package engine_test

import (
	"fmt"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
)

// A switch with many ports, all in one bridge, and a VLAN on it for each of many tenants: the daemon decides anew with
// every change of a device.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var links []engine.Link
			add := func(l engine.Link) {
				l.Ifindex = uint32(len(links) + 2)
				links = append(links, l)
			}
			var devices []string
			for i := range n {
				add(port(enginetest.NIC(fmt.Sprintf("p%d", i)), "br0"))
			}
			add(engine.Link{Name: "br0", Kind: "bridge", Ethernet: true, Filtering: true})
			for i := range n {
				add(vlan(fmt.Sprintf("v%d", i), "br0", uint16(i)))
				devices = append(devices, fmt.Sprintf("v%d", i))
			}
			v := engine.View{Ruleset: flowtable(devices...), Links: links}
			b.ReportAllocs()
			for b.Loop() {
				if ds, want := engine.Decide(v, nil); len(ds) != n || len(want.Devices) != 2*n {
					b.Fatalf("%d decisions, %d devices", len(ds), len(want.Devices))
				}
			}
		})
	}
}
