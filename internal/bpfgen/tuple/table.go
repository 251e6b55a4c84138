package tuple

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// Element is a key, and what it stands for.
type Element struct {
	Key  share.Key
	Data uint32
}

// Table is what writes a tree of tuples. It is not safe for use by several goroutines.
type Table struct {
	space Space
	tree  *tree.Tree
	ids   map[Masks]int
	masks []Masks // by number
	uses  []int   // pieces of each
}

// New makes an empty table in an arena, as tree.New does.
func New(arena []uint32, s Space, grace func() error) (*Table, error) {
	t, err := tree.New(arena, s.layout, tree.Options{Reserved: s.Reserved(), Grace: grace})
	if err != nil {
		return nil, err
	}
	out := &Table{space: s, tree: t, ids: map[Masks]int{}}
	out.announce()
	return out, nil
}

// Tree is the tree below, to read.
func (t *Table) Tree() *tree.Tree { return t.tree }

// Tuples is the number of tuples, which is that of the searches of a lookup.
func (t *Table) Tuples() int { return len(t.masks) }

// Apply takes elements out and puts others in, at once for readers; or changes nothing and returns an error: a
// *LimitError, a *tree.OverlapError, a *tree.MissingError, tree.ErrFull. Elements that are taken out have the keys with
// which they were put in.
func (t *Table) Apply(gone, come []Element) error {
	out, err := t.pieces(gone)
	if err != nil {
		return err
	}
	in, err := t.pieces(come)
	if err != nil {
		return err
	}
	for _, p := range out {
		if _, ok := t.ids[p.Masks]; !ok && !t.space.Plain() {
			return fmt.Errorf("take an element out of tuples: %w", &tree.MissingError{Element: p.Element})
		}
	}
	if err := t.assign(in); err != nil {
		return err
	}
	if err := t.tree.Apply(t.keys(out), t.keys(in)); err != nil {
		return err
	}
	t.count(out, -1)
	t.count(in, 1)
	return nil
}

// Fill puts elements in the place of all there are. They may overlap, with Cut: then each key gets the lowest data of
// the elements that have it, but over several tuples it is the program that has to look for the lowest. After Cut,
// Apply must not be used.
func (t *Table) Fill(elements []Element, cut bool) error {
	pieces, err := t.pieces(elements)
	if err != nil {
		return err
	}
	if err := t.assign(pieces); err != nil {
		return err
	}
	keys := t.keys(pieces)
	if cut {
		if keys, err = t.space.layout.Cut(keys); err != nil {
			return err
		}
	}
	tree.Sorted(keys)
	if err := t.tree.Build(slices.Values(keys)); err != nil {
		return err
	}
	clear(t.uses)
	t.count(pieces, 1)
	return nil
}

func (t *Table) pieces(elements []Element) ([]Piece, error) {
	var out []Piece
	for _, e := range elements {
		p, err := t.space.Split(e.Key, e.Data)
		if err != nil {
			return nil, fmt.Errorf("split an element: %w", err)
		}
		out = append(out, p...)
	}
	return out, nil
}

// count notes how many pieces tuples have.
func (t *Table) count(pieces []Piece, by int) {
	if t.space.Plain() {
		return
	}
	for _, p := range pieces {
		t.uses[t.ids[p.Masks]] += by
	}
}

// keys makes elements of the tree of pieces whose tuples have numbers.
func (t *Table) keys(pieces []Piece) []tree.Element {
	out := make([]tree.Element, len(pieces))
	for i, p := range pieces {
		out[i] = p.Element
		if !t.space.Plain() {
			id := []uint64{uint64(t.ids[p.Masks])}
			out[i].First, out[i].Last = slices.Concat(id, p.Element.First), slices.Concat(id, p.Element.Last)
		}
	}
	return out
}

// assign gives numbers to the tuples of pieces that have none.
func (t *Table) assign(pieces []Piece) error {
	if t.space.Plain() {
		return nil
	}
	needed := map[Masks]bool{}
	var missing []Masks
	for _, p := range pieces {
		if _, ok := t.ids[p.Masks]; !ok && !needed[p.Masks] {
			missing = append(missing, p.Masks)
		}
		needed[p.Masks] = true
	}
	fresh := min(len(missing), MaxTuples-len(t.masks))
	if err := t.reuse(missing[fresh:], needed); err != nil {
		return err
	}
	for _, m := range missing[:fresh] {
		t.masks, t.uses = append(t.masks, m), append(t.uses, 0)
		t.write(len(t.masks)-1, m)
	}
	t.announce()
	return nil
}

// reuse gives the numbers of tuples that have no elements to others.
func (t *Table) reuse(missing []Masks, needed map[Masks]bool) error {
	if len(missing) == 0 {
		return nil
	}
	var empty []int
	for id, n := range t.uses {
		if n == 0 && !needed[t.masks[id]] {
			empty = append(empty, id)
		}
	}
	if len(empty) < len(missing) {
		return fmt.Errorf("find a place for a combination of prefix lengths: %w", &LimitError{"combinations of prefix lengths", MaxTuples})
	}
	// Readers that still see the last elements must not see them with other masks; and those that see half of the
	// masks must not see the first new elements.
	if err := t.tree.Grace(); err != nil {
		return err
	}
	for i, m := range missing {
		delete(t.ids, t.masks[empty[i]])
		t.masks[empty[i]] = m
		t.write(empty[i], m)
	}
	return t.tree.Grace()
}

// write puts the masks of a tuple where the program finds them.
func (t *Table) write(id int, m Masks) {
	t.ids[m] = id
	page := t.tree.Reserved(id)
	for i, w := range m[:t.space.layout.Words()-1] {
		page[2*i], page[2*i+1] = uint32(w), uint32(w>>32)
	}
}

// announce says how many tuples there are.
func (t *Table) announce() {
	atomic.StoreUint32(&t.tree.Header()[0], uint32(len(t.masks)))
}

// Lookup is the lowest data of the elements that have a key, whose words are those of its components one after another.
func (t *Table) Lookup(key []uint64) (data uint32, ok bool) {
	if t.space.Plain() {
		return t.tree.Lookup(key)
	}
	own := make([]uint64, t.space.layout.Words())
	for id, m := range t.masks {
		own[0] = uint64(id)
		for i, w := range t.space.Order() {
			own[1+i] = key[w] & m[i]
		}
		if d, found := t.tree.Lookup(own); found && (!ok || d < data) {
			data, ok = d, true
		}
	}
	return data, ok
}
