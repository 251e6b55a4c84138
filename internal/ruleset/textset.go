package ruleset

import (
	"fmt"
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
	if t, ok := s.KeyType(); ok && s.TypeOf != nil {
		key = t.names()
	}
	if t, ok := s.DataType(); ok && s.MapTypeOf != nil {
		data = t.names()
	}
	return declare("type", key, data)
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
