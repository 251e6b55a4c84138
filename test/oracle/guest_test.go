//go:build guest

package oracle

import (
	"fmt"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
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

// The kernel's flowtable takes a UDP flow that nobody has answered, where the rule does not ask for more. We do not: there
// is no other direction to be learned.
func TestUnansweredFlowOfTheFlowtableStaysTheKernels(t *testing.T) {
	testkit.Need(t, testkit.Flowtable)
	for _, hook := range guestHooks() {
		t.Run(hook.String(), func(t *testing.T) {
			b := makeBox(t, setup{hook: hook, flowtable: true, rules: "add rule inet handover forward udp dport 2001 flow add @f1\n"})
			tup := b.tuple(nats()[0], packet.UDP, false, 1)
			const n = 5
			for i := range n {
				b.one(client, packet.New(tup, []byte(fmt.Sprintf("datagram %d", i))))
			}
			// The first is new, the second adds the flow; the flowtable forwards the others.
			if got := b.count(reason.SeenNoReply); got != n-2 {
				t.Errorf("%d of %d packets counted as %s: %s", got, n-2, reason.SeenNoReply, b.reasons())
			}
			b.knowsNothing()
		})
	}
}

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
