package ruleset

import "encoding/json"

// Expr is an expression: what a statement reads, or compares with. One of the types of this file.
type Expr interface{ isExpr() }

// Str is a constant that nft wrote as a string: an address, a device name, a name that stands for a number
// ("established", "tcp", "cs1"), or "*" for everything else in an interval set.
type Str string

// Num is a constant that nft wrote as a number.
type Num uint64

// Bool is true or false, as in `exthdr exists` and `fib ... exists`.
type Bool bool

// SetRef names a set or map of the same table (JSON "@name").
type SetRef string

// List is a JSON array: several flags at once. On the right of a match all of them are or-ed together.
type List []Expr

// Concat is a concatenation, `ip saddr . tcp dport`.
type Concat []Expr

// SetLit is an anonymous set: keys, or Pair in the data of a map.
type SetLit []Expr

// Pair is an element of a map: key and data.
type Pair struct{ Key, Data Expr }

// Elem is an element with something said about it.
type Elem struct {
	Val     Expr
	Timeout uint64 // seconds; 0: none
	Expires uint64 // seconds
	Comment string
	Stmts   []Stmt // counter, quota, ... of the element
	Extra   Extra
}

// Prefix is an address prefix. Addr is Str, or Payload and the like in a binary-free prefix match.
type Prefix struct {
	Addr Expr
	Len  int // bits
}

// Range is an interval, both ends included.
type Range struct{ From, To Expr }

// Map looks a key up: Data is a SetRef or a SetLit of Pair.
type Map struct{ Key, Data Expr }

// Payload is a header field, `tcp dport`.
type Payload struct {
	Proto string // "ether", "vlan", "arp", "ip", "icmp", "igmp", "ip6", "icmpv6", "tcp", "udp", "udplite", "sctp", "dccp", "ah", "esp", "comp", "th", ...
	Field string // as in nft(8): "saddr", "dport", "dscp", ...
	Extra Extra  // for instance "tunnel", the header that the field is inside of
}

// RawPayload is bits of the packet, `@th,16,32`.
type RawPayload struct {
	Base   string // "ll", "nh", "th", "ih"
	Offset int    // bits
	Len    int    // bits
	Extra  Extra
}

// Exthdr is an IPv6 extension header's field, or whether there is one when Field is empty.
type Exthdr struct {
	Name   string // "hbh", "rt", "rt0", "rt2", "srh", "frag", "dst", "mh"
	Field  string
	Offset int
	Extra  Extra
}

// Option is an option of the TCP or IPv4 header, or a chunk of SCTP or option of DCCP.
type Option struct {
	Kind  string // "tcp option", "ip option", "sctp chunk", "dccp option"
	Name  string // "maxseg", "sack-perm", ...; empty for a raw TCP option, see Extra
	Field string // empty: whether there is one
	Extra Extra  // raw TCP options: "base", "offset", "len"; DCCP: "type"
}

// Meta is meta data of a packet, `meta l4proto`.
type Meta struct {
	Key   string
	Extra Extra
}

// RT is routing data, `rt nexthop`.
type RT struct {
	Key    string
	Family string // "ip", "ip6" or empty
	Extra  Extra
}

// CT is conntrack data, `ct state`, `ct original ip saddr`.
type CT struct {
	Key    string // "state", "mark", "ip saddr", "saddr", "proto-src", ...
	Family string // older form: family of an address
	Dir    string // "original", "reply" or empty
	Extra  Extra
}

// FIB is a lookup in the routing table, `fib saddr . iif oif`.
type FIB struct {
	Result string   // "oif", "oifname", "type", "check"
	Flags  []string // "saddr", "daddr", "mark", "iif", "oif"
	Extra  Extra
}

// Generator is a number that does not come from one field of the packet: numgen, jhash, symhash.
type Generator struct {
	Kind   string // "numgen", "jhash", "symhash"
	Mode   string // numgen: "inc", "random"
	Mod    uint64
	Offset uint64
	Seed   *uint64 // jhash
	Expr   Expr    // jhash: what is hashed
	Extra  Extra
}

// Other is an expression about something that is neither in the packet nor in conntrack: socket, osf, ipsec, tunnel.
type Other struct {
	Kind   string // "socket", "osf", "ipsec", "tunnel"
	Key    string
	Fields Extra // everything besides the key
}

// Binary is an operation on bits: "&", "|", "^", "<<", ">>". Operands are at least two, taken from the left.
type Binary struct {
	Op       string
	Operands []Expr
}

// Verdict is what a chain decides, as a statement of a rule and as the data of a verdict map.
type Verdict struct {
	Kind   VerdictKind
	Target string // of jump and goto
}

// VerdictKind is one of the verdicts of nft(8), VERDICT STATEMENT.
type VerdictKind string

// The verdicts.
const (
	Accept   VerdictKind = "accept"
	Drop     VerdictKind = "drop"
	Continue VerdictKind = "continue"
	Return   VerdictKind = "return"
	Jump     VerdictKind = "jump"
	Goto     VerdictKind = "goto"
)

// Opaque is an expression or a statement that is not understood: its JSON.
type Opaque struct{ Raw json.RawMessage }

func (Str) isExpr()        {}
func (Num) isExpr()        {}
func (Bool) isExpr()       {}
func (SetRef) isExpr()     {}
func (List) isExpr()       {}
func (Concat) isExpr()     {}
func (SetLit) isExpr()     {}
func (Pair) isExpr()       {}
func (Elem) isExpr()       {}
func (Prefix) isExpr()     {}
func (Range) isExpr()      {}
func (Map) isExpr()        {}
func (Payload) isExpr()    {}
func (RawPayload) isExpr() {}
func (Exthdr) isExpr()     {}
func (Option) isExpr()     {}
func (Meta) isExpr()       {}
func (RT) isExpr()         {}
func (CT) isExpr()         {}
func (FIB) isExpr()        {}
func (Generator) isExpr()  {}
func (Other) isExpr()      {}
func (Binary) isExpr()     {}
func (Verdict) isExpr()    {}
func (Opaque) isExpr()     {}
