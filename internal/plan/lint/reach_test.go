package lint_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// TestNotReachedIsNeverReached: random rulesets with `flow add`, and packets of every class through package eval. What
// lint says is not reached, for any packet or for a protocol or a family, no packet reaches.
func TestNotReachedIsNeverReached(t *testing.T) {
	const seed, rulesets = 5, 4000
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var said, silent, reached int
	for i := range rulesets {
		rs := randomRuleset(rnd)
		met := offloads(rs)
		claims, explained := 0, false
		for _, f := range lint.Check(rs, caps.Machine{}) {
			explained = explained || f.Severity != lint.Note
			if f.Reason != reason.FlowAddNotReached && f.Reason != reason.FlowAddPartlyReached {
				continue
			}
			claims++
			for _, m := range met[f.Place.Chain+fmt.Sprint(f.Place.Handle)] {
				if f.Reason == reason.FlowAddNotReached || m.of(f.Detail) {
					t.Fatalf("ruleset %d: lint says %q of handle %d, and %s reaches it:\n%s", i, f.Detail, f.Place.Handle, m.what, rs)
				}
			}
		}
		said += claims
		if len(met) > 0 {
			reached++
		} else if !explained {
			silent++
		}
	}
	t.Logf("%d rulesets: %d findings, %d offload something, %d offload nothing and have no finding that says so", rulesets, said, reached, silent)
	if said < rulesets/20 || reached < rulesets/20 {
		t.Errorf("the test proves little: %d findings, %d rulesets that offload", said, reached)
	}
}

// meeting is a packet that made `flow add` add its flow.
type meeting struct {
	what        string
	proto       string // "TCP", "UDP"
	family      string // "IPv4", "IPv6"
	established bool
}

// of reports whether a finding about a part of the packets is about this one.
func (m meeting) of(detail string) bool {
	switch {
	case strings.Contains(detail, "first for all packets of established flows"), strings.Contains(detail, "no packet of an established flow"):
		return m.established
	case strings.Contains(detail, "first for "+m.proto+":"), strings.Contains(detail, "first for "+m.family+":"):
		return m.established
	}
	return false
}

// offloads sends a packet of each class and returns those that were offloaded, by chain and handle of the rule.
func offloads(rs *ruleset.Ruleset) map[string][]meeting {
	met := map[string][]meeting{}
	e := eval.New(rs, nil)
	for _, proto := range []uint8{packet.TCP, packet.UDP} {
		for _, family := range []string{"IPv4", "IPv6"} {
			for _, devices := range [][2]string{{"eth0", "eth1"}, {"eth1", "eth0"}, {"eth2", "eth0"}, {"eth0", "eth2"}, {"wg0", "eth3"}} {
				for _, st := range []uint32{eval.StateEstablished, eval.StateNew, eval.StateRelated} {
					for _, reply := range []bool{false, true} {
						if st != eval.StateEstablished && (reply || proto == packet.TCP) {
							continue // an answer makes a connection established, and only such TCP is assured
						}
						one := meeting{proto: strings.ToUpper(packet.ProtoName(proto)), family: family, established: st == eval.StateEstablished}
						one.what = fmt.Sprintf("%s %s from %s to %s, state %d, reply %v", family, one.proto, devices[0], devices[1], st, reply)
						res := e.Run(forwarded(proto, family, devices, st, reply))
						for _, n := range res.Notes {
							if strings.HasPrefix(n.Text, "flow add") {
								k := n.Rule.Chain + fmt.Sprint(n.Rule.Handle)
								met[k] = append(met[k], one)
							}
						}
					}
				}
			}
		}
	}
	return met
}

// forwarded is a packet of port 80 to or from, with a conntrack entry as far as that lets flow add take it.
func forwarded(proto uint8, family string, devices [2]string, st uint32, reply bool) eval.Packet {
	tuple := packet.Tuple{Src: netip.MustParseAddrPort("10.0.0.2:1234"), Dst: netip.MustParseAddrPort("192.0.2.1:80"), Proto: proto}
	if family == "IPv6" {
		tuple.Src, tuple.Dst = netip.MustParseAddrPort("[2001:db8::2]:1234"), netip.MustParseAddrPort("[2001:db8:1::1]:80")
	}
	original := tuple
	if reply {
		tuple = tuple.Reverse()
	}
	answer := original.Reverse()
	status := uint32(1<<3 | 1<<2 | 1<<1) // CONFIRMED, ASSURED, SEEN_REPLY
	var mark uint32
	var zone uint16
	helper := ""
	return eval.Packet{
		Frame: packet.New(tuple, []byte("x")).Build(), Route: eval.RouteForward, NoSocket: true,
		In: &eval.Device{Name: devices[0]}, Out: &eval.Device{Name: devices[1]},
		CT: &eval.Conntrack{State: st, Status: &status, Mark: &mark, Reply: &reply, Original: &original, Answer: &answer, Zone: &zone, Helper: &helper},
	}
}

// randomRuleset makes a forward chain, some chains that it may lead to, and now and then a table that comes first.
func randomRuleset(rnd *rand.Rand) *ruleset.Ruleset {
	t := &ruleset.Table{Family: ruleset.Inet, Name: "t"}
	t.Flowtables = []*ruleset.Flowtable{{Family: ruleset.Inet, Table: "t", Name: "f1", Hook: "ingress", Devices: []string{"eth0", "eth1"}}}
	names := []string{"forward", "a", "b", "c"}
	for i, name := range names {
		c := &ruleset.Chain{Family: ruleset.Inet, Table: "t", Name: name, Handle: i + 1}
		if i == 0 {
			c.Base = &ruleset.Base{Type: "filter", Hook: "forward", Policy: pick(rnd, "accept", "drop")}
		}
		for range 1 + rnd.IntN(5) {
			addRule(c, randomRule(rnd, names[i+1:]))
		}
		t.Chains = append(t.Chains, c)
	}
	at := t.Chains[pick(rnd, 0, 0, 0, 1, 2)]
	at.Rules = slices.Insert(at.Rules, rnd.IntN(len(at.Rules)+1), &ruleset.Rule{Stmts: append(randomMatches(rnd), ruleset.FlowAdd{Op: "add", Flowtable: "f1"})})
	rs := &ruleset.Ruleset{Tables: []*ruleset.Table{t}}
	if rnd.IntN(3) == 0 {
		first := &ruleset.Table{Family: pick(rnd, ruleset.Inet, ruleset.IP), Name: "first"}
		c := &ruleset.Chain{Family: first.Family, Table: "first", Name: "forward", Base: &ruleset.Base{
			Type: "filter", Hook: "forward", Priority: -10, Policy: pick(rnd, "accept", "accept", "drop"),
		}}
		for range 1 + rnd.IntN(3) {
			addRule(c, randomRule(rnd, nil))
		}
		first.Chains = []*ruleset.Chain{c}
		rs.Tables = append(rs.Tables, first)
	}
	handle := 10
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for i, r := range c.Rules {
				handle++
				r.Family, r.Table, r.Chain, r.Handle, r.Index = c.Family, c.Table, c.Name, handle, i
			}
		}
	}
	return rs
}

func addRule(c *ruleset.Chain, stmts []ruleset.Stmt) {
	c.Rules = append(c.Rules, &ruleset.Rule{Stmts: stmts})
}

func pick[T any](rnd *rand.Rand, from ...T) T { return from[rnd.IntN(len(from))] }

// randomRule is some matches and a verdict, or a verdict map.
func randomRule(rnd *rand.Rand, targets []string) []ruleset.Stmt {
	verdict := func() ruleset.Verdict {
		kinds := []ruleset.VerdictKind{ruleset.Accept, ruleset.Accept, ruleset.Drop, ruleset.Return, ruleset.Continue}
		if len(targets) > 0 {
			kinds = append(kinds, ruleset.Jump, ruleset.Jump, ruleset.Goto)
		}
		v := ruleset.Verdict{Kind: pick(rnd, kinds...)}
		if v.Kind == ruleset.Jump || v.Kind == ruleset.Goto {
			v.Target = pick(rnd, targets...)
		}
		return v
	}
	stmts := randomMatches(rnd)
	if rnd.IntN(3) == 0 {
		return append(stmts, randomMap(rnd, verdict))
	}
	return append(stmts, verdict())
}

func randomMap(rnd *rand.Rand, verdict func() ruleset.Verdict) ruleset.VMap {
	keys := pick(rnd,
		[]ruleset.Expr{ruleset.CT{Key: "state"}, ruleset.Str("established"), ruleset.Str("new"), ruleset.Str("related")},
		[]ruleset.Expr{ruleset.Meta{Key: "l4proto"}, ruleset.Str("tcp"), ruleset.Str("udp"), ruleset.Str("icmp")},
		[]ruleset.Expr{ruleset.Meta{Key: "iifname"}, ruleset.Str("eth0"), ruleset.Str("eth1"), ruleset.Str("wg0")},
		[]ruleset.Expr{
			ruleset.Concat{ruleset.Meta{Key: "iifname"}, ruleset.CT{Key: "state"}},
			ruleset.Concat{ruleset.Str("eth0"), ruleset.Str("established")},
			ruleset.Concat{ruleset.Str("eth1"), ruleset.Str("established")},
			ruleset.Concat{ruleset.Str("eth1"), ruleset.Str("new")},
		},
	)
	var pairs ruleset.SetLit
	for _, k := range keys[1 : 2+rnd.IntN(len(keys)-1)] {
		pairs = append(pairs, ruleset.Pair{Key: k, Data: verdict()})
	}
	return ruleset.VMap{Key: keys[0], Data: pairs}
}

func randomMatches(rnd *rand.Rand) []ruleset.Stmt {
	var out []ruleset.Stmt
	for range rnd.IntN(3) {
		out = append(out, randomMatch(rnd))
	}
	return out
}

// randomMatch is one of the matches that the analysis follows, or one that it does not.
func randomMatch(rnd *rand.Rand) ruleset.Match {
	op := pick(rnd, "==", "==", "!=")
	set := func(values ...string) ruleset.Expr {
		lit := ruleset.SetLit{}
		for _, v := range values {
			lit = append(lit, ruleset.Str(v))
		}
		return lit
	}
	switch rnd.IntN(10) {
	case 0, 1:
		return ruleset.Match{Op: "in", Left: ruleset.CT{Key: "state"}, Right: pick[ruleset.Expr](rnd,
			ruleset.Str("established"), ruleset.List{ruleset.Str("established"), ruleset.Str("related")}, ruleset.Str("new"))}
	case 2:
		return ruleset.Match{Op: op, Left: ruleset.CT{Key: "state"}, Right: pick(rnd, set("established", "related"), set("new"), set("invalid"))}
	case 3, 4:
		return ruleset.Match{Op: op, Left: ruleset.Meta{Key: "l4proto"}, Right: pick[ruleset.Expr](rnd, set("tcp", "udp"), ruleset.Str("tcp"), ruleset.Str("udp"), ruleset.Num(17))}
	case 5:
		return ruleset.Match{Op: op, Left: ruleset.Meta{Key: pick(rnd, "iifname", "oifname")}, Right: pick[ruleset.Expr](rnd,
			ruleset.Str("eth0"), ruleset.Str("eth1"), ruleset.Str("eth*"), set("eth0", "wg0"), set("eth0", "eth1", "eth2"))}
	case 6:
		return ruleset.Match{Op: op, Left: ruleset.Meta{Key: "nfproto"}, Right: pick[ruleset.Expr](rnd, ruleset.Str("ipv4"), ruleset.Str("ipv6"))}
	case 7:
		return ruleset.Match{Op: op, Left: ruleset.CT{Key: "direction"}, Right: pick[ruleset.Expr](rnd, ruleset.Str("original"), ruleset.Str("reply"))}
	case 8:
		return pick(rnd,
			ruleset.Match{Op: op, Left: ruleset.Payload{Proto: "ip", Field: "protocol"}, Right: ruleset.Str("tcp")},
			ruleset.Match{Op: op, Left: ruleset.Payload{Proto: "ip6", Field: "nexthdr"}, Right: ruleset.Str("udp")})
	default:
		return ruleset.Match{Op: op, Left: ruleset.Payload{Proto: pick(rnd, "tcp", "udp", "th"), Field: "dport"}, Right: pick[ruleset.Expr](rnd, ruleset.Num(80), ruleset.Num(22), ruleset.Range{From: ruleset.Num(0), To: ruleset.Num(65535)})}
	}
}
