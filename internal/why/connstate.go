package why

import (
	"cmp"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// refused rules out flows that `flow add` does not take, and flows that this program leaves to the kernel. Package
// contract decides; here is what to say about it.
func (m Machine) refused(f Flow) (verdict, bool) {
	k := m.facts(f)
	r := cmp.Or(k.Refused(), k.RefusedByUs())
	v := verdict{stage: State, reason: r.Code()}
	switch r {
	case reason.None:
		return verdict{}, false
	case reason.FlowNotForwarded:
		v = forwardedNot()
	case reason.FlowNoRule:
		v = m.handsNothing(f)
	case reason.FlowUntracked:
		v = untracked(f)
	case reason.FlowUnconfirmed:
		v.sentence = "its first packet has not left the machine"
	case reason.SeenNoReply:
		v.sentence, v.advice = "only one side has sent so far, and a UDP flow is carried once both have", advise(unanswered(f)...)
	case reason.FlowTCPNotEstablished:
		v.sentence, v.advice = fmt.Sprintf("the connection is not established: conntrack says %s", f.Conn.State), advise(unanswered(f)...)
	case reason.FlowTCPClosing:
		v.sentence = fmt.Sprintf("the connection is closing or closed: conntrack says %s", f.Conn.State)
	case reason.FlowTCPNotAssured:
		v.sentence, v.advice = "conntrack has not seen data acknowledged in both directions yet (the status bit assured is not set)", advise(unanswered(f)...)
	case reason.FlowDying:
		v.sentence = "conntrack is just removing the connection"
	default:
		return f.ofAKind(r), true
	}
	return v, true
}

// ofAKind is said of connections that no fast path takes, whatever they do.
func (f Flow) ofAKind(r reason.Reason) verdict {
	v := verdict{stage: Refused, reason: r.Code()}
	switch r {
	case reason.FlowProtocol:
		v.stage, v.sentence = State, fmt.Sprintf("it is %s, and only TCP and UDP are carried", protoName(f.Tuple.Proto))
		if f.Tuple.Proto == contract.GRE {
			v.sentence += " by nft-offload; the kernel's own flowtable takes GRE"
		}
	case reason.FlowHelper:
		v.sentence = fmt.Sprintf("the conntrack helper %s watches it, which has to see every packet", f.Conn.Helper)
		v.advice = advise("where the helper is not needed for this flow, take the flow out of the rule with `ct helper set`")
	case reason.FlowZone:
		v.sentence = fmt.Sprintf("it is in conntrack zone %d, where the same addresses and ports may mean another flow", f.Conn.Zone)
		v.advice = advise("take it out of the rule with `ct zone set`")
	case reason.FlowSeqAdjust:
		v.sentence = "conntrack adjusts its sequence numbers (synproxy, or a helper changed its payload)"
	case reason.FlowNATClash:
		v.sentence = "two connections got the same translation when their first packets met, and the kernel shares the entry"
	default: // of a protocol
		v.stage, v.sentence, v.advice = State, r.Info().Text, advise(r.Info().Advice())
	}
	return v
}

// unanswered is what to look at where one side is never heard.
func unanswered(f Flow) []string {
	if f.Conn.Bits.SeenReply {
		return []string{"if it stays so, some packets take another way: conntrack has to see both directions (asymmetric routing)"}
	}
	where := "this machine"
	if f.Out != "" {
		where = f.Out
	}
	return []string{fmt.Sprintf("if there are answers, they do not come through %s: conntrack has to see both directions (asymmetric routing; `tcpdump -ni any host %s`)", where, f.Conn.Reply.Src.Addr())}
}

// handedOver looks for the sign that a `flow add` rule has taken the flow.
func (m Machine) handedOver(f Flow) (verdict, bool) {
	if _, ok := m.taken(*f.Conn); ok {
		return verdict{}, false
	}
	v := verdict{stage: NotHandedOver, reason: reason.FlowNoRule.Code()}
	var met Meeting
	if m.Rules != nil {
		met = Meet(m.Rules, f)
	}
	switch met.How {
	case Decided:
		v.sentence = fmt.Sprintf("rule %s (`%s`) %ss its packets before they come to a rule with `flow add`", met.Rule, met.Text, met.Verdict)
		if met.Verdict == "accept" {
			v.advice = advise("put the rule with `flow add` before that one; it neither accepts nor drops, so nothing else changes")
		}
	case Reached:
		if m.quiet(f) {
			v.sentence = fmt.Sprintf("no packet of it came %s; the next one will come to a rule with `flow add`", m.meanwhile())
			v.stage, v.reason = Waiting, reasonNoPackets
			return v, true
		}
		return m.untaken(f, met), true
	case Unmatched:
		v.sentence = fmt.Sprintf("its packets do not match rule %s (`%s`)", met.Rule, met.Text)
		v.advice = advise("widen the rule if this flow is meant to be fast")
	case NotKnown:
		v.sentence = "no `flow add` rule has taken it: either its packets do not match one, or an earlier rule decides on them first"
		for _, a := range m.Adds {
			v.advice = append(v.advice, fmt.Sprintf("compare it with rule %s %s %s handle %d, and with the rules before it", a.Family, a.Table, a.Chain, a.Handle))
		}
		v.advice = append(v.advice, "an `accept` for established packets must come after `flow add`, not before it: `nft -a list ruleset`")
	}
	return v, true
}
