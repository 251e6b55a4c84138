package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// traced is one packet and what becomes of it, in each way that the facts allow.
type traced struct {
	Packet string `json:"packet"`
	Ways   []way  `json:"ways"`
}

// way is what becomes of a packet, provided that some statements end as assumed.
type way struct {
	Assuming []assumption `json:"assuming"`
	Verdict  eval.Outcome `json:"verdict"`
	Why      string       `json:"why,omitempty"`
	Tier     string       `json:"tier"` // that decides
	Chains   []met        `json:"chains"`
	Missing  []string     `json:"missing,omitempty"` // facts
	Offload  []offloaded  `json:"offload,omitempty"`
	Notes    []string     `json:"notes,omitempty"` // what was done besides

	ask string // how to say what is missing
}

// assumption is a statement whose facts are not known, and how it is taken to end.
type assumption struct {
	What    string `json:"what"`
	Place   string `json:"place"`
	Matches bool   `json:"matches"`

	at eval.Place
}

func (a assumption) String() string {
	if a.Matches {
		return fmt.Sprintf("%s matches (%s)", a.What, a.Place)
	}
	return fmt.Sprintf("%s does not match (%s)", a.What, a.Place)
}

// met is a base chain that a packet met, and its rules.
type met struct {
	Chain   string       `json:"chain"` // "inet filter forward"
	Hook    eval.Hook    `json:"hook"`
	Verdict eval.Outcome `json:"verdict"`
	Policy  bool         `json:"by_policy"`
	Rules   []metRule    `json:"rules"`
}

type metRule struct {
	Chain   string `json:"chain"`
	Number  int    `json:"number"`
	Handle  int    `json:"handle,omitempty"`
	Text    string `json:"text"`
	Depth   int    `json:"depth"`
	Matched bool   `json:"matched"`
	// Reached is how many of its statements were carried out.
	Reached int    `json:"reached"`
	Verdict string `json:"verdict,omitempty"`
	Tier    string `json:"tier"`
}

// tierOf says where a rule is decided.
type tierOf func(*ruleset.Rule) string

// tracer is what is the same for all packets.
type tracer struct {
	rs      *ruleset.Ruleset
	tiers   tierOf
	machine caps.Machine // empty: not known
}

// tracer makes the plan that says where rules are decided. Without --caps, a machine that cannot be read has no tier but
// software.
func (e *env) tracer(rs *ruleset.Ruleset, o traceOptions) (tracer, error) {
	software := func(*ruleset.Rule) string { return plan.Software.String() }
	m, err := e.machineFor(o.caps, rs)
	if err != nil {
		if o.caps != "" {
			return tracer{}, err
		}
		return tracer{rs: rs, tiers: software}, nil
	}
	tiers := map[plan.Ref]string{}
	for _, c := range plan.Make(rs, m, plan.Options{}).Chains {
		for _, r := range c.Rules {
			tiers[plan.Ref{Family: c.Family, Table: c.Table, Chain: c.Name, Number: r.Number}] = tierOn(r.At, o.dev)
		}
	}
	return tracer{rs: rs, machine: m, tiers: func(r *ruleset.Rule) string {
		if t, ok := tiers[plan.Ref{Family: r.Family, Table: r.Table, Chain: r.Chain, Number: r.Index + 1}]; ok {
			return t
		}
		return software(r)
	}}, nil
}

// tierOn is the tier of a rule on a device.
func tierOn(at []plan.Placement, dev string) string {
	for _, p := range at {
		if len(p.Devices) == 0 || slices.Contains(p.Devices, dev) {
			return p.Tier.String()
		}
	}
	return plan.Software.String()
}

// maxWays bounds how many ways are shown of one packet: each statement of unknown end doubles them.
const maxWays = 16

// ways evaluates a packet. Where a statement's end is not known it goes both ways.
func (t tracer) ways(p eval.Packet) []way {
	var out []way
	todo := [][]assumption{nil}
	for len(todo) > 0 {
		assuming := todo[0]
		todo = todo[1:]
		e := eval.New(t.rs, nil)
		for _, a := range assuming {
			e.Assume(a.at, a.Matches)
		}
		res := e.Run(p)
		if m, ok := fork(res); ok && len(out)+len(todo)+2 <= maxWays && !assumed(assuming, m.Place) {
			for _, matches := range []bool{true, false} {
				a := assumption{What: m.What, Place: m.Place.String(), Matches: matches, at: m.Place}
				todo = append(todo, append(slices.Clip(assuming), a))
			}
			continue
		}
		w := wayOf(res, assuming, t.tiers)
		w.Offload = t.offloads(p, res)
		out = append(out, w)
	}
	return out
}

// fork returns the missing fact that stopped an evaluation, if a statement needed it.
func fork(res eval.Result) (eval.Missing, bool) {
	if res.Outcome != eval.Unknown || len(res.Missing) == 0 {
		return eval.Missing{}, false
	}
	m := res.Missing[len(res.Missing)-1]
	// What connection tracking knows is for the user to say.
	return m, m.Place != eval.Place{} && m.Kind != eval.FactConntrack
}

// hint says how the user can give a fact.
func hint(m eval.Missing) string {
	switch {
	case m.Kind == eval.FactConntrack:
		return "say it with --ct, as in --ct state=new"
	case m.Kind == eval.FactRouting && m.Place == eval.Place{}:
		return "say it with --local or --out DEVICE"
	}
	return ""
}

func assumed(as []assumption, at eval.Place) bool {
	return slices.ContainsFunc(as, func(a assumption) bool { return a.at == at })
}

func wayOf(res eval.Result, assuming []assumption, tiers tierOf) way {
	w := way{Assuming: append([]assumption{}, assuming...), Verdict: res.Outcome, Why: res.Why, Tier: plan.Software.String(), Chains: []met{}}
	for _, m := range res.Missing {
		w.Missing = append(w.Missing, m.What)
		w.ask = hint(m)
	}
	for _, n := range res.Notes {
		w.Notes = append(w.Notes, n.Text)
	}
	for _, a := range assuming {
		w.Missing = append(w.Missing, a.What)
	}
	steps := res.Steps
	for _, c := range res.Chains {
		m := met{
			Chain: strings.Join([]string{string(c.Chain.Family), c.Chain.Table, c.Chain.Name}, " "), Hook: c.Hook, Verdict: c.Outcome,
			Policy: c.Policy, Rules: []metRule{},
		}
		for range c.Steps {
			m.Rules = append(m.Rules, ruleOf(steps[0], tiers))
			steps = steps[1:]
		}
		if n := len(m.Rules); n > 0 && !c.Policy {
			w.Tier = m.Rules[n-1].Tier
		}
		w.Chains = append(w.Chains, m)
	}
	return w
}

func ruleOf(s eval.Step, tiers tierOf) metRule {
	return metRule{
		Chain: s.Rule.Chain, Number: s.Rule.Index + 1, Handle: s.Rule.Handle, Text: s.Rule.String(), Depth: s.Depth, Matched: s.Matched,
		Reached: s.Reached, Verdict: s.Verdict, Tier: tiers(s.Rule),
	}
}

// printTrace prints one packet.
func (e *env) printTrace(t traced) {
	wrap(e.stdout, "packet: ", t.Packet, e.width())
	for _, w := range t.Ways {
		fmt.Fprintln(e.stdout)
		for _, a := range w.Assuming {
			wrap(e.stdout, "if ", a.String(), e.width())
		}
		for _, c := range w.Chains {
			e.printMet(c)
		}
		line := fmt.Sprintf("%s, decided in %s", w.Verdict, w.Tier)
		if w.Verdict == eval.Unknown || w.Verdict == eval.Lost {
			line = fmt.Sprintf("%s: %s", w.Verdict, w.Why)
		}
		if w.ask != "" {
			line += "; " + w.ask
		}
		for _, n := range w.Notes {
			wrap(e.stdout, "done: ", n, e.width())
		}
		for _, o := range w.Offload {
			for _, line := range o.lines() {
				wrap(e.stdout, "offload: ", line, e.width())
			}
		}
		wrap(e.stdout, "verdict: ", line, e.width())
	}
}

func (e *env) printMet(c met) {
	end := string(c.Verdict)
	if c.Policy {
		end += " by policy"
	}
	wrap(e.stdout, "  ", fmt.Sprintf("%s (%s): %s", c.Chain, c.Hook, end), e.width())
	for _, r := range c.Rules {
		what := "no match"
		switch {
		case r.Verdict != "":
			what = r.Verdict
		case r.Matched:
			what = "match"
		}
		if r.Matched {
			what = e.good(what)
		}
		indent := strings.Repeat("  ", 2+r.Depth)
		wrap(e.stdout, indent+fmt.Sprintf("%s rule %d ", r.Chain, r.Number), fmt.Sprintf("%s => %s, %s", r.Text, what, r.Tier), e.width())
	}
}
