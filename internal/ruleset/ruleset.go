// Package ruleset holds an nftables ruleset as values: everything that `nft -j list ruleset` prints
// (libnftables-json(5)) is decoded, what is not understood is kept as Opaque, and encoding gives JSON that nft accepts
// and lists the same. The package is pure: no commands, no sockets. It does not evaluate rules (package eval does), nor
// does it judge them (package plan).
//
// Values are not normalized: a port may be a number or a name, flags a list or a binary expression, as nft printed
// them. TypeOf says what values an expression has, Constant turns one of a known type into bytes, PayloadField tells where
// in the packet a field is. String prints nft's own syntax.
package ruleset

import (
	"encoding/json"
	"slices"
)

// Ruleset is all that nft lists. Slices are in the order of the listing.
type Ruleset struct {
	Meta   json.RawMessage // the metainfo object; nil where there was none
	Tables []*Table
	// Opaque are objects of a kind that is not known, whole: {"kind": {...}}. They belong to no table.
	Opaque []json.RawMessage
}

// Family is an nftables family as nft writes it.
type Family string

// The families of nftables (nft(8), ADDRESS FAMILIES).
const (
	IP     Family = "ip"
	IP6    Family = "ip6"
	Inet   Family = "inet"
	ARP    Family = "arp"
	Bridge Family = "bridge"
	Netdev Family = "netdev"
)

// Table is a table and everything in it.
type Table struct {
	Family     Family
	Name       string
	Handle     int
	Flags      []string // "dormant", "owner", "persist"
	Comment    string
	Chains     []*Chain
	Sets       []*Set // sets and maps
	Flowtables []*Flowtable
	Objects    []*Object
	Extra      Extra
}

// Chain is a base chain or a regular chain.
type Chain struct {
	Family  Family
	Table   string
	Name    string
	Handle  int
	Comment string
	// Base is nil for a regular chain.
	Base  *Base
	Rules []*Rule
	Extra Extra
}

// Base is what makes a chain a base chain.
type Base struct {
	Type     string // "filter", "nat", "route"
	Hook     string // "ingress", "prerouting", "input", "forward", "output", "postrouting", "egress"
	Priority int
	Policy   string // "accept" or "drop"; empty counts as accept
	// Devices of netdev chains and of inet ingress chains. nft 1.0.6 leaves those of netdev chains out of its JSON.
	Devices []string
	Flags   []string // "offload"
}

// Rule is a rule: its statements run left to right until one does not match or ends the evaluation.
type Rule struct {
	Family  Family
	Table   string
	Chain   string
	Handle  int
	Index   int // position in the chain, from 0; not part of the JSON
	Comment string
	Stmts   []Stmt
	// Misread says why the statements, which nft lists, are not taken for what the kernel executes; empty where they are.
	// Only rules that nft has loaded can have it, no document.
	Misread string
	Extra   Extra
}

// Set is a named set, or a map when MapType is not nil.
type Set struct {
	Family     Family
	Table      string
	Name       string
	Handle     int
	Comment    string
	Type       []string // datatypes of the key, one a field of a concatenation; empty when given by TypeOf
	TypeOf     Expr     // `typeof` declaration, where nft prints one; else nil
	IsMap      bool
	MapType    []string // datatypes of the data, or "verdict", or one object kind ("counter", "quota", ...)
	MapTypeOf  Expr
	Policy     string   // "performance" (or empty), "memory"
	Flags      []string // "constant", "interval", "timeout", "dynamic"
	Timeout    uint64   // seconds; 0: none
	GCInterval uint64   // seconds
	Size       uint64
	AutoMerge  bool
	Elems      []Expr // keys, or Pair in maps; wrapped in Elem where there is more to say about one
	Stmts      []Stmt // of every element, for instance a counter
	Extra      Extra
}

// Flowtable is a flowtable of the kernel.
type Flowtable struct {
	Family   Family
	Table    string
	Name     string
	Handle   int
	Hook     string
	Priority int
	Devices  []string
	Flags    []string // "offload", "counter"; nft 1.0.6 leaves them out of its JSON
	Extra    Extra
}

// Object is a stateful object: counter, quota, limit, ct helper, ct timeout, ct expectation, secmark, synproxy, tunnel.
type Object struct {
	Kind    string // as in the JSON: "counter", "ct helper", ...
	Family  Family
	Table   string
	Name    string
	Handle  int
	Comment string
	// Fields are what else the object has, by key, kept as JSON. Rules refer to objects by name only.
	Fields Extra
}

// Extra are fields of an object that have no place in its type, kept as they are; never with a key that has one.
type Extra map[string]json.RawMessage

// Table returns a table, or nil.
func (r *Ruleset) Table(f Family, name string) *Table {
	for _, t := range r.Tables {
		if t.Family == f && t.Name == name {
			return t
		}
	}
	return nil
}

// Chain returns a chain of the table, or nil.
func (t *Table) Chain(name string) *Chain {
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Set returns a set or map of the table, or nil.
func (t *Table) Set(name string) *Set {
	for _, s := range t.Sets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Flowtable returns a flowtable of the table, or nil.
func (t *Table) Flowtable(name string) *Flowtable {
	for _, f := range t.Flowtables {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Fleeting reports whether the table is gone when the process that made it closes its socket.
func (t *Table) Fleeting() bool {
	return slices.Contains(t.Flags, "owner") && !slices.Contains(t.Flags, "persist")
}

// Dormant reports whether the table's chains are not hooked.
func (t *Table) Dormant() bool {
	return slices.Contains(t.Flags, "dormant")
}
