package ruleset

import (
	"fmt"
	"slices"
	"strings"
)

// String prints the set or map with its elements.
func (s *Set) String() string { return text(func(p *printer) { p.set(s) }) }

func (p *printer) set(s *Set) {
	kind := "set"
	if s.IsMap {
		kind = "map"
	}
	p.put("\t", kind, " ", s.Name, " {\n")
	p.put("\t\t", s.declaration(), "\n")
	if s.Policy != "" {
		p.put("\t\tpolicy ", s.Policy, "\n")
	}
	if s.Size != 0 {
		fmt.Fprintf(p, "\t\tsize %d\n", s.Size)
	}
	if len(s.Flags) > 0 {
		p.put("\t\tflags ", strings.Join(s.Flags, ","), "\n")
	}
	if s.Timeout != 0 {
		p.put("\t\ttimeout ", duration(s.Timeout), "\n")
	}
	if s.GCInterval != 0 {
		p.put("\t\tgc-interval ", duration(s.GCInterval), "\n")
	}
	if s.AutoMerge {
		p.put("\t\tauto-merge\n")
	}
	for _, st := range s.Stmts {
		p.put("\t\t", strings.TrimSpace(text(func(in *printer) { in.inner([]Stmt{st}) })), "\n")
	}
	p.comment("\t\t", s.Comment)
	if len(s.Elems) > 0 {
		key, _ := s.KeyType()
		data, ok := s.DataType()
		if !ok && s.IsMap {
			data = Type{Name: "string", Bits: 128} // names of objects
		}
		p.put("\t\telements = ")
		p.elements(s.Elems, key, data)
		p.put("\n")
	}
	p.put("\t}\n")
}

// declaration prints the types of key and data. nft takes `typeof` for both or for none.
func (s *Set) declaration() string {
	key, data := strings.Join(s.Type, " . "), strings.Join(s.MapType, " . ")
	if s.TypeOf == nil && s.MapTypeOf == nil {
		return declare("type", key, data)
	}
	special := len(s.MapType) == 1 && (s.MapType[0] == "verdict" || stateful(s.MapType[0]))
	if s.TypeOf != nil && (!s.IsMap || s.MapTypeOf != nil || special) {
		if s.MapTypeOf != nil {
			data = exprText(s.MapTypeOf)
		}
		return declare("typeof", exprText(s.TypeOf), data)
	}
	// Only one of them is given by an expression. Where that has no type with a name, the other takes an expression.
	keys, _ := s.KeyType()
	values, _ := s.DataType()
	if !keys.named() || !values.named() {
		return declare("typeof", selectorOf(s.TypeOf, s.Type), selectorOf(s.MapTypeOf, s.MapType))
	}
	return declare("type", keys.names(), values.names())
}

// selectorOf prints an expression, or some of the given types.
func selectorOf(e Expr, types []string) string {
	if e != nil {
		return exprText(e)
	}
	var out []string
	for _, t := range types {
		out = append(out, example(t))
	}
	return strings.Join(out, " . ")
}

// example is an expression of a datatype; the datatype itself where none comes to mind.
func example(datatype string) string {
	switch datatype {
	case "ipv4_addr":
		return "ip daddr"
	case "ipv6_addr":
		return "ip6 daddr"
	case "ether_addr":
		return "ether daddr"
	case "inet_service":
		return "th dport"
	case "inet_proto":
		return "meta l4proto"
	case "mark":
		return "meta mark"
	case "classid":
		return "meta priority"
	case "ifname":
		return "iifname"
	case "iface_index":
		return "iif"
	case "dscp":
		return "ip dscp"
	}
	return datatype
}

// named reports whether a declaration can name the type: integers of some length have no name.
func (t Type) named() bool {
	if t.Fields != nil {
		return !slices.ContainsFunc(t.Fields, func(f Type) bool { return !f.named() })
	}
	_, ok := NamedType(t.Name)
	return ok
}

func declare(word, key, data string) string {
	if data == "" {
		return word + " " + key
	}
	return word + " " + key + " : " + data
}

// names are the datatypes of a type.
func (t Type) names() string {
	if t.Fields == nil {
		return t.Name
	}
	var n []string
	for _, f := range t.Fields {
		n = append(n, f.Name)
	}
	return strings.Join(n, " . ")
}
