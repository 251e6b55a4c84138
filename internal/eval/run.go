package eval

import (
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// run is one packet on its way through the hooks.
type run struct {
	e   *Evaluator
	p   Packet // what rules change of it is changed here
	s   *skb
	res *Result

	hook    Hook
	in, out *Device // of the hook
	ct      *Conntrack
	// tracked: conntrack's hook is behind. untracked: notrack came before it.
	tracked, untracked bool
	translated         bool // by the chains of this nat hook
	bridged            bool // the packet is in a bridge, or has come through it

	rule  *rule
	place Place
	// What the rule decided: a verdict, or an end that needs none.
	verdict *ruleset.Verdict
	end     Outcome
}

// maxJumps is how deep jumps may be nested (NFT_JUMP_STACK_SIZE, include/net/netfilter/nf_tables.h).
const maxJumps = 16

// maxSteps bounds the rules a packet may meet. The kernel does not load circles; a document may have them.
const maxSteps = 1 << 18

// level is a chain that a packet is in, and how far.
type level struct {
	chain *chain
	next  int
}

// walk evaluates a base chain. The outcome is Accepted where the packet goes on to the next chain.
func (r *run) walk(t *ruleset.Table, base *chain) ChainResult {
	res := ChainResult{Hook: r.hook, Chain: base.chain, Outcome: Accepted}
	stack := []level{{base, 0}}
	for len(stack) > 0 {
		if len(r.res.Steps) > maxSteps {
			r.missing(FactOpaque, "the end of chains that lead in a circle, or as good as that")
			res.Outcome = Unknown
			return res
		}
		top := &stack[len(stack)-1]
		if top.next == len(top.chain.rules) {
			stack = stack[:len(stack)-1]
			continue
		}
		ru := top.chain.rules[top.next]
		top.next++
		if st := r.step(t, ru, len(stack)-1); st == unknown {
			res.Outcome = Unknown
			return res
		}
		if r.end != "" {
			res.Outcome = r.end
			return res
		}
		if r.verdict == nil {
			continue
		}
		switch v := *r.verdict; v.Kind {
		case ruleset.Accept:
			return res
		case ruleset.Drop:
			res.Outcome = Dropped
			return res
		case ruleset.Return:
			stack = stack[:len(stack)-1]
		case ruleset.Jump, ruleset.Goto:
			target := r.e.tables[t].chains[v.Target]
			if target == nil {
				r.missing(FactOpaque, "chain "+v.Target)
				res.Outcome = Unknown
				return res
			}
			if v.Kind == ruleset.Goto {
				stack = stack[:len(stack)-1]
			}
			if len(stack) > maxJumps {
				res.Outcome = Dropped
				return res
			}
			stack = append(stack, level{target, 0})
		case ruleset.Continue: // decide leaves it out
		}
	}
	res.Policy = true
	if base.chain.Base.Policy == "drop" {
		res.Outcome = Dropped
	}
	return res
}

// step evaluates one rule.
func (r *run) step(t *ruleset.Table, ru *rule, depth int) status {
	r.rule, r.verdict, r.end = ru, nil, ""
	step := Step{Hook: r.hook, Rule: ru.rule, Depth: depth, Matched: true}
	st := known
	for _, o := range ru.ops {
		r.place = Place{t.Family, t.Name, ru.rule.Chain, ru.rule.Index, o.stmt}
		step.Reached = o.stmt
		st = r.try(o)
		if st != known {
			step.Matched = false
			break
		}
		step.Reached = o.stmt + 1
		if r.verdict != nil || r.end != "" {
			break
		}
	}
	if step.Matched && r.verdict == nil && r.end == "" {
		step.Reached = len(ru.rule.Stmts)
	}
	if r.verdict != nil {
		step.Verdict = string(r.verdict.Kind)
		if r.verdict.Target != "" {
			step.Verdict += " " + r.verdict.Target
		}
	}
	r.res.Steps = append(r.res.Steps, step)
	return st
}

// try carries out an operation; where a fact is missing, an assumption decides, if there is one.
func (r *run) try(o op) status {
	had := len(r.res.Missing)
	st := o.do(r)
	if st != unknown {
		return st
	}
	matches, assumed := r.e.assume[r.place]
	if !assumed {
		return st
	}
	r.res.Missing = r.res.Missing[:had]
	if matches {
		return known
	}
	return broke
}
