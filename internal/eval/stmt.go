package eval

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// statement compiles one statement of the rule.
func (c *compiler) statement(s ruleset.Stmt) error {
	switch s := s.(type) {
	case ruleset.Match:
		return c.match(s)
	case ruleset.Counter:
		c.counter(s)
		return nil
	case ruleset.Verdict:
		v := s
		c.emit(func(r *run) status { r.decide(v); return known })
		return nil
	case ruleset.VMap:
		return c.vmap(s)
	case ruleset.Mangle:
		return c.mangle(s)
	case ruleset.Limit:
		c.stateful("limit")
	case ruleset.Quota:
		c.stateful("quota")
	case ruleset.CTCount:
		c.stateful("ct count")
	case ruleset.Meter:
		c.stateful("meter")
	case ruleset.SetUpdate:
		return c.setUpdate(s)
	case ruleset.Reject:
		return c.reject(s)
	case ruleset.NAT:
		return c.nat(s)
	case ruleset.Fwd:
		if err := c.device(s.Dev); err != nil {
			return err
		}
		c.final(Stolen, "fwd")
	case ruleset.Queue:
		c.final(Queued, "queue")
	case ruleset.Dup:
		if err := c.device(s.Dev); err != nil {
			return err
		}
		c.note("dup")
	case ruleset.FlowAdd:
		c.flowAdd(s)
	case ruleset.SetObject:
		c.note("set " + s.Kind)
	case ruleset.Action:
		return c.action(s)
	case ruleset.Opaque:
		return fmt.Errorf("opaque statement: %w", errNotKnown)
	default:
		return fmt.Errorf("statement %T: %w", s, errNotKnown)
	}
	return nil
}

func (c *compiler) counter(s ruleset.Counter) {
	if s.Ref != nil {
		return // of an object; the rule has no count of its own
	}
	rule, i := c.rule, len(c.rule.counts)
	rule.counts = append(rule.counts, Count{})
	c.emit(func(r *run) status {
		rule.counts[i].Packets++
		rule.counts[i].Bytes += uint64(r.s.length())
		return known
	})
}

// stateful is a statement whose answer depends on packets before.
func (c *compiler) stateful(what string) {
	c.emit(func(r *run) status { return r.missing(FactState, what) })
}

func (c *compiler) note(text string) {
	c.emit(func(r *run) status { r.note(text); return known })
}

// final ends the evaluation of the packet.
func (c *compiler) final(o Outcome, text string) {
	c.emit(func(r *run) status {
		r.note(text)
		r.end = o
		return known
	})
}

// device finds the device of a statement that sends packets somewhere. Where it is looked up in a map that has no
// element for the packet, the rest of the rule is left out.
func (c *compiler) device(e ruleset.Expr) error {
	m, ok := e.(ruleset.Map)
	if !ok {
		return nil
	}
	key, err := c.expression(m.Key, dtype{})
	if err != nil {
		return err
	}
	from, err := c.source(m.Data, key.types)
	if err != nil {
		return err
	}
	c.emit(func(r *run) status {
		el, st := from.lookup(r, key.load)
		if st == known && el == nil {
			return broke
		}
		return st
	})
	return nil
}

func (c *compiler) vmap(s ruleset.VMap) error {
	key, err := c.expression(s.Key, dtype{})
	if err != nil {
		return err
	}
	from, err := c.source(s.Data, key.types)
	if err != nil {
		return err
	}
	c.emit(func(r *run) status {
		el, st := from.lookup(r, key.load)
		if st != known {
			return st
		}
		if el == nil {
			return broke
		}
		v, ok := el.data.(ruleset.Verdict)
		if !ok {
			return r.missing(FactOpaque, fmt.Sprintf("verdict map with data %T", el.data))
		}
		r.decide(v)
		return known
	})
	return nil
}

// setUpdate changes a set of the session. Evaluation goes on, unless there is no room: sizes are not looked at.
func (c *compiler) setUpdate(s ruleset.SetUpdate) error {
	to, err := c.source(s.Set, nil)
	if err != nil {
		return err
	}
	e := s.Elem
	if x, ok := e.(ruleset.Elem); ok {
		e = x.Val
	}
	key, err := c.expression(e, dtype{})
	if err != nil {
		return err
	}
	if why := doubtful(s.Stmts); why != "" {
		c.stateful(why)
	}
	c.emit(func(r *run) status {
		v, st := key.load(r)
		if st != known {
			return st
		}
		to.change(s.Op == "delete", v, s.Data)
		r.note(s.Op + " @" + string(s.Set))
		return known
	})
	return nil
}

// reject answers and drops; the answer asks for a protocol in families that have several.
func (c *compiler) reject(s ruleset.Reject) error {
	switch s.Type {
	case "tcp reset":
		c.needTransport("tcp")
	case "icmp":
		c.needNetwork("ip", false)
	case "icmpv6":
		c.needNetwork("ip6", false)
	}
	c.emit(func(r *run) status {
		r.note("reject")
		r.decide(ruleset.Verdict{Kind: ruleset.Drop})
		return known
	})
	return nil
}

// action is a statement that is known by name.
func (c *compiler) action(s ruleset.Action) error {
	switch s.Kind {
	case "log", "last", "reset":
		c.note(s.Kind)
	case "notrack":
		c.emit(func(r *run) status {
			// A packet that has an entry keeps it (nft_notrack_eval).
			if !r.tracked {
				r.untracked = true
			}
			r.note("notrack")
			return known
		})
	case "tproxy", "synproxy":
		c.emit(func(r *run) status { return r.missing(FactSocket, s.Kind) })
	default:
		return fmt.Errorf("statement %s: %w", s.Kind, errNotKnown)
	}
	return nil
}

// flowAdd hands the flow over where the kernel's flow_offload expression would; else it breaks the rule
// (nft_flow_offload_eval).
func (c *compiler) flowAdd(s ruleset.FlowAdd) {
	c.emit(func(r *run) status {
		ok, st := r.offloadable()
		if st != known {
			return st
		}
		if !ok {
			return broke
		}
		r.note("flow add @" + s.Flowtable)
		return known
	})
}

// Bits of conntrack's status (include/uapi/linux/netfilter/nf_conntrack_common.h).
const (
	ctAssured   uint32 = 1 << 2
	ctConfirmed uint32 = 1 << 3
	ctNAT       uint32 = 1<<4 | 1<<5
	ctOffload   uint32 = 1 << 14
)

// offloadable asks what nft_flow_offload_eval asks, as far as the facts go.
func (r *run) offloadable() (bool, status) {
	const fin, rst, gre, greVersion = 1, 4, 47, 7
	s := r.s
	if !s.l4 || s.proto != protoTCP && s.proto != protoUDP && s.proto != gre {
		return false, known
	}
	if s.pf == pfIPv4 && s.data[s.net]&0xf != 5 {
		return false, known
	}
	if s.proto == protoTCP {
		if b, ok := s.bytes(s.th+13, 1); !ok || b[0]&(fin|rst) != 0 {
			return false, known
		}
	}
	if s.proto == gre {
		if b, ok := s.bytes(s.th+1, 1); !ok || b[0]&greVersion != 0 {
			return false, known // PPTP: its keys are those of the connection
		}
	}
	switch ct := r.ct; {
	case r.untracked || ct != nil && !ct.entry():
		return false, known
	case ct == nil:
		return false, r.missing(FactConntrack, "ct state")
	case ct.State&StateNew != 0 && s.proto == protoTCP:
		return false, known // neither confirmed nor assured
	case ct.Status == nil:
		return false, r.missing(FactConntrack, "ct status")
	case s.proto == gre && *ct.Status&ctNAT != 0:
		return false, known
	case ct.Helper != nil && *ct.Helper != "", *ct.Status&ctConfirmed == 0, *ct.Status&ctOffload != 0:
		return false, known
	default:
		return s.proto != protoTCP || *ct.Status&ctAssured != 0, known
	}
}

// decide notes a verdict; continue lets the rule go on.
func (r *run) decide(v ruleset.Verdict) {
	if v.Kind != ruleset.Continue {
		r.verdict = &v
	}
}

func (r *run) note(text string) {
	r.res.Notes = append(r.res.Notes, Note{r.rule.rule, text})
}

// missing notes a fact that is not known.
func (r *run) missing(k FactKind, what string) status {
	m := Missing{k, what, r.place}
	if !slices.Contains(r.res.Missing, m) {
		r.res.Missing = append(r.res.Missing, m)
	}
	return unknown
}
