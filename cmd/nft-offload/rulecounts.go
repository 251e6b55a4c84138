package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/datapath/rules"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// ruleCount is what a rule of an ingress chain has counted.
type ruleCount struct {
	engine.RuleID
	Text  string `json:"text"`
	Where string `json:"where,omitempty"` // tiers, slowest first; `plan` says it
	// Counter is the sum of nftables' own counter and of the early one.
	engine.Counter
	NFT   engine.Counter `json:"nft"`
	Early engine.Counter `json:"early"`
}

// statusRules prints the counters of the running daemon.
func (e *env) statusRules(c *api.Client, asJSON bool) error {
	counts, err := c.RuleCounts(e.ctx)
	if err != nil {
		return e.noDaemon(err)
	}
	rs, err := e.readRuleset("status", "", "ask for the status without --rules")
	if err != nil {
		return err
	}
	return e.printRuleCounts(countRules(rs, nil, byRule(counts)), asJSON)
}

// planCounters prints the counters beside where the rules run. With no daemon, those that one has left count.
func (e *env) planCounters(rs *ruleset.Ruleset, p *plan.Plan, asJSON bool) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	counts, err := c.RuleCounts(e.ctx)
	early := byRule(counts)
	if errors.Is(err, api.ErrNoDaemon) {
		early, err = e.leftCounters()
	}
	if err != nil {
		return err
	}
	return e.printRuleCounts(countRules(rs, p, early), asJSON)
}

func byRule(counts []engine.RuleCount) map[engine.RuleID]engine.Counter {
	out := map[engine.RuleID]engine.Counter{}
	for _, c := range counts {
		out[c.RuleID] = c.Counter
	}
	return out
}

// leftCounters reads what a daemon has left in its pins.
func (e *env) leftCounters() (map[engine.RuleID]engine.Counter, error) {
	ns, err := namespace()
	if err != nil {
		return nil, err
	}
	left, err := rules.Look(filepath.Join(e.places.pins(ns), rulesDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return engineCounted(left, nil).Rules, err
}

// countRules lists the rules of tables with ingress chains that count, and those that a program has counted for. Without
// a plan it does not say where they run.
func countRules(rs *ruleset.Ruleset, p *plan.Plan, early map[engine.RuleID]engine.Counter) []ruleCount {
	where := map[engine.RuleID]string{}
	if p != nil {
		where = tiers(rs, p)
	}
	out := []ruleCount{}
	for _, t := range rs.Tables {
		if !hasIngress(t) {
			continue
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				id := engine.RuleID{Family: string(t.Family), Table: t.Name, TableHandle: t.Handle, Chain: c.Name, Handle: r.Handle}
				own, counts := ownCounter(r)
				n := early[id]
				if !counts && n == (engine.Counter{}) {
					continue
				}
				out = append(out, ruleCount{
					RuleID: id, Text: r.String(), Where: where[id], NFT: own, Early: n,
					Counter: engine.Counter{Packets: own.Packets + n.Packets, Bytes: own.Bytes + n.Bytes},
				})
			}
		}
	}
	return out
}

// withEarly returns a rule whose own counter has the packets that never came to nftables, as far as a daemon knows them.
func (e *env) withEarly(rs *ruleset.Ruleset, r *ruleset.Rule) *ruleset.Rule {
	c, err := e.client()
	if err != nil {
		return r
	}
	counts, err := c.RuleCounts(e.ctx)
	t := rs.Table(r.Family, r.Table)
	if err != nil || t == nil {
		return r // no daemon, or none that executes rules
	}
	early := byRule(counts)[engine.RuleID{Family: string(r.Family), Table: r.Table, TableHandle: t.Handle, Chain: r.Chain, Handle: r.Handle}]
	out := *r
	out.Stmts = slices.Clone(r.Stmts)
	for i, s := range out.Stmts {
		if own, ok := s.(ruleset.Counter); ok && own.Ref == nil {
			own.Packets, own.Bytes = own.Packets+early.Packets, own.Bytes+early.Bytes
			out.Stmts[i] = own
			break
		}
	}
	return &out
}

func hasIngress(t *ruleset.Table) bool {
	for _, c := range t.Chains {
		if c.Base != nil && c.Base.Hook == "ingress" {
			return true
		}
	}
	return false
}

// ownCounter is the rule's own counter in the listing.
func ownCounter(r *ruleset.Rule) (engine.Counter, bool) {
	for _, s := range r.Stmts {
		if c, ok := s.(ruleset.Counter); ok && c.Ref == nil {
			return engine.Counter{Packets: c.Packets, Bytes: c.Bytes}, true
		}
	}
	return engine.Counter{}, false
}

// tiers says where rules run: more than one tier where devices differ.
func tiers(rs *ruleset.Ruleset, p *plan.Plan) map[engine.RuleID]string {
	out := map[engine.RuleID]string{}
	for _, c := range p.Chains {
		handle := 0
		if t := rs.Table(c.Family, c.Table); t != nil {
			handle = t.Handle
		}
		for _, r := range c.Rules {
			id := engine.RuleID{Family: string(c.Family), Table: c.Table, TableHandle: handle, Chain: c.Name, Handle: r.Handle}
			for _, at := range r.At {
				if out[id] != "" {
					out[id] += ", "
				}
				out[id] += at.Tier.String()
			}
		}
	}
	return out
}

func (e *env) printRuleCounts(counts []ruleCount, asJSON bool) error {
	if asJSON {
		return e.printJSON(struct {
			Rules []ruleCount `json:"rules"`
		}{counts})
	}
	chain := ""
	var t *table
	for _, c := range counts {
		if name := fmt.Sprintf("chain %s %s %s", c.Family, c.Table, c.Chain); name != chain {
			if t != nil {
				t.write(e.stdout, e.width())
				fmt.Fprintln(e.stdout)
			}
			chain = name
			fmt.Fprintln(e.stdout, name)
			t = newTable(4, ">PACKETS", ">BYTES", ">EARLY", "WHERE", "RULE")
		}
		t.row(number(c.Packets), size(c.Bytes), number(c.Early.Packets), c.Where, c.Text)
	}
	if t == nil {
		fmt.Fprintln(e.stdout, "no rule of an ingress chain counts")
		return nil
	}
	t.write(e.stdout, e.width())
	return nil
}

// printRuled prints where the rules of ingress chains run.
func (e *env) printRuled(s engine.RulesStatus, now time.Time) {
	if len(s.Devices) == 0 {
		return
	}
	w := e.stdout
	fmt.Fprintln(w)
	if !s.Executing {
		wrap(w, "rules: ", fmt.Sprintf("nftables executes all of them, for %s now: the last change was %s", span(now.Sub(s.Since)), s.Why), e.width())
	}
	for _, d := range s.Devices {
		fmt.Fprintf(w, "rules of %s: ", e.bold(d.Name))
		if d.Hook == engine.Off {
			fmt.Fprintf(w, "%s\n", e.bad("all in nftables"))
		} else {
			fmt.Fprintf(w, "%d at %s\n", d.Early, e.good(string(d.Hook)))
			wrap(w, "  ", fmt.Sprintf("%s packets ended there (%s dropped, %s sent on), %s went on, %s were left to nftables, %s came while rules changed",
				number(d.Packets.Dropped+d.Packets.Forwarded), number(d.Packets.Dropped), number(d.Packets.Forwarded), number(d.Packets.Ended),
				number(d.Packets.Left), number(d.Packets.Suspended)), e.width())
		}
		if !d.Reason.OK() {
			wrap(w, "  ", fmt.Sprintf("[%s] %s", d.Reason.Code, d.Reason.Error()), e.width())
		}
		for _, r := range d.Software {
			wrap(w, "  ", fmt.Sprintf("[%s] %d in nftables only: %s; the first: %s", r.Reason.Code, r.Rules, r.Reason.Text, r.First), e.width())
		}
		if d.Said != "" {
			wrap(w, "  ", "the verifier said: "+d.Said, e.width())
		}
	}
}
