package plan

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// A frame at the XDP hook of a conduit has the switch's tag, and the device that it came in by is a port to the kernel.
func TestRulesOfAConduitRunAtTCAndNotAtXDP(t *testing.T) {
	for name, change := range map[string]func(conduit, port *caps.Device){
		"by its role":     func(c, _ *caps.Device) { c.Switch.Role = caps.RoleConduit },
		"by its port":     func(_, p *caps.Device) { p.Switch = caps.Switch{Role: caps.RoleDSAPort, Conduit: "eth0"} },
		"by what it has":  func(c, p *caps.Device) { c.Uppers, p.Kind = []string{"eth1"}, "dsa" },
		"chosen all same": func(c, _ *caps.Device) { c.Switch.Role = caps.RoleConduit },
	} {
		m := pair(t, "ixgbe")
		change(&m.Devices[0], &m.Devices[1])
		o, want := Options{NoHardware: true}, TC
		if name == "chosen all same" {
			o.Hooks, want = map[string]string{"eth0": "xdp"}, Software
		}
		p := Make(oneChain(destination("192.0.2.1"), ruleset.Verdict{Kind: ruleset.Drop}), m, o)
		if e := p.judged[0].entries[0]; e.tier() != want || p.judged[0].on.xdp.Reason != reason.NoNativeXDP {
			t.Errorf("%s: %s, want %s: %+v", name, e.tier(), want, p.judged[0].on.xdp)
		}
	}
}
