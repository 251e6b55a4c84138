package space

import "slices"

// constraint is what a space says about one field.
type constraint struct {
	field Field
	in    Set
	masks []Mask // those that are no short list of intervals; all of them hold
	// weak: the field has these values where there is one; the packet need not have it. What follows from another
	// field is weak, what was compared is not.
	weak bool
}

// Space is a set of packets. The zero Space is all of them, and exact.
type Space struct {
	fields  []constraint // by field
	inexact bool
	tags    bool // packets with a VLAN tag are in it, and may not match
	empty   bool // no packet
}

// Exact reports whether the space is just the packets that match, as far as these have no VLAN tag; else it has more.
func (s Space) Exact() bool { return !s.inexact }

// Empty reports whether no packet is in the space. A space that is not known to be empty may be.
func (s Space) Empty() bool { return s.empty }

// Loose is the same space with no promise that it has no other packets.
func (s Space) Loose() Space {
	s.inexact = true
	return s
}

// Nothing is the space without packets.
func Nothing() Space { return Space{empty: true} }

// Everything is the space of all packets.
func Everything() Space { return Space{} }

// Where is the packets that have a field with one of the values.
func Where(f Field, in Set) Space {
	if in.Empty() {
		return Nothing()
	}
	return Space{fields: []constraint{{field: f, in: in}}}
}

// whereMask is the packets that have a field with one of the values of a mask.
func whereMask(f Field, m Mask) Space {
	if in, ok := m.intervals(f.Len); ok {
		return Where(f, in)
	}
	return Space{fields: []constraint{{field: f, in: Full(f.Len), masks: []Mask{m}}}}
}

// implied is the packets that have one of the values in a field, or have no such field.
func implied(f Field, in Set) Space {
	return Space{fields: []constraint{{field: f, in: in, weak: true}}}
}

// Values is what a field may be in the packets of the space; false where the space says nothing of it.
func (s Space) Values(f Field) (Set, bool) {
	if i, ok := s.find(f); ok {
		return s.fields[i].in, true
	}
	return nil, false
}

// Fields are those that the space has something to say about, in order.
func (s Space) Fields() []Field {
	out := make([]Field, 0, len(s.fields))
	for _, c := range s.fields {
		if !c.weak {
			out = append(out, c.field)
		}
	}
	return out
}

func (s Space) find(f Field) (int, bool) {
	return slices.BinarySearchFunc(s.fields, f, func(c constraint, f Field) int { return c.field.compare(f) })
}

// Meet is the packets in both spaces. It is exact when both are.
func (s Space) Meet(t Space) Space {
	out := Space{inexact: s.inexact || t.inexact, tags: s.tags || t.tags, empty: s.empty || t.empty}
	out.fields = make([]constraint, 0, len(s.fields)+len(t.fields))
	i, j := 0, 0
	for i < len(s.fields) && j < len(t.fields) {
		a, b := s.fields[i], t.fields[j]
		switch a.field.compare(b.field) {
		case -1:
			out.fields, i = append(out.fields, a), i+1
		case 1:
			out.fields, j = append(out.fields, b), j+1
		default:
			c := a.meet(b)
			out.empty = out.empty || c.impossible()
			out.fields, i, j = append(out.fields, c), i+1, j+1
		}
	}
	out.fields = append(append(out.fields, s.fields[i:]...), t.fields[j:]...)
	return out
}

func (c constraint) meet(d constraint) constraint {
	return constraint{
		field: c.field,
		in:    c.in.Meet(d.in),
		masks: slices.Concat(c.masks, d.masks),
		weak:  c.weak && d.weak,
	}
}

// impossible reports whether no packet has the values: a packet without the field has those of a weak constraint.
func (c constraint) impossible() bool {
	if c.weak {
		return false
	}
	if c.in.Empty() {
		return true
	}
	for i, m := range c.masks {
		if slices.ContainsFunc(c.masks[:i], m.disjoint) || !m.meets(c.in, c.field.Len) {
			return true
		}
	}
	return false
}

// Disjoint reports whether no packet is in both spaces. Where it cannot tell it says no.
func Disjoint(s, t Space) bool {
	if s.empty || t.empty {
		return true
	}
	i, j := 0, 0
	for i < len(s.fields) && j < len(t.fields) {
		a, b := &s.fields[i], &t.fields[j]
		switch a.field.compare(b.field) {
		case -1:
			i++
		case 1:
			j++
		default:
			if a.excludes(b) {
				return true
			}
			i, j = i+1, j+1
		}
	}
	return false
}

// excludes reports whether no packet can have both.
func (c *constraint) excludes(d *constraint) bool {
	if c.weak && d.weak {
		return false // a packet without the field
	}
	if c.in.Disjoint(d.in) {
		return true
	}
	for _, m := range c.masks {
		if slices.ContainsFunc(d.masks, m.disjoint) || !m.meets(d.in, c.field.Len) {
			return true
		}
	}
	return slices.ContainsFunc(d.masks, func(m Mask) bool { return !m.meets(c.in, c.field.Len) })
}

// Covers reports whether every packet of t is in s. Where it cannot tell it says no.
func Covers(s, t Space) bool {
	if t.empty {
		return true
	}
	if s.empty || s.inexact || s.tags {
		return false
	}
	for _, c := range s.fields {
		if c.weak {
			continue // follows from the others
		}
		i, ok := t.find(c.field)
		if !ok || t.fields[i].weak || len(c.masks) > 0 || !t.fields[i].in.Within(c.in) {
			return false
		}
	}
	return true
}

// Constraint is what a space says about a field that the packet has.
type Constraint struct {
	Field Field
	In    Set
	Masks []Mask // hold, too; empty where In says everything
}

// Constraints are what makes the space, in the order of the fields. What follows from others is left out.
func (s Space) Constraints() []Constraint {
	out := make([]Constraint, 0, len(s.fields))
	for _, c := range s.fields {
		if !c.weak {
			out = append(out, Constraint{c.field, c.in, c.masks})
		}
	}
	return out
}

// From is the packets that come in by a device; Ethernet says that it is one of Ethernet.
func From(device string, ethernet bool) Space {
	s := Where(InDevice(), One(Name(device))).Meet(Where(InName(), One(Name(device))))
	if ethernet {
		const arphrdEther = 1 // include/uapi/linux/if_arp.h
		s = s.Meet(Where(InType(), One(Number(arphrdEther))))
	}
	return s
}
