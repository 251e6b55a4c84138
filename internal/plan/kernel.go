package plan

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// What the kernel's own offload of netdev chains (`flags offload`) would say, in the order in which it looks:
// net/netfilter/nf_tables_offload.c and the .offload functions of the expressions.

// kernelChain is why the kernel would refuse a chain as a whole.
func (b *builder) kernelChain(t *ruleset.Table, c *ruleset.Chain) []Finding {
	var out []Finding
	add := func(r reason.Reason, detail string) { out = append(out, Finding{Reason: r, Detail: detail}) }
	if t.Family != ruleset.Netdev {
		add(reason.ChainNotNetdev, string(t.Family))
	}
	if c.Base.Priority < 1 || c.Base.Priority > 1<<16-1 {
		add(reason.ChainPriorityRange, fmt.Sprint(c.Base.Priority))
	}
	if c.Base.Policy == string(ruleset.Drop) {
		add(reason.ChainPolicyDrop, "")
	}
	for _, d := range c.Base.Devices {
		a := b.able.of(d)
		if a.known && a.profile.Name != "" && a.profile.Chain == caps.SupportNo {
			add(reason.ChainDeviceRefused, d+": "+a.profile.WhyChain)
		}
	}
	return out
}

// kernelRule is why the kernel would refuse a rule.
func (b *builder) kernelRule(r *ruleset.Rule) Finding {
	if r.Misread != "" {
		return Finding{Reason: reason.RuleMisread, Detail: r.Misread}
	}
	actions := 0
	var before []ruleset.Field
	var previous *ruleset.Field
	for _, s := range r.Stmts {
		m, ok := s.(ruleset.Match)
		if !ok {
			previous = nil
			does, f := kernelStatement(s)
			if !f.None() {
				return f
			}
			if does {
				actions++
			}
			continue
		}
		if f := kernelMatch(m); !f.None() {
			return f
		}
		if f := b.kernelPrefix(m); !f.None() {
			return f
		}
		p, ok := m.Left.(ruleset.Payload)
		field, known := ruleset.PayloadField(p.Proto, p.Field)
		if !ok || !known {
			previous = nil
			continue
		}
		if slices.Contains(before, field) {
			return Finding{Reason: reason.FieldMatchedTwice, Detail: p.Proto + " " + p.Field}
		}
		if previous != nil && merges(*previous, field) {
			return Finding{Reason: reason.MergedPayload, Detail: p.Proto + " " + p.Field + " and the field before it"}
		}
		before, previous = append(before, field), &field
	}
	switch {
	case actions == 0:
		return Finding{Reason: reason.NoTerminalAction}
	case actions > mostActions:
		return Finding{Reason: reason.TooManyActions, Detail: fmt.Sprint(actions)}
	}
	return b.kernelCounter(r)
}

// kernelCounter is a device whose driver takes the rule and gives it no counter.
func (b *builder) kernelCounter(r *ruleset.Rule) Finding {
	counts := slices.ContainsFunc(r.Stmts, func(s ruleset.Stmt) bool {
		_, ok := s.(ruleset.Counter)
		return ok
	})
	t := b.rs.Table(r.Family, r.Table)
	if !counts || t == nil || t.Chain(r.Chain) == nil {
		return Finding{}
	}
	for _, d := range t.Chain(r.Chain).Base.Devices {
		if b.able.of(d).has(caps.NoNFTCounter) {
			return Finding{Reason: reason.NoHardwareCounter, Detail: d}
		}
	}
	return Finding{}
}

// mostActions is the number of actions for which the kernel has room (NF_FLOW_RULE_ACTION_MAX, nf_tables_offload.h).
const mostActions = 16

// merges reports whether nft loads two fields at once (src/payload.c payload_can_merge).
func merges(a, b ruleset.Field) bool {
	if a.Base != b.Base || a.Offset+a.Bits != b.Offset && b.Offset+b.Bits != a.Offset || (a.Bits|b.Bits)%8 != 0 {
		return false
	}
	const register, registers = 32, 128
	total := a.Bits + b.Bits
	return total <= registers && (total <= register || a.Base == "ll" || a.Bits > register || b.Bits > register)
}

// kernelStatement reports whether a statement is an action for hardware, or why it is none that the kernel knows.
func kernelStatement(s ruleset.Stmt) (acts bool, f Finding) {
	no := func(what string) (bool, Finding) {
		return false, Finding{Reason: reason.ExprNotSupported, Detail: what}
	}
	switch s := s.(type) {
	case ruleset.Counter:
		if s.Ref != nil {
			return no("counter of a name")
		}
		return false, Finding{}
	case ruleset.Verdict:
		if s.Kind != ruleset.Accept && s.Kind != ruleset.Drop {
			return false, Finding{Reason: reason.VerdictNotAcceptDrop, Detail: string(s.Kind)}
		}
		return true, Finding{}
	case ruleset.Fwd:
		if s.Addr != nil {
			return false, Finding{Reason: reason.FwdToAddress}
		}
		return true, Finding{}
	case ruleset.Dup:
		return true, Finding{}
	case ruleset.VMap:
		return no("vmap")
	case ruleset.Opaque:
		return false, Finding{Reason: reason.OpaqueStatement}
	}
	return no(first(step(s).pinned, Finding{Detail: "statement"}).Detail)
}

// kernelMatch is why the kernel would refuse a match.
func kernelMatch(m ruleset.Match) Finding {
	left := m.Left
	if b, ok := left.(ruleset.Binary); ok {
		if b.Op != "&" || len(b.Operands) != 2 {
			return Finding{Reason: reason.BitwiseNotMask, Detail: b.Op}
		}
		left = b.Operands[0]
	}
	if f := kernelField(left); !f.None() {
		return f
	}
	switch m.Right.(type) {
	case ruleset.SetRef, ruleset.SetLit:
		return Finding{Reason: reason.ExprNotSupported, Detail: "set"}
	case ruleset.Range:
		return Finding{Reason: reason.MatchOpNotEq, Detail: "range"}
	}
	if m.Op != "==" {
		return Finding{Reason: reason.MatchOpNotEq, Detail: m.Op}
	}
	return Finding{}
}

func kernelField(e ruleset.Expr) Finding {
	switch e := e.(type) {
	case ruleset.Payload:
		switch e.Proto + " " + e.Field {
		case "ether saddr", "ether daddr", "ether type", "vlan id", "vlan type", "ip saddr", "ip daddr", "ip protocol",
			"ip6 saddr", "ip6 daddr", "ip6 nexthdr", "tcp sport", "tcp dport", "udp sport", "udp dport":
			return Finding{}
		}
		return Finding{Reason: reason.FieldNotSupported, Detail: e.Proto + " " + e.Field}
	case ruleset.RawPayload:
		return Finding{Reason: reason.FieldNotSupported, Detail: fmt.Sprintf("@%s,%d,%d", e.Base, e.Offset, e.Len)}
	case ruleset.Meta:
		switch e.Key {
		case "protocol", "l4proto", "iif", "iiftype":
			return Finding{}
		case "iifname":
			return Finding{Reason: reason.IifnameNotIfindex}
		}
		return Finding{Reason: reason.ExprNotSupported, Detail: "meta " + e.Key}
	case ruleset.CT:
		return Finding{Reason: reason.ExprNotSupported, Detail: "ct " + e.Key}
	case ruleset.Concat:
		return Finding{Reason: reason.ExprNotSupported, Detail: "concatenation"}
	case ruleset.Opaque:
		return Finding{Reason: reason.OpaqueStatement}
	}
	return Finding{Reason: reason.ExprNotSupported, Detail: "expression"}
}

// kernelPrefix is the bug in the masks of prefixes that are whole bytes, where the kernel has or may have it.
func (b *builder) kernelPrefix(m ruleset.Match) Finding {
	p, ok := m.Right.(ruleset.Prefix)
	of, isPayload := m.Left.(ruleset.Payload)
	if !ok || !isPayload || of.Proto != "ip6" || p.Len%8 != 0 {
		return Finding{}
	}
	i := slices.IndexFunc(caps.Quirks(), func(q caps.Quirk) bool { return q.ID == "CVE-2026-74579" })
	if i < 0 {
		return Finding{}
	}
	v := b.able.machine.Kernel.Version
	switch caps.Quirks()[i].Affected(v) {
	case caps.Yes:
		return Finding{Reason: reason.PrefixMaskBug, Detail: "kernel " + v.String()}
	case caps.Unknown:
		return Finding{Reason: reason.PrefixMaskBug, Detail: "perhaps: the kernel's stable version is not known"}
	case caps.No:
	}
	return Finding{}
}
