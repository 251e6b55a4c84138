package why

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// ParseRule reads the name of a rule, as nft(8) writes it: inet filter forward handle 12.
func ParseRule(words []string) (plan.Ref, error) {
	bad := fmt.Errorf("rule %q: write FAMILY TABLE CHAIN handle NUMBER, as `nft -a list ruleset` has them", strings.Join(words, " "))
	if len(words) != 5 || words[3] != "handle" {
		return plan.Ref{}, bad
	}
	n, err := strconv.Atoi(words[4])
	if err != nil || n <= 0 {
		return plan.Ref{}, bad
	}
	r := plan.Ref{Family: ruleset.Family(words[0]), Table: words[1], Chain: words[2], Handle: n}
	switch r.Family {
	case ruleset.IP, ruleset.IP6, ruleset.Inet, ruleset.ARP, ruleset.Bridge, ruleset.Netdev:
		return r, nil
	}
	return plan.Ref{}, bad
}

// FindRule returns a rule of a ruleset, or says what of it there is.
func FindRule(rs *ruleset.Ruleset, ref plan.Ref) (*ruleset.Rule, error) {
	t := rs.Table(ref.Family, ref.Table)
	if t == nil {
		return nil, fmt.Errorf("there is no table %s %s", ref.Family, ref.Table)
	}
	c := t.Chain(ref.Chain)
	if c == nil {
		return nil, fmt.Errorf("table %s %s has no chain %s", ref.Family, ref.Table, ref.Chain)
	}
	for _, r := range c.Rules {
		if r.Handle == ref.Handle {
			return r, nil
		}
	}
	return nil, fmt.Errorf("chain %s %s %s has no rule with handle %d; see `nft -a list chain %s %s %s`", ref.Family, ref.Table, ref.Chain, ref.Handle, ref.Family, ref.Table, ref.Chain)
}

// RuleFacts is what is known of a rule.
type RuleFacts struct {
	Ref           plan.Ref
	Before, After *ruleset.Rule // at the two looks
	// Written is the ruleset as it was written, see Raise; Plan and Findings are about that one.
	Written  *ruleset.Ruleset
	Plan     *plan.Plan
	Findings []lint.Finding
	Period   time.Duration
}

// ExplainRule says where a rule runs or can run, what is found about it, and what it counted.
func ExplainRule(f RuleFacts) Answer {
	a := Answer{Subject: "rule " + f.Ref.String(), Stage: RuleTier, Evidence: []Line{}, Advice: []string{}}
	say := func(what, format string, args ...any) {
		a.Evidence = append(a.Evidence, Line{what, fmt.Sprintf(format, args...)})
	}
	planned := f.planned()
	text := f.After
	if written, err := FindRule(f.Written, f.Ref); err == nil {
		text = written
	}
	say("rule", "%s", ruleText(text))
	a.Sentence = upper(f.tier(planned, &a)) + "."
	if planned != nil {
		for _, p := range planned.At {
			say("tier", "%s", placement(p))
		}
		if planned.Kernel != nil && !planned.Kernel.None() {
			say("kernel", "its own `flags offload` would refuse the rule: %s", planned.Kernel.Sentence())
		}
	}
	found := f.found()
	for _, l := range found {
		say(l.Severity.String(), "[%s] %s", l.Reason.Code(), l.Detail)
		if l.Instead != "" {
			a.Advice = append(a.Advice, l.Instead)
		}
	}
	if len(found) > 0 && found[0].Severity == lint.Error {
		a.Good, a.Reason = false, found[0].Reason.Code()
		a.Sentence = upper(strings.TrimSuffix(found[0].Detail, ".")) + "."
	}
	say("counter", "%s", f.counted())
	return a
}

// planned is the rule in the plan; nil where the plan leaves its chain out.
func (f RuleFacts) planned() *plan.Rule {
	for _, c := range f.Plan.Chains {
		if c.Family != f.Ref.Family || c.Table != f.Ref.Table || c.Name != f.Ref.Chain {
			continue
		}
		for _, r := range c.Rules {
			if r.Handle == f.Ref.Handle {
				return r
			}
		}
	}
	return nil
}

// tier is the sentence about where the rule can run, from the fastest place it has.
func (f RuleFacts) tier(r *plan.Rule, a *Answer) string {
	if hands(f.After) {
		a.Stage = NotHandedOver
		a.Good = true
		return "it hands flows over to the fast path, and runs in nftables itself, once for a flow"
	}
	if r == nil && (ours(f.Ref.Chain) || strings.Contains(f.After.String(), handover.PassChain)) {
		return "it is one of the rules that stand for `flow add`, which this kernel or ruleset goes without"
	}
	if r == nil || len(r.At) == 0 {
		return "it runs in nftables"
	}
	best := r.At[0]
	for _, p := range r.At {
		if p.Tier > best.Tier {
			best = p
		}
	}
	a.Stage, a.Reason = Stage(best.Tier.String()), best.Finding.Reason.Code()
	info := best.Finding.Reason.Info()
	where := ""
	if len(best.Devices) > 0 && len(r.At) > 1 {
		where = " on " + strings.Join(best.Devices, ", ")
	}
	detail := ""
	if best.Finding.Detail != "" {
		detail = fmt.Sprintf(" (%s)", best.Finding.Detail)
	}
	switch best.Tier {
	case plan.Hardware:
		a.Good, a.Reason = true, ""
		return "it can run in hardware" + where
	case plan.TC:
		a.Good = true
		return fmt.Sprintf("it can run at tc%s, before nftables, and not at XDP because %s%s", where, info.Text, detail)
	case plan.XDP:
		a.Good = true
		return fmt.Sprintf("it can run at XDP%s, before the kernel has made a packet of the frame, and not in hardware because %s%s", where, info.Text, detail)
	case plan.Software:
	}
	if info.Remedy != "" {
		a.Advice = append(a.Advice, info.Remedy)
	}
	return fmt.Sprintf("it runs in nftables because %s%s", info.Text, detail)
}

func placement(p plan.Placement) string {
	text := p.Tier.String()
	if len(p.Devices) > 0 {
		text = fmt.Sprintf("%s on %s", text, strings.Join(p.Devices, ", "))
	}
	if !p.Finding.None() {
		text += ": " + p.Finding.Sentence()
	}
	if p.Hardware != nil && !p.Hardware.None() {
		text += "; not in hardware: " + p.Hardware.Sentence()
	}
	return text
}

// found is what lint says of the rule, the gravest first.
func (f RuleFacts) found() []lint.Finding {
	var out []lint.Finding
	for _, l := range f.Findings {
		p := l.Place
		if p.Family == f.Ref.Family && p.Table == f.Ref.Table && p.Chain == f.Ref.Chain && p.Handle == f.Ref.Handle {
			out = append(out, l)
		}
	}
	return out
}

// counted is what the rule's own counter says.
func (f RuleFacts) counted() string {
	now, ok := counter(f.After)
	if !ok {
		return "none of its own; a `counter` in the rule would tell how many packets come to it"
	}
	text := fmt.Sprintf("%d packets, %d bytes", now.Packets, now.Bytes)
	if was, ok := counter(f.Before); ok {
		text += fmt.Sprintf("; %d packets within %s", now.Packets-min(was.Packets, now.Packets), seconds(f.Period))
	}
	return text
}

func counter(r *ruleset.Rule) (ruleset.Counter, bool) {
	if r == nil {
		return ruleset.Counter{}, false
	}
	for _, s := range r.Stmts {
		if c, ok := s.(ruleset.Counter); ok && c.Ref == nil {
			return c, true
		}
	}
	return ruleset.Counter{}, false
}
