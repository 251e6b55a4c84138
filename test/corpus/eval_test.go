package corpus

import (
	"net/netip"
	"testing"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// TestEveryPacketGetsAnOutcome sends packets of which little is known through every ruleset: what cannot be said is
// unknown, with the fact that is missing.
func TestEveryPacketGetsAnOutcome(t *testing.T) {
	seen := map[eval.Outcome]int{}
	each(t, func(t *testing.T, f file) {
		r := decode(t, f.json)
		complete(r, string(f.text))
		e := eval.New(r, nil)
		opaque := false
		for _, p := range packets() {
			res := e.Run(p)
			seen[res.Outcome]++
			switch res.Outcome {
			case eval.Unknown:
				if len(res.Missing) == 0 && res.Why == "" {
					t.Errorf("% x by route %d: unknown for no reason", p.Frame, p.Route)
				}
			case eval.Accepted, eval.Dropped, eval.Queued, eval.Stolen, eval.Lost:
			default:
				t.Errorf("% x by route %d: outcome %q", p.Frame, p.Route, res.Outcome)
			}
			for _, m := range res.Missing {
				opaque = opaque || m.Kind == eval.FactOpaque
				if m.What == "" {
					t.Errorf("%s: a missing fact without a name", m.Place)
				}
			}
		}
		if opaque && !foreign(f) {
			t.Error("a statement is opaque, and none is of iptables")
		}
	})
	for _, o := range []eval.Outcome{eval.Unknown, eval.Accepted, eval.Dropped} {
		if seen[o] == 0 {
			t.Errorf("no packet was %s, of %v", o, seen)
		}
	}
}

// packets are frames of several kinds on all routes, new, established and without a word about connection tracking.
func packets() []eval.Packet {
	var out []eval.Packet
	lan, wan := &eval.Device{Name: "eth1"}, &eval.Device{Name: "eth0"}
	none, reply := uint32(0), false
	for _, a := range [][2]string{{"192.168.1.7", "10.0.10.80"}, {"10.66.1.1", "172.17.0.2"}, {"fd00:10::7", "fd00:88::5"}} {
		for _, proto := range []uint8{packet.TCP, packet.UDP, 1} {
			for _, port := range []uint16{22, 53, 80, 40000} {
				tuple := packet.Tuple{
					Src:   netip.AddrPortFrom(netip.MustParseAddr(a[0]), 40001),
					Dst:   netip.AddrPortFrom(netip.MustParseAddr(a[1]), port),
					Proto: proto,
				}
				s := packet.New(tuple, make([]byte, 20))
				s.Flags = packet.SYN
				back := packet.Tuple{Src: tuple.Dst, Dst: tuple.Src, Proto: proto}
				for route := eval.RouteUnknown; route <= eval.RouteIngress; route++ {
					for _, state := range []uint32{0, eval.StateNew, eval.StateEstablished, eval.StateInvalid} {
						p := eval.Packet{Frame: s.Build(), In: lan, Out: wan, Route: route, NoSocket: true}
						if state != 0 {
							p.CT = &eval.Conntrack{State: state, Status: &none, Mark: &none, Reply: &reply, Original: &tuple, Answer: &back}
						}
						out = append(out, p)
					}
				}
			}
		}
	}
	return out
}
