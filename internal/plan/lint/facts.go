package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// facts are what the analysis has to know about a rule, read once.
type facts struct {
	outcomes []outcome
	adds     []flowAdd
	effects  []effect
	// symmetric: whatever the rule matches on besides classes is the same for both directions of a flow.
	symmetric bool
	// slow: the rule matches only packets that no flowtable carries: fragments, options, SYNs.
	slow bool
	// changing: what the rule matches on may change while a flow lasts.
	changing bool
}

// outcome is a verdict that the rule may give.
type outcome struct {
	cover
	kind   ruleset.VerdictKind
	target string
}

// flowAdd is a `flow add` statement and the classes that may come as far.
type flowAdd struct {
	flowtable string
	may       box
}

// effect is something that the rule does to packets of these classes, besides deciding.
type effect struct {
	why  reason.Reason
	what string // "limit", "set ip dscp"
	may  box
}

// reader collects the facts of one rule from its statements, left to right.
type reader struct {
	a      *analysis
	t      *ruleset.Table
	c      cover // of the statements so far
	f      facts
	limits bool
	logs   bool
}

// read returns the facts of a rule.
func (a *analysis) read(t *ruleset.Table, r *ruleset.Rule) facts {
	rd := reader{a: a, t: t, c: everything(), f: facts{symmetric: true}}
	if r.Misread != "" {
		rd.statement(ruleset.Opaque{})
	} else {
		for _, s := range r.Stmts {
			rd.statement(s)
		}
	}
	rd.settle()
	return rd.f
}

func (rd *reader) statement(s ruleset.Stmt) {
	switch s := s.(type) {
	case ruleset.Match:
		rd.match(s)
	case ruleset.Verdict:
		rd.decide(rd.c, s.Kind, s.Target)
		rd.c = cover{} // nothing comes behind it
	case ruleset.VMap:
		for _, e := range rd.a.entries(rd.t, s) {
			rd.decide(rd.c.and(e.cover), e.verdict.Kind, e.verdict.Target)
		}
		rd.asks(s.Key)
		rd.refers(s.Data)
		rd.c.must = box{}
	case ruleset.FlowAdd:
		rd.f.adds = append(rd.f.adds, flowAdd{s.Flowtable, rd.c.may})
		rd.c.must = box{} // the rest runs for the packet that made the flow
	case ruleset.Reject:
		rd.decide(rd.c, ruleset.Drop, "")
	case ruleset.NAT:
		rd.decide(rd.c, ruleset.Accept, "")
	case ruleset.Fwd:
		rd.effect(reason.OtherStatementSkipped, "fwd")
		rd.decide(rd.c, ruleset.Drop, "")
	case ruleset.Queue:
		rd.effect(reason.QueueSkipped, "queue")
		rd.decide(cover{may: rd.c.may}, ruleset.Drop, "")
		rd.decide(rd.c, ruleset.Accept, "")
	case ruleset.Opaque:
		rd.effect(reason.OtherStatementSkipped, "a statement that is not understood")
		rd.maybe()
	default:
		rd.sideEffect(s)
	}
}

// decide notes a verdict.
func (rd *reader) decide(c cover, kind ruleset.VerdictKind, target string) {
	if kind == ruleset.Continue || c.may.empty() {
		return
	}
	rd.f.outcomes = append(rd.f.outcomes, outcome{c, kind, target})
}

// maybe notes that a statement may end the rule in any way.
func (rd *reader) maybe() {
	rd.decide(cover{may: rd.c.may}, ruleset.Accept, "")
	rd.decide(cover{may: rd.c.may}, ruleset.Drop, "")
	rd.c.must = box{}
}

func (rd *reader) match(m ruleset.Match) {
	rd.c = rd.c.and(rd.a.match(rd.t, m))
	rd.asks(m.Left)
	rd.refers(m.Right)
	rd.f.slow = rd.f.slow || alwaysSlow(m)
	if k, ok := m.Left.(ruleset.Meta); ok && isClock(k.Key) {
		rd.effect(reason.TimedRuleSkipped, "a match on the time")
	}
	if k, ok := m.Left.(ruleset.CT); ok && isAccounting(k.Key) {
		rd.effect(reason.AccountingLost, "a match on ct "+k.Key)
	}
}

// asks notes what kind of thing a match reads.
func (rd *reader) asks(e ruleset.Expr) {
	if parts, ok := e.(ruleset.Concat); ok {
		for _, p := range parts {
			rd.asks(p)
		}
		return
	}
	switch e := e.(type) {
	case ruleset.CT:
		if e.Key == "mark" || e.Key == "label" || isAccounting(e.Key) {
			rd.f.changing = true
		}
		if e.Key == "direction" {
			rd.f.symmetric = false
		}
	case ruleset.Meta:
		if e.Key == "mark" || isClock(e.Key) {
			rd.f.changing = true
		}
		rd.f.symmetric = rd.f.symmetric && (e.Key == "l4proto" || e.Key == "nfproto" || e.Key == "protocol")
	default:
		rd.f.symmetric = false
	}
}

// refers notes whether the rule compares with something that changes.
func (rd *reader) refers(e ruleset.Expr) {
	ref, ok := e.(ruleset.SetRef)
	if !ok {
		return
	}
	s := rd.a.named(rd.t, ref)
	if s == nil || !slices.Contains(s.Flags, "constant") {
		rd.f.changing = true
	}
}

func (rd *reader) effect(why reason.Reason, what string) {
	if !rd.c.may.empty() {
		rd.f.effects = append(rd.f.effects, effect{why, what, rd.c.may})
	}
}

// sideEffect reads the statements that decide nothing, or not always.
func (rd *reader) sideEffect(s ruleset.Stmt) {
	switch s := s.(type) {
	case ruleset.Counter:
		rd.effect(reason.CounterSkipped, "counter")
	case ruleset.Quota:
		rd.effect(reason.QuotaSkipped, "quota")
		rd.changes()
	case ruleset.Limit:
		rd.limits = true
		rd.effect(reason.LimitSkipped, "limit")
		rd.changes()
	case ruleset.CTCount:
		rd.effect(reason.ConnlimitSkipped, "ct count")
		rd.changes()
	case ruleset.SetUpdate:
		rd.effect(reason.SetUpdateSkipped, s.Op+" @"+string(s.Set))
		rd.inner(s.Stmts)
	case ruleset.Meter:
		rd.inner(s.Stmts)
	case ruleset.Mangle:
		rd.mangle(s)
	case ruleset.Dup:
		rd.effect(reason.OtherStatementSkipped, "dup")
	case ruleset.SetObject:
		if s.Kind != "ct helper" && s.Kind != "ct timeout" && s.Kind != "ct expectation" { // these are for new connections
			rd.effect(reason.OtherStatementSkipped, s.Kind)
		}
	case ruleset.XT:
		rd.extension(s)
	case ruleset.Action:
		rd.action(s)
	}
}

// extension reads an extension of iptables: nobody knows what it matches or does, save for a few names.
func (rd *reader) extension(s ruleset.XT) {
	rd.f.symmetric = false
	switch {
	case s.Type == "match":
		rd.c.must = box{}
	case s.Name == "TCPMSS":
	case s.Name == "LOG", s.Name == "NFLOG":
		rd.logs = true
		rd.effect(reason.LogSkipped, s.Name)
	default:
		rd.effect(reason.OtherStatementSkipped, "xt "+s.Name)
		rd.maybe()
	}
}

// changes notes a statement that matches some packets of a class now and none later.
func (rd *reader) changes() {
	rd.f.changing = true
	rd.c.must = box{}
}

// inner reads statements that run for each element of a set. A full set ends the rule.
func (rd *reader) inner(list []ruleset.Stmt) {
	for _, s := range list {
		rd.sideEffect(s)
	}
	rd.c.must = box{}
}

func (rd *reader) mangle(s ruleset.Mangle) {
	switch k := s.Key.(type) {
	case ruleset.Meta:
		if k.Key != "nftrace" {
			rd.effect(reason.MangleSkipped, "meta "+k.Key+" set")
		}
	case ruleset.CT:
		if k.Key == "mark" || k.Key == "label" {
			rd.effect(reason.MangleSkipped, "ct "+k.Key+" set")
		}
	case ruleset.Payload:
		rd.effect(reason.MangleSkipped, k.Proto+" "+k.Field+" set")
	case ruleset.Option:
		if k.Name != "maxseg" { // of SYNs, which are never offloaded
			rd.effect(reason.MangleSkipped, k.Kind+" "+k.Name+" set")
		}
	default:
		rd.effect(reason.MangleSkipped, "a header field is set")
	}
}

func (rd *reader) action(s ruleset.Action) {
	switch s.Kind {
	case "log":
		rd.logs = true
		rd.effect(reason.LogSkipped, "log")
	case "notrack", "last", "counter":
	case "tproxy", "synproxy":
		rd.maybe()
	default:
		rd.effect(reason.OtherStatementSkipped, s.Kind)
	}
}

// settle takes out what a later statement explains: a limit in a rule that only logs is about the log.
func (rd *reader) settle() {
	if !rd.logs || !rd.limits || len(rd.f.outcomes) > 0 {
		return
	}
	kept := rd.f.effects[:0]
	for _, e := range rd.f.effects {
		if e.why != reason.LimitSkipped {
			kept = append(kept, e)
		}
	}
	rd.f.effects = kept
}

// alwaysSlow recognizes matches on fragments, IP options, extension headers, SYNs, and packets for many or for this host.
func alwaysSlow(m ruleset.Match) bool {
	left := m.Left
	if b, ok := left.(ruleset.Binary); ok {
		left = b.Operands[0]
	}
	switch k := left.(type) {
	case ruleset.Meta:
		return k.Key == "pkttype" && m.Op == "==" && !strings.Contains(fmt.Sprint(m.Right), "host")
	case ruleset.FIB:
		return k.Result == "type" && m.Op == "==" && !strings.Contains(fmt.Sprint(m.Right), "unicast")
	case ruleset.Exthdr:
		return m.Op == "==" && m.Right != ruleset.Expr(ruleset.Bool(false))
	case ruleset.Option:
		return k.Kind == "ip option" && m.Right != ruleset.Expr(ruleset.Bool(false))
	case ruleset.Payload:
		switch {
		case k.Proto == "ip" && k.Field == "frag-off":
			return m.Op == "!=" && m.Right == ruleset.Expr(ruleset.Num(0))
		case k.Proto == "tcp" && k.Field == "flags":
			return m.Right == ruleset.Expr(ruleset.Str("syn")) && (m.Op == "==" || m.Op == "in")
		}
	}
	return false
}

func isClock(key string) bool { return key == "time" || key == "day" || key == "hour" }

func isAccounting(key string) bool { return key == "bytes" || key == "packets" || key == "avgpkt" }
