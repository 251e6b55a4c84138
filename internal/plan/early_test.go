package plan

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// GRO joins segments whatever their urgent pointers are (net/ipv4/tcp_offload.c tcp_gro_receive).
func TestUrgentPointerIsReadAtTCAndNotAtXDP(t *testing.T) {
	for name, left := range map[string]ruleset.Expr{
		"by name": ruleset.Payload{Proto: "tcp", Field: "urgptr"},
		"raw":     ruleset.RawPayload{Base: "th", Offset: 144, Len: 16},
	} {
		for hook, want := range map[string]Tier{"xdp": Software, "tc": TC} {
			rs := oneChain(ruleset.Match{Op: "==", Left: left, Right: ruleset.Num(1)}, ruleset.Verdict{Kind: ruleset.Drop})
			p := Make(rs, pair(t, "ixgbe"), Options{NoHardware: true, Hooks: map[string]string{"eth0": hook}})
			if e := p.judged[0].entries[0]; e.tier() != want {
				t.Errorf("%s at %s: %s, want %s: %+v", name, hook, e.tier(), want, e.early)
			}
		}
	}
}
