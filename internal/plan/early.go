package plan

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/cond"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// look says which matches of a table's rules can be made before the kernel has made a packet of the frame.
type look struct {
	table  *ruleset.Table
	reader *space.Reader
	sets   map[*ruleset.Set]Finding // what was found out about named sets, which many rules may use
	// Where packets come in; nil: at no hook of ours.
	known *arrival
	hook  share.Hook
}

// arrival is what is the same for all packets of a device.
type arrival struct {
	device   string
	ethernet bool
	joins    bool // nft joins inequalities
	sets     *cond.Sets
}

// place is where rules of the table are compiled.
func (l look) place() cond.Place {
	return cond.Place{
		Table: l.table, Device: l.known.device, Ethernet: l.known.ethernet, Frames: l.hook == share.XDP, Joins: l.known.joins, Sets: l.known.sets,
	}
}

// joined are the matches of a rule that nft makes one, by their number.
func (l look) joined(r *ruleset.Rule) map[int]bool {
	if l.known == nil || !l.known.joins {
		return nil
	}
	out, n := map[int]bool{}, 0
	for _, run := range runs(r) {
		for i := range l.place().Joined(run) {
			out[n+i] = true
		}
		n += len(run)
	}
	return out
}

// match is why a match cannot be made early; none where it can.
func (l look) match(m ruleset.Match) Finding {
	if f := l.operand(m.Left); !f.None() {
		return f
	}
	if f := l.right(m.Right); !f.None() {
		return f
	}
	if flag := flagsOfGRO(m); flag != "" && l.hook == share.XDP {
		return Finding{Reason: reason.MatchNotEarly, Detail: "tcp flags " + flag + ": the kernel's GRO joins segments that differ in it"}
	}
	return Finding{}
}

// lookup is why a key cannot be looked up early.
func (l look) lookup(key, data ruleset.Expr) Finding {
	if f := l.operand(key); !f.None() {
		return f
	}
	if f := l.right(data); !f.None() {
		return f
	}
	if l.hook == share.XDP && flagsOfGRO(ruleset.Match{Op: "==", Left: key, Right: data}) != "" {
		return Finding{Reason: reason.MatchNotEarly, Detail: "tcp flags as a key: the kernel's GRO joins segments that differ in them"}
	}
	return Finding{}
}

// operand is why what a match reads is not at hand early.
func (l look) operand(e ruleset.Expr) Finding {
	switch e := e.(type) {
	case ruleset.Payload:
		return l.payload(e)
	case ruleset.RawPayload:
		if e.Base == "ih" {
			return Finding{Reason: reason.MatchNoPlace, Detail: "@ih: behind a header of any length"}
		}
		if len(e.Extra) > 0 || e.Len > 128 {
			return Finding{Reason: reason.MatchNotEarly, Detail: fmt.Sprintf("@%s,%d,%d", e.Base, e.Offset, e.Len)}
		}
		return l.rawPayload(e)
	case ruleset.Meta:
		return l.meta(e)
	case ruleset.CT:
		return Finding{Reason: reason.StatefulMatch, Detail: "ct " + e.Key}
	case ruleset.RT:
		return Finding{Reason: reason.StatefulMatch, Detail: "rt " + e.Key}
	case ruleset.FIB:
		return Finding{Reason: reason.StatefulMatch, Detail: "fib " + e.Result}
	case ruleset.Other:
		return Finding{Reason: reason.StatefulMatch, Detail: e.Kind}
	case ruleset.Concat:
		for _, part := range e {
			if f := l.operand(part); !f.None() {
				return f
			}
		}
		return Finding{}
	case ruleset.Binary:
		if len(e.Operands) > 1 && allConstant(e.Operands[1:]) {
			return l.operand(e.Operands[0])
		}
		return Finding{Reason: reason.MatchNotEarly, Detail: "an operation on the bits of two fields"}
	case ruleset.Exthdr:
		return Finding{Reason: reason.MatchNoPlace, Detail: "exthdr " + e.Name}
	case ruleset.Option:
		return Finding{Reason: reason.MatchNoPlace, Detail: e.Kind + " " + e.Name}
	case ruleset.Generator:
		return Finding{Reason: reason.MatchNotEarly, Detail: e.Kind}
	case ruleset.Map:
		return Finding{Reason: reason.MatchNotEarly, Detail: "map"}
	case ruleset.Opaque:
		return Finding{Reason: reason.OpaqueStatement, Detail: "in a match"}
	}
	return Finding{Reason: reason.MatchNotEarly}
}

// payload is why a header's field is not the same in a frame and in the packet that the kernel makes of one or more:
// GRO joins the segments of a flow before any rule sees them (net/core/gro.c), and takes IPsec off.
func (l look) payload(e ruleset.Payload) Finding {
	name := e.Proto + " " + e.Field
	if len(e.Extra) > 0 {
		return Finding{Reason: reason.MatchNotEarly, Detail: "inner header"}
	}
	switch name {
	case "ip length", "ip id", "ip checksum", "ip6 length", "tcp sequence", "tcp ackseq", "tcp window", "tcp checksum",
		"tcp doff", "tcp urgptr", "udp length", "udp checksum", "udplite checksum":
		if l.hook == share.XDP {
			return Finding{Reason: reason.MatchNotEarly, Detail: name + ": the kernel's GRO changes it before rules see it"}
		}
	}
	switch e.Proto {
	case "ether", "vlan", "ip", "ip6", "arp", "tcp", "udp", "udplite", "sctp", "dccp", "th", "icmp", "icmpv6", "igmp", "ah", "comp":
		return Finding{}
	case "esp":
		if l.hook == share.TC {
			return Finding{}
		}
		return Finding{Reason: reason.MatchNotEarly, Detail: name + ": the kernel's GRO may decrypt before rules see it"}
	}
	return Finding{Reason: reason.MatchNotEarly, Detail: name}
}

// rawPayload refuses what payload refuses: bits of the network header up to TTL, and of the transport header behind the
// ports.
func (l look) rawPayload(e ruleset.RawPayload) Finding {
	const ttl, ports = 64, 32
	if l.hook == share.XDP && (e.Base == "nh" && e.Offset < ttl && e.Offset+e.Len > 16 || e.Base == "th" && e.Offset+e.Len > ports) {
		return Finding{Reason: reason.MatchNotEarly, Detail: fmt.Sprintf("@%s,%d,%d: the kernel's GRO may change it before rules see it", e.Base, e.Offset, e.Len)}
	}
	return Finding{}
}

func (l look) meta(e ruleset.Meta) Finding {
	switch e.Key {
	case "protocol", "l4proto", "iif", "iifname", "iiftype", "pkttype", "nfproto":
		return Finding{}
	case "length":
		if l.hook == share.TC {
			return Finding{}
		}
		return Finding{Reason: reason.MatchNotEarly, Detail: "meta length: the kernel's GRO changes it before rules see it"}
	case "mark", "priority", "rtclassid", "cgroup", "skuid", "skgid", "socket":
		return Finding{Reason: reason.StatefulMatch, Detail: "meta " + e.Key}
	}
	return Finding{Reason: reason.MatchNotEarly, Detail: "meta " + e.Key}
}

// right is why what a match compares with cannot be copied.
func (l look) right(e ruleset.Expr) Finding {
	switch e := e.(type) {
	case ruleset.SetRef:
		s := l.table.Set(string(e))
		if s == nil {
			return Finding{Reason: reason.OpaqueStatement, Detail: "set " + string(e) + " is not in the ruleset"}
		}
		f, seen := l.sets[s]
		if !seen {
			f = l.set(s)
			l.sets[s] = f
		}
		return f
	case ruleset.SetLit:
		return l.elements(e)
	case ruleset.Opaque:
		return Finding{Reason: reason.OpaqueStatement, Detail: "in a match"}
	case ruleset.Map, ruleset.Payload, ruleset.RawPayload, ruleset.Meta, ruleset.CT:
		return Finding{Reason: reason.MatchNotEarly, Detail: "compared with what is not constant"}
	}
	return Finding{}
}

// set is why a named set cannot be copied.
func (l look) set(s *ruleset.Set) Finding {
	if l.reader.Volatile(s) {
		return Finding{Reason: reason.SetDynamic, Detail: "set " + s.Name}
	}
	if len(s.Stmts) > 0 {
		return Finding{Reason: reason.SideEffect, Detail: "elements of set " + s.Name + " count"}
	}
	return l.elements(s.Elems)
}

func (l look) elements(elems []ruleset.Expr) Finding {
	for _, e := range elems {
		switch e := e.(type) {
		case ruleset.Elem:
			if len(e.Stmts) > 0 {
				return Finding{Reason: reason.SideEffect, Detail: "elements of the set count"}
			}
		case ruleset.Opaque:
			return Finding{Reason: reason.OpaqueStatement, Detail: "in a set"}
		case ruleset.Pair:
			key, isElem := e.Key.(ruleset.Elem)
			if isElem && len(key.Stmts) > 0 {
				return Finding{Reason: reason.SideEffect, Detail: "elements of the map count"}
			}
		}
	}
	return Finding{}
}

// flagsOfGRO names the TCP flag on which a match depends and in which segments may differ that GRO joins: FIN, PSH and
// CWR (net/ipv4/tcp_offload.c tcp_gro_receive). It does not join segments with SYN or RST, so a comparison with one of
// these comes out the same for each segment.
func flagsOfGRO(m ruleset.Match) string {
	of, asked := m.Left, m.Right
	b, masked := m.Left.(ruleset.Binary)
	if masked && len(b.Operands) == 2 {
		of, asked = b.Operands[0], b.Operands[1] // what is masked away does not matter
	}
	if p, ok := of.(ruleset.Payload); !ok || p.Proto != "tcp" || p.Field != "flags" {
		return ""
	}
	anyOf := m.Op == "in" || m.Op == "!"
	if !anyOf && alone(m.Right) {
		return ""
	}
	if !anyOf && !masked {
		return "compared whole"
	}
	for _, f := range words(asked) {
		if !slices.Contains([]string{"syn", "rst", "ack", "urg", "ecn"}, f) {
			return f
		}
	}
	return ""
}

// alone reports whether each value that a match compares with has SYN or RST.
func alone(e ruleset.Expr) bool {
	if lit, ok := e.(ruleset.SetLit); ok {
		return !slices.ContainsFunc(lit, func(one ruleset.Expr) bool { return !alone(one) })
	}
	return slices.ContainsFunc(words(e), func(f string) bool { return f == "syn" || f == "rst" })
}

// words are the constants that are or-ed in an expression, as nft writes them.
func words(e ruleset.Expr) []string {
	var parts []ruleset.Expr
	switch e := e.(type) {
	case ruleset.Str:
		return []string{string(e)}
	case ruleset.Num:
		return []string{fmt.Sprintf("%#x", uint64(e))}
	case ruleset.List:
		parts = e
	case ruleset.SetLit:
		parts = e
	case ruleset.Binary:
		parts = e.Operands
	default:
		return []string{"?"}
	}
	var out []string
	for _, p := range parts {
		out = append(out, words(p)...)
	}
	return out
}

// constant reports whether an expression reads nothing of the packet.
func constant(e ruleset.Expr) bool {
	switch e := e.(type) {
	case ruleset.Str, ruleset.Num, ruleset.Bool, ruleset.Prefix:
		return true
	case ruleset.List:
		return allConstant(e)
	case ruleset.SetLit:
		return allConstant(e)
	case ruleset.Binary:
		return allConstant(e.Operands)
	}
	return false
}

func allConstant(es []ruleset.Expr) bool {
	for _, e := range es {
		if !constant(e) {
			return false
		}
	}
	return true
}
