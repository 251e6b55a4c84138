package bpfgen

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/bpfgen/lookup"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// table is a map that fields are looked up in: a hash, or where keys may be intervals a tree.
type table struct {
	name  string
	hash  bool
	space tuple.Space
	// lowest says that several elements may have a key, of which the one with the lowest data counts.
	lowest bool
	// pages is the size of a tree's map, tuples how many it has at most; 0: as many as there may be.
	pages, tuples int
}

// steps is what a lookup costs the verifier, about (see package lookup).
func (t table) steps() int {
	switch {
	case t.hash:
		return 6
	case t.space.Layout().Words() == 1:
		return 700
	case t.space.Plain():
		return 7_000
	case t.tuples == 0:
		return 75_000
	}
	return 10_000 + 4_000*t.tuples
}

// bitsOf is the width of fields.
func bitsOf(fs []share.Field) []int {
	out := make([]int, len(fs))
	for i, f := range fs {
		out[i] = f.At.Len
	}
	return out
}

// wordsOf is how many words keys of so many bits have.
func wordsOf(bits []int) int {
	n := 0
	for _, b := range bits {
		n += words(b)
	}
	return n
}

// element is a key of a table that does not change, and its data.
type element = tuple.Element

// table makes a table that does not change. Of elements with the same key the lowest data counts.
func (m *maps) table(name string, bits []int, elements []element) (table, error) {
	if wordsOf(bits) > maxKeyWords {
		return table{}, fmt.Errorf("look up keys of %d words: %w", wordsOf(bits), ErrTooLarge)
	}
	if len(elements) > maxStatic {
		return table{}, fmt.Errorf("look up in %d keys: %w", len(elements), ErrTooLarge)
	}
	// Of keys of one word a tree finds even single values sooner than a hash does (BenchmarkLookup of package lookup).
	if exact(elements) && wordsOf(bits) > 1 {
		return m.hash(name, bits, elements), nil
	}
	keys := make([]share.Key, len(elements))
	for i, e := range elements {
		keys[i] = e.Key
	}
	space, err := tuple.NewSpace(bits, tuple.Ranged(bits, keys))
	if err != nil {
		return table{}, err
	}
	pieces := 0
	for _, e := range elements {
		p, err := space.Split(e.Key, e.Data)
		if err != nil {
			return table{}, fmt.Errorf("make a table of intervals: %w", err)
		}
		if pieces += len(p); pieces > maxStatic {
			return table{}, fmt.Errorf("make a table of intervals: %w", ErrTooLarge)
		}
	}
	page := space.Layout().PageBytes()
	pages := space.Pages(2 * pieces) // of intervals that overlap
	arena := make([]uint32, pages*page/4)
	t, err := tuple.New(arena, space, nil)
	if err != nil {
		return table{}, err
	}
	if err := t.Fill(elements, true); err != nil {
		return table{}, fmt.Errorf("make a table of intervals: %w", err)
	}
	m.add(Map{
		Name: name, Kind: Array, KeySize: 4, ValueSize: uint32(page), Entries: uint32(pages), Set: noSet,
		Words: wordsOf(bits), Contents: pagesOf(arena, page),
	})
	return table{name: name, space: space, lowest: true, pages: pages, tuples: t.Tuples()}, nil
}

// maxStatic is the most keys of a table that stands for rules.
const maxStatic = 1 << 20

// pagesOf is the pages of an arena that are not empty.
func pagesOf(arena []uint32, page int) []Pair {
	var out []Pair
	for i := range len(arena) * 4 / page {
		cells := arena[i*page/4 : (i+1)*page/4]
		if !slices.ContainsFunc(cells, func(c uint32) bool { return c != 0 }) {
			continue
		}
		p := Pair{Key: binary.NativeEndian.AppendUint32(nil, uint32(i)), Value: make([]byte, 0, page)}
		for _, c := range cells {
			p.Value = binary.NativeEndian.AppendUint32(p.Value, c)
		}
		out = append(out, p)
	}
	return out
}

// exact reports whether keys are values, not intervals.
func exact(es []element) bool {
	for _, e := range es {
		for _, iv := range e.Key {
			if iv.First != iv.Last {
				return false
			}
		}
	}
	return true
}

func (m *maps) hash(name string, bits []int, elements []element) table {
	x := Map{Name: name, Kind: Hash, KeySize: uint32(8 * wordsOf(bits)), ValueSize: 4, Set: noSet, Words: wordsOf(bits)}
	seen := make(map[string]uint32, len(elements))
	for _, e := range elements {
		var b []byte
		for i, n := range bits {
			b = appendWords(b, e.Key[i].First, n)
		}
		at, ok := seen[string(b)]
		if !ok {
			seen[string(b)] = uint32(len(x.Contents))
			x.Contents = append(x.Contents, Pair{Key: b, Value: binary.NativeEndian.AppendUint32(nil, e.Data)})
			continue
		}
		old := x.Contents[at].Value
		binary.NativeEndian.PutUint32(old, min(binary.NativeEndian.Uint32(old), e.Data))
	}
	x.Entries = uint32(max(1, len(x.Contents)))
	return table{name: m.add(x), hash: true}
}

// lookup looks fields up: R1 is the data, or the packet goes to miss.
func (m *matcher) lookup(t table, fs []share.Field, miss label) error {
	at := m.key(fs)
	m.steps += t.steps()
	if t.hash {
		m.add(asm.Mov.Reg(asm.R2, regScratch), asm.Add.Imm(asm.R2, int32(at[0])),
			mapPtr(asm.R1, t.name),
			asm.FnMapLookupElem.Call())
		m.jump(asm.JEq.Imm(asm.R0, 0, ""), miss)
		m.add(asm.LoadMem(asm.R1, asm.R0, 0, asm.Word))
		return nil
	}
	ins, err := lookup.Tuples(t.space, t.lowest, lookup.Site{
		Map: t.name, Pages: t.pages, Tuples: t.tuples, Base: regScratch, Words: at, Stack: -lookup.StackBytes, Work: int16(m.l.work),
		Data: asm.R1, Miss: missLabel, Label: "l",
	})
	if err != nil {
		return err
	}
	m.merge(ins, map[string]label{missLabel: miss})
	return nil
}

const missLabel = "miss"

// key returns where the words of fields are, in the scratch value and one after another. It uses R1, R2 and R5.
func (m *matcher) key(fs []share.Field) []int16 {
	if p := m.l.places[spotOf(fs[0])]; len(fs) == 1 && fs[0].Mask == ones(fs[0].At.Len) {
		return lookup.Contiguous(int16(p.at), p.words)
	}
	to := m.l.key
	for _, f := range fs {
		m.load(f, asm.R1, asm.R2)
		m.add(store(to, asm.R1, asm.DWord))
		to += 8
		if m.l.places[spotOf(f)].words == 2 {
			m.add(store(to, asm.R2, asm.DWord))
			to += 8
		}
	}
	return lookup.Contiguous(int16(m.l.key), (to-m.l.key)/8)
}

// merge adds instructions whose jumps have names.
func (c *code) merge(ins asm.Instructions, names map[string]label) {
	at := func(name string) label {
		l, ok := names[name]
		if !ok {
			l = c.label()
			names[name] = l
		}
		return l
	}
	for _, i := range ins {
		if s := i.Symbol(); s != "" {
			c.bind(at(s))
			i = i.WithSymbol("")
		}
		if ref := i.Reference(); ref != "" && i.OpCode.Class().IsJump() {
			c.jump(i, at(ref))
			continue
		}
		c.add(i)
	}
}

// Sizes of the maps of named sets that have no size of their own. They do not depend on the elements, which change. The pages
// of trees are there from the start: 30 MB for intervals of 32 bits.
const (
	maxElements = 1 << 20
	maxTuples   = 1 << 17 // elements with several components, or of more than 64 bits, take more room
	// preallocated is the largest hash whose elements are allocated with it.
	preallocated = 1 << 16
)

// set is the table of a named set that some fields are looked up in.
func (m *maps) set(i int, fs []share.Field) (table, error) {
	if i < 0 || i >= len(m.share.Sets) {
		return table{}, fmt.Errorf("look up in set %d: there is none: %w", i, ErrUnsupported)
	}
	s := &m.share.Sets[i]
	var bits []int
	ok := len(fs) == len(s.Parts)
	for j, p := range s.Parts {
		bits = append(bits, p.Bits)
		ok = ok && words(p.Bits) == words(fs[j].At.Len)
	}
	if n := wordsOf(bits); !ok || n == 0 || n > maxKeyWords {
		return table{}, fmt.Errorf("look up %d fields in set %s, whose keys are not of that kind: %w", len(fs), s.Name, ErrUnsupported)
	}
	if t, ok := m.sets[i]; ok {
		return t, nil
	}
	t := table{name: fmt.Sprintf("set%d", i), hash: !s.Ranges}
	x := Map{Name: t.name, Set: i, Words: wordsOf(bits)}
	size := s.Size
	if t.hash {
		if size == 0 {
			size = maxElements
		}
		x.Kind, x.KeySize, x.ValueSize, x.Entries = Hash, uint32(8*x.Words), 4, uint32(size)
		x.NoPrealloc = size > preallocated
	} else {
		// The elements are not known: package rules takes the widest component, too.
		var err error
		if t.space, err = tuple.NewSpace(bits, tuple.Widest(bits)); err != nil {
			return table{}, fmt.Errorf("look up in set %s: %w", s.Name, err)
		}
		if size == 0 {
			size = maxElements
			if x.Words > 1 {
				size = maxTuples
			}
		}
		x.Kind, x.KeySize, x.ValueSize = Tree, 4, uint32(t.space.Layout().PageBytes())
		t.pages = t.space.Pages(size)
		x.Entries = uint32(t.pages)
	}
	m.add(x)
	m.sets[i] = t
	return t, nil
}

// literal is a table of the keys of a condition.
func (m *maps) literal(fs []share.Field, keys []share.Key) (table, error) {
	es := make([]element, len(keys))
	var id strings.Builder
	fmt.Fprint(&id, bitsOf(fs))
	for i, k := range keys {
		es[i].Key = k
		for _, iv := range k {
			id.Write(iv.First.Bytes(16))
			id.Write(iv.Last.Bytes(16))
		}
	}
	if t, ok := m.literals[id.String()]; ok {
		return t, nil
	}
	t, err := m.table(fmt.Sprintf("literal%d", len(m.literals)), bitsOf(fs), es)
	if err == nil {
		m.literals[id.String()] = t
	}
	return t, err
}
