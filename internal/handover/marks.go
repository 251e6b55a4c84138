package handover

import (
	"fmt"
	"strings"
)

// MarkConflict is a rule that does not leave one bit of the conntrack mark alone.
type MarkConflict struct {
	Family, Table, Chain string
	Handle               int
	Why                  string
}

// String renders the conflict as a clause, "rule 12 of inet filter forward overwrites the mark".
func (c MarkConflict) String() string {
	return fmt.Sprintf("rule %d of %s %s %s %s", c.Handle, c.Family, c.Table, c.Chain, c.Why)
}

// MarkConflicts returns the rules that read or write the conntrack mark in a way that notices or destroys the given
// bit: a copy, a comparison or a set lookup of the unmasked mark, a mask that includes the bit, an assignment that
// does not keep it. A rule that iptables-nft made counts where it uses a match or target that nft cannot show.
// The lowered ruleset's own rules do not count.
func (r Ruleset) MarkConflicts(bit uint32) []MarkConflict {
	var out []MarkConflict
	for _, u := range r.rules {
		why := ""
		for _, st := range u.Expr {
			if w := markConflict(st, bit, u.lowered()); w != "" {
				why = w
			}
		}
		if why != "" {
			out = append(out, MarkConflict{Family: u.Family, Table: u.Table, Chain: u.Chain, Handle: u.Handle, Why: why})
		}
	}
	return out
}

func markConflict(st any, bit uint32, own bool) string {
	if m, ok := st.(map[string]any); ok {
		if _, opaque := m["xt"]; opaque {
			return "uses an iptables extension that nft does not show"
		}
	}
	if isMark(get(st, "mangle", "key")) {
		v := get(st, "mangle", "value")
		if own && sets(v, bit) || keeps(v, bit) {
			return ""
		}
		return "overwrites the conntrack mark"
	}
	if own && tests(get(st, "match"), bit) {
		return ""
	}
	if reads(st, bit) {
		return "reads the conntrack mark without masking the bit out"
	}
	return ""
}

func isMark(v any) bool { return get(v, "ct", "key") == "mark" }

// binary returns the operands of a one-operator expression with a number on the right.
func binary(v any, op string) (left any, n uint32, ok bool) {
	l, isList := get(v, op).([]any)
	if !isList || len(l) != 2 {
		return nil, 0, false
	}
	n, ok = integer(l[1])
	return l[0], n, ok
}

// keeps reports whether an assigned value is the mark with the bit as it was.
func keeps(v any, bit uint32) bool {
	if isMark(v) {
		return true
	}
	if l, n, ok := binary(v, "&"); ok {
		return n&bit == bit && keeps(l, bit)
	}
	for _, op := range []string{"|", "^"} {
		if l, n, ok := binary(v, op); ok {
			return n&bit == 0 && keeps(l, bit)
		}
	}
	return false
}

// reads reports whether the bit of the mark can be seen through an expression.
func reads(v any, bit uint32) bool {
	if isMark(v) {
		return true
	}
	if _, n, ok := binary(v, "&"); ok && n&bit == 0 {
		return false
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if reads(e, bit) {
				return true
			}
		}
	case map[string]any:
		for _, e := range v {
			if reads(e, bit) {
				return true
			}
		}
	}
	return false
}

// lowered reports whether lowering wrote the rule, or the chain it is in.
func (u rule) lowered() bool {
	if strings.HasPrefix(u.Chain, AddChain) {
		return true
	}
	for _, st := range u.Expr {
		if get(st, "jump", "target") == PassChain {
			return true
		}
	}
	return false
}

// sets reports whether an assigned value is the mark with exactly this bit added.
func sets(v any, bit uint32) bool {
	l, n, ok := binary(v, "|")
	return ok && n == bit && isMark(l)
}

// tests reports whether a match asks for exactly this bit of the mark.
func tests(m any, bit uint32) bool {
	switch get(m, "op") {
	case "==", "!=":
	default:
		return false
	}
	l, n, ok := binary(get(m, "left"), "&")
	r, isNum := integer(get(m, "right"))
	return ok && isNum && n == bit && r == bit && isMark(l)
}
