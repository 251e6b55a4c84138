//go:build guest

package oracle

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// On top of the kernel's own flowtable: the reference is a router whose kernel flowtable forwards, the other one has
// the datapath in front of it. Same bytes, and nearly all packets ours.
func TestRealFlowtable(t *testing.T) {
	testkit.Need(t, testkit.Flowtable)
	masquerade := nats()[1]
	for _, hook := range guestHooks() {
		t.Run(hook.String(), func(t *testing.T) {
			p := &pairOfBoxes{
				t: t, n: masquerade,
				ref: makeBox(t, setup{rules: masquerade.rules, flowtable: true}),
				dut: makeBox(t, setup{hook: hook, rules: masquerade.rules, flowtable: true}),
			}
			for _, proto := range []uint8{packet.TCP, packet.UDP} {
				for _, six := range []bool{false, true} {
					p.compareFlow(proto, six)
				}
			}
		})
	}
}

// guestHooks are those that this guest's kernel can have on veth.
func guestHooks() []datapath.Hook { return []datapath.Hook{datapath.HookTC, datapath.HookXDP} }

// What ends a flow of the kernel's flowtable ends ours within the lease. A drop rule does not: the flowtable forwards
// the renewals past it.
func TestRealFlowtableChange(t *testing.T) {
	testkit.Need(t, testkit.Flowtable)
	ends := map[string]bool{"ruleset flushed, policy drop": true, "route moved": true, "device down": true}
	for _, c := range changes() {
		if !ends[c.name] {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			b := makeBox(t, setup{
				hook: datapath.HookTC, flowtable: true, cfg: datapath.Config{Due: due, Hard: hard}, prepare: secondUplink,
			})
			b.watchChange(c)
		})
	}
}
