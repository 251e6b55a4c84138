package why

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// Nothing is what is known where no flow matches a pattern.
type Nothing struct {
	Pattern  Pattern
	Tracked  uint32   // connections in conntrack's table
	Notracks []string // rules that keep packets from conntrack: "inet raw prerouting handle 3"
}

// ExplainNothing says that there is no such flow, and what may be the cause.
func (m Machine) ExplainNothing(n Nothing) Answer {
	a := Answer{
		Subject: fmt.Sprintf("flow %s", n.Pattern), Stage: NotTracked, Reason: reason.FlowUntracked.Code(), Evidence: []Line{}, Advice: []string{},
		Sentence: "No flow matches: conntrack has no such entry here, and the datapath has seen none lately, so it has ended, was never forwarded, or passes another network namespace.",
	}
	say := func(what, format string, args ...any) {
		a.Evidence = append(a.Evidence, Line{what, fmt.Sprintf(format, args...)})
	}
	if n.Tracked == 0 {
		say("conntrack", "no entries at all: no rule of this namespace needs conntrack, or nothing was forwarded")
	} else {
		say("conntrack", "%d entries, none of them matches", n.Tracked)
	}
	for _, r := range n.Notracks {
		say("notrack", "rule %s keeps packets from conntrack", r)
	}
	if !m.hands() {
		a.Stage, a.Reason = NoFlowAdd, reason.FlowNoRule.Code()
		a.Sentence = "No flow matches, and none could be carried: the ruleset has no `flow add` rule, so no flow is ever handed over; `nft-offload enable` adds one without editing it."
		a.Advice = append(a.Advice, m.enable("", ""))
	}
	for _, u := range m.Unseen {
		say("not seen", "%s", u)
	}
	a.Advice = append(a.Advice, "ask while packets pass; in another network namespace with --netns NAME; addresses may be those of either side of NAT")
	return a
}
