package why

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Meeting is how packets of a flow meet the rules that hand flows over.
type Meeting struct {
	How  How
	Rule string // "inet filter forward handle 4": the one that decides first, that is reached, or that does not match
	Text string // of the rule
	// Verdict is what a rule decides that comes first: "accept", "drop".
	Verdict string
	// Add is the rule with `flow add` that is not reached, where one decides first.
	Add string
	// Lowered says that the rule sets a label, or a mark, in place of `flow add`.
	Lowered bool
}

// How a flow meets the rules.
type How uint8

// The ways.
const (
	NotKnown  How = iota // the ruleset asks what is not known here
	Decided              // another rule decides first
	Reached              // a `flow add` rule is reached
	Unmatched            // no `flow add` rule matches
)

// Meet says which rules of the forward hook an established packet of the flow's first direction meets, or of the other
// direction where that comes further. Package eval carries the rules out.
func Meet(rs *ruleset.Ruleset, f Flow) Meeting {
	if f.Conn == nil || f.In == "" || f.Out == "" {
		return Meeting{}
	}
	e := eval.New(rs, nil)
	tables := adders(rs)
	forth := meeting(e.Run(established(f, false)), tables)
	if forth.How == Reached {
		return forth
	}
	if back := meeting(e.Run(established(f, true)), tables); back.How == Reached {
		return back
	}
	return forth
}

// established is a packet of one direction of a flow as it is at the forward hook: destinations have been translated,
// sources not yet.
func established(f Flow, reply bool) eval.Packet {
	c := f.Conn
	t, in, out := packet.Tuple{Src: c.Orig.Src, Dst: c.Reply.Src, Proto: c.Orig.Proto}, f.In, f.Out
	if reply {
		t, in, out = packet.Tuple{Src: c.Reply.Src, Dst: c.Orig.Src, Proto: c.Orig.Proto}, f.Out, f.In
	}
	const host = 0 // PACKET_HOST
	kind, status, none := uint8(host), statusWord(c), ""
	helper := &none
	if c.Helper != "" {
		helper = &c.Helper
	}
	labels := labelBytes(c.Labels)
	mark, zone, expires := c.Mark, c.Zone, c.Timeout
	ct := &eval.Conntrack{
		State: eval.StateEstablished, Status: &status, Mark: &mark, Labels: &labels, Reply: &reply,
		Original: &c.Orig, Answer: &c.Reply, Zone: &zone, Helper: helper,
	}
	if c.HasTimeout {
		ct.Expiration = &expires
	}
	s := packet.New(t, make([]byte, 32))
	return eval.Packet{
		Frame: s.Build(), In: &eval.Device{Name: in}, Out: &eval.Device{Name: out}, Route: eval.RouteForward, Type: &kind,
		NoSocket: true, CT: ct,
	}
}

// statusWord is the status as nft compares it (enum ip_conntrack_status).
func statusWord(c *Connection) uint32 {
	var w uint32
	for bit, set := range map[int]bool{
		1: c.Bits.SeenReply, 2: c.Bits.Assured, 3: c.Bits.Confirmed, 6: c.Bits.SeqAdjust, 9: c.Bits.Dying, 12: c.Bits.NATClash,
		4: c.Reply.Dst != c.Orig.Src, 5: c.Reply.Src != c.Orig.Dst, 14: c.Bits.Offload, 15: c.Bits.HWOffload,
	} {
		if set {
			w |= 1 << bit
		}
	}
	return w
}

// labelBytes writes labels most significant first, as eval has them.
func labelBytes(l handover.Labels) [16]byte {
	var b [16]byte
	for _, n := range l.List() {
		b[len(b)-1-n/8] |= 1 << (n % 8)
	}
	return b
}

// mangler finds a rule that changes packets of a flow in a way that a fast packet would miss.
func mangler(rs *ruleset.Ruleset, f Flow) (rule, text string, ok bool) {
	if f.Conn == nil || f.In == "" || f.Out == "" {
		return "", "", false
	}
	e := eval.New(rs, nil)
	for _, reply := range []bool{false, true} {
		for _, s := range e.Run(established(f, reply)).Steps {
			if s.Matched && slices.ContainsFunc(s.Rule.Stmts, changes) {
				return place(s.Rule), ruleText(s.Rule), true
			}
		}
	}
	return "", "", false
}

// changes reports whether a statement writes to the packet.
func changes(s ruleset.Stmt) bool {
	m, ok := s.(ruleset.Mangle)
	if !ok {
		return false
	}
	switch m.Key.(type) {
	case ruleset.Payload, ruleset.RawPayload, ruleset.Exthdr, ruleset.Option:
		return true
	}
	return false
}

// tableName tells tables apart.
type tableName struct {
	family ruleset.Family
	name   string
}

// adders are the tables with rules that hand flows over.
func adders(rs *ruleset.Ruleset) map[tableName]bool {
	out := map[tableName]bool{}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if slices.ContainsFunc(c.Rules, hands) {
				out[tableName{t.Family, t.Name}] = true
			}
		}
	}
	return out
}

// meeting reads the rules that were met at the forward hook. An accept ends the chain that it is in and no other, so only
// one in a table that hands flows over can be what decides first.
func meeting(r eval.Result, tables map[tableName]bool) Meeting {
	steps := slices.DeleteFunc(slices.Clone(r.Steps), func(s eval.Step) bool { return s.Hook != eval.Forward })
	var unmatched, decided *eval.Step
	for i := range steps {
		s := &steps[i]
		switch {
		case strings.HasPrefix(s.Rule.Chain, handover.AddChain):
			return Meeting{How: Reached, Rule: place(s.Rule), Text: s.Rule.String(), Lowered: true}
		case hands(s.Rule) && s.Matched && !lowered(s.Rule):
			return Meeting{How: Reached, Rule: place(s.Rule), Text: ruleText(s.Rule)}
		case hands(s.Rule) && unmatched == nil:
			unmatched = s
		case decided == nil && (s.Verdict == "drop" || s.Verdict == "accept" && tables[tableName{s.Rule.Family, s.Rule.Table}]):
			decided = s
		}
	}
	switch {
	case unmatched != nil && (decided == nil || !before(decided, unmatched)):
		return Meeting{How: Unmatched, Rule: place(unmatched.Rule), Text: ruleText(unmatched.Rule)}
	case decided != nil:
		return Meeting{How: Decided, Rule: place(decided.Rule), Text: ruleText(decided.Rule), Verdict: decided.Verdict}
	}
	return Meeting{}
}

// before reports whether one step was earlier in the same walk than another: steps of a result are in order.
func before(a, b *eval.Step) bool {
	return a.Rule.Family == b.Rule.Family && a.Rule.Table == b.Rule.Table && a.Rule.Chain == b.Rule.Chain && a.Rule.Index < b.Rule.Index
}

// hands reports whether a rule hands flows over: by `flow add`, or by a jump to what stands for one.
func hands(r *ruleset.Rule) bool {
	return lowered(r) || slices.ContainsFunc(r.Stmts, func(s ruleset.Stmt) bool {
		_, ok := s.(ruleset.FlowAdd)
		return ok
	})
}

// lowered reports whether a rule jumps to a chain that stands for `flow add`.
func lowered(r *ruleset.Rule) bool {
	return slices.ContainsFunc(r.Stmts, func(s ruleset.Stmt) bool {
		v, ok := s.(ruleset.Verdict)
		return ok && strings.HasPrefix(v.Target, handover.AddChain)
	})
}

// place names a rule as nft(8) does.
func place(r *ruleset.Rule) string {
	return fmt.Sprintf("%s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle)
}

// ruleText is the rule as it was written, before it was lowered.
func ruleText(r *ruleset.Rule) string {
	text := r.String()
	if before, _, ok := strings.Cut(text, "jump "+handover.AddChain); ok {
		return before + "flow add"
	}
	return text
}
