package why

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// kind rules out connections that no fast path takes, whatever they do.
func (m Machine) kind(f Flow) (verdict, bool) {
	c := f.Conn
	v := verdict{stage: Refused}
	switch {
	case c.Orig.Proto != 6 && c.Orig.Proto != 17:
		v.stage, v.reason = State, reason.FlowProtocol.Code()
		v.sentence = fmt.Sprintf("it is %s, and only TCP and UDP are carried", protoName(c.Orig.Proto))
	case c.Helper != "":
		v.reason = reason.FlowHelper.Code()
		v.sentence = fmt.Sprintf("the conntrack helper %s watches it, which has to see every packet", c.Helper)
		v.advice = advise("where the helper is not needed for this flow, take the flow out of the rule with `ct helper set`")
	case c.Zone != 0:
		v.reason = reason.FlowZone.Code()
		v.sentence = fmt.Sprintf("it is in conntrack zone %d, where the same addresses and ports may mean another flow", c.Zone)
		v.advice = advise("take it out of the rule with `ct zone set`")
	case c.Bits.SeqAdjust:
		v.reason = reason.FlowSeqAdjust.Code()
		v.sentence = "conntrack adjusts its sequence numbers (synproxy, or a helper changed its payload)"
	case c.Bits.NATClash:
		v.reason = reason.FlowNATClash.Code()
		v.sentence = "two connections got the same translation when their first packets met, and the kernel shares the entry"
	case c.Bits.Dying:
		v.stage, v.reason = State, reason.FlowDying.Code()
		v.sentence = "conntrack is just removing the connection"
	default:
		return verdict{}, false
	}
	return v, true
}

// state rules out connections that have not come far enough, or have ended.
func (m Machine) state(f Flow) (verdict, bool) {
	c := f.Conn
	v := verdict{stage: State}
	switch {
	case !c.Bits.Confirmed:
		v.reason, v.sentence = reason.FlowUnconfirmed.Code(), "its first packet has not left the machine"
	case c.Orig.Proto == 17 && !c.Bits.SeenReply:
		v.reason, v.sentence = reason.SeenNoReply.Code(), "only one side has sent so far, and a UDP flow is carried once both have"
		v.advice = advise(unanswered(f)...)
	case c.Orig.Proto == 17:
		return verdict{}, false
	case c.State == "SYN_SENT" || c.State == "SYN_SENT2" || c.State == "SYN_RECV":
		v.reason, v.sentence = reason.FlowTCPNotEstablished.Code(), fmt.Sprintf("the connection is not established: conntrack says %s", c.State)
		v.advice = advise(unanswered(f)...)
	case c.State != "" && c.State != "ESTABLISHED":
		v.reason, v.sentence = reason.FlowTCPClosing.Code(), fmt.Sprintf("the connection is closing or closed: conntrack says %s", c.State)
	case !c.Bits.Assured:
		v.reason, v.sentence = reason.FlowTCPNotAssured.Code(), "conntrack has not seen data acknowledged in both directions yet (the status bit assured is not set)"
		v.advice = advise(unanswered(f)...)
	default:
		return verdict{}, false
	}
	return v, true
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
		v.sentence, v.advice = met.untaken()
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

// untaken is said of a flow that comes to a rule with `flow add` and has no sign of it.
func (m Meeting) untaken() (sentence string, advice []string) {
	if !m.Lowered {
		return fmt.Sprintf("its packets come to rule %s (`%s`), and the kernel has not taken it: there is no route back or no neighbor, the packets have IPv4 options, or memory is short", m.Rule, m.Text), nil
	}
	return "its packets come to a rule with `flow add`, but it gets no label: a connection that is older than the first rule that uses labels has no room for one",
		advise("let the connection begin anew; new ones get labels")
}
