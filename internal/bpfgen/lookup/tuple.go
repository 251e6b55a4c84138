package lookup

import (
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/bpfgen/tuple"
)

// What Tuples keeps in the memory of the site: the masked key with the number of the tuple in front, then these. It is
// a map's, because the verifier knows nothing of what is in there: so ways that differ only in that are one to it.
const (
	workRoot  = iota // of the header: the root, and in the upper half the number of tuples
	workBest         // the lowest data yet, or nothing
	workWords        // how many there are
)

// nothing is more than any data.
const nothing = -1

// WorkBytes is the memory that Tuples needs, of a space whose tree has this layout.
func WorkBytes(l tree.Layout) int { return 8 * (l.Words() + workWords) }

// Tuples looks the key up in a table of tuples. The words of the site are those of the key's components one after
// another. Lowest says that the tuples' elements overlap, and that the lowest data is meant; else the first that is
// found is as good.
func Tuples(space tuple.Space, lowest bool, s Site) (asm.Instructions, error) {
	if err := s.check(len(space.Order())); err != nil {
		return nil, err
	}
	words := make([]int16, 0, len(s.Words))
	for _, w := range space.Order() {
		words = append(words, s.Words[w])
	}
	s.Words = words
	if space.Plain() {
		return Tree(space.Layout(), s)
	}
	return tuples{s, space.Layout(), lowest}.all()
}

// tuples is a lookup in a table of tuples. The site's words are in the order of the tree's.
type tuples struct {
	Site
	layout tree.Layout
	lowest bool
}

func (t tuples) all() (asm.Instructions, error) {
	more, done := t.label("tuple"), t.label("done")
	insns := asm.Instructions{asm.StoreImm(asm.R10, t.Stack+stackIndex, 0, asm.Word)}
	insns = append(insns, t.page(t.Miss)...)
	insns = append(insns,
		// Both at once: so the tuples of all elements below the root are known.
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.StoreMem(t.Base, t.work(workRoot), asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R1, nothing),
		asm.StoreMem(t.Base, t.work(workBest), asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R3, 0),
		asm.StoreMem(asm.R10, t.Stack+stackTuple, asm.R3, asm.DWord),
		// The number of the tuple is in register 3 here.
		asm.LoadMem(asm.R1, t.Base, t.work(workRoot), asm.DWord).WithSymbol(more),
		asm.RSh.Imm(asm.R1, 32),
		asm.JGE.Reg(asm.R3, asm.R1, done),
		asm.JGE.Imm(asm.R3, int32(t.most()), done))
	insns = append(insns, t.mask(done)...)
	found, err := t.search()
	if err != nil {
		return nil, err
	}
	insns = append(insns, found...)
	insns = append(insns,
		asm.LoadMem(asm.R3, asm.R10, t.Stack+stackTuple, asm.DWord).WithSymbol(t.label("next")),
		asm.Add.Imm(asm.R3, 1),
		asm.StoreMem(asm.R10, t.Stack+stackTuple, asm.R3, asm.DWord),
		asm.Ja.Label(more))
	if !t.lowest {
		insns = append(insns,
			asm.Ja.Label(t.Miss).WithSymbol(done),
			asm.Mov.Reg(t.Data, asm.R1).WithSymbol(t.label("hit")))
		return insns, nil
	}
	return append(insns,
		asm.LoadMem(asm.R1, t.Base, t.work(workBest), asm.DWord).WithSymbol(done),
		asm.JEq.Imm(asm.R1, nothing, t.Miss),
		asm.Mov.Reg(t.Data, asm.R1)), nil
}

// most is the most tuples that are looked into.
func (t tuples) most() int {
	if t.Tuples == 0 {
		return tuple.MaxTuples
	}
	return min(t.Tuples, tuple.MaxTuples)
}

// mask makes the tree's key for the tuple in register 3.
func (t tuples) mask(done string) asm.Instructions {
	insns := asm.Instructions{
		asm.StoreMem(t.Base, t.Work, asm.R3, asm.DWord),
		asm.Add.Imm(asm.R3, 1), // behind the header
		asm.StoreMem(asm.R10, t.Stack+stackIndex, asm.R3, asm.Word),
	}
	insns = append(insns, t.page(done)...)
	for i, at := range t.Words {
		insns = append(insns,
			asm.LoadMem(asm.R1, t.Base, at, asm.DWord),
			asm.LoadMem(asm.R2, asm.R0, int16(8*i), asm.DWord),
			asm.And.Reg(asm.R1, asm.R2),
			asm.StoreMem(t.Base, t.Work+int16(8*(1+i)), asm.R1, asm.DWord))
	}
	return insns
}

// search looks for the masked key, and goes on behind its last instruction if that was not enough.
func (t tuples) search() (asm.Instructions, error) {
	site := t.Site
	site.Words, site.Data, site.Miss = Contiguous(t.Work, t.layout.Words()), asm.R1, t.label("next")
	if err := site.check(t.layout.Words()); err != nil {
		return nil, err
	}
	insns := asm.Instructions{
		asm.LoadMem(asm.R1, t.Base, t.work(workRoot), asm.DWord),
		asm.LSh.Imm(asm.R1, 32),
		asm.RSh.Imm(asm.R1, 32),
		asm.JEq.Imm(asm.R1, 0, t.Miss),
	}
	insns = append(insns, search{Site: site, layout: t.layout}.all()...)
	if !t.lowest {
		return append(insns, asm.Ja.Label(t.label("hit"))), nil
	}
	return append(insns,
		asm.LoadMem(asm.R2, t.Base, t.work(workBest), asm.DWord),
		asm.JGE.Reg(asm.R1, asm.R2, t.label("next")),
		asm.StoreMem(t.Base, t.work(workBest), asm.R1, asm.DWord)), nil
}

// work is a place in the site's memory.
func (t tuples) work(place int) int16 { return t.Work + int16(8*(t.layout.Words()+place)) }
