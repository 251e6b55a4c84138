package lookup

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
)

// Tree looks the key up in a tree of this layout.
func Tree(l tree.Layout, s Site) (asm.Instructions, error) {
	if err := s.check(l.Words()); err != nil {
		return nil, err
	}
	insns := asm.Instructions{asm.StoreImm(asm.R10, s.Stack+stackIndex, 0, asm.Word)}
	insns = append(insns, s.page(s.Miss)...)
	insns = append(insns,
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.JEq.Imm(asm.R1, 0, s.Miss))
	return append(insns, search{Site: s, layout: l}.all()...), nil
}

// search is a search of a tree whose root is known.
type search struct {
	Site
	layout tree.Layout
}

// all is the search from the root, which is in register 1, as the header has it.
func (s search) all() asm.Instructions {
	leaf := s.label("leaf")
	insns := asm.Instructions{
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.RSh.Imm(asm.R2, tree.HeightBits),
		asm.StoreMem(asm.R10, s.Stack+stackIndex, asm.R2, asm.Word),
		asm.And.Imm(asm.R1, tree.MaxHeight),
		asm.JGT.Imm(asm.R1, int32(s.height()), s.Miss), // cannot be
		asm.StoreMem(asm.R10, s.Stack+stackLevel, asm.R1, asm.DWord),
	}
	level := s.page(s.Miss)
	level[0] = level[0].WithSymbol(s.label("level"))
	insns = append(insns, level...)
	insns = append(insns,
		asm.LoadMem(asm.R1, asm.R10, s.Stack+stackLevel, asm.DWord),
		// Not "is 0": only this comparison tells a verifier that what is behind it is 1 or more.
		asm.JLT.Imm(asm.R1, 1, leaf),
		asm.Sub.Imm(asm.R1, 1),
		asm.StoreMem(asm.R10, s.Stack+stackLevel, asm.R1, asm.DWord))
	insns = append(insns, s.within(s.layout.Inner())...)
	insns = append(insns,
		asm.LoadMem(asm.R2, asm.R0, int16(s.layout.Inner().Value), asm.Word),
		asm.StoreMem(asm.R10, s.Stack+stackIndex, asm.R2, asm.Word),
		// The verifier compares registers, not the stack, when it looks for loops without an end.
		asm.LoadMem(asm.R1, asm.R10, s.Stack+stackLevel, asm.DWord),
		asm.Ja.Label(s.label("level")))
	inLeaf := s.within(s.layout.Leaf())
	inLeaf[0] = inLeaf[0].WithSymbol(leaf)
	insns = append(insns, inLeaf...)
	return append(insns, s.inside()...)
}

// height is the most inner pages that the search goes through.
func (s search) height() int {
	if s.Pages == 0 {
		return tree.MaxHeight
	}
	return s.layout.Height(s.Pages)
}

// within moves register 0 from the first record of a page to the last whose key is not above ours, or leaves it there.
func (s search) within(n tree.Node) asm.Instructions {
	var insns asm.Instructions
	single := s.layout.Words() == 1 && !s.wide()
	if single {
		insns = append(insns, s.key(0), asm.Add.Imm(asm.R1, 1))
	}
	for i, step := range tree.Steps(n.Records) {
		at := int16(step * n.Stride)
		if single {
			// Negative if and only if the record's key is at most ours.
			insns = append(insns, s.word(at), asm.Sub.Reg(asm.R2, asm.R1))
		} else {
			insns = append(insns, s.compare(at, fmt.Sprintf("%d_%d", n.Value, i))...)
		}
		insns = append(insns, s.advance(at)...)
	}
	return insns
}

// compare makes register 2 negative if the key of the record at an offset is not above ours. The first words that
// differ decide, or else the last ones.
func (s search) compare(at int16, name string) asm.Instructions {
	var insns asm.Instructions
	differ := s.label("differ_" + name)
	last := s.layout.Words() - 1
	for w := range last + 1 {
		insns = append(insns, s.word(at+int16(w*s.layout.WordBytes())), s.key(w))
		if w < last {
			insns = append(insns, asm.JNE.Reg(asm.R2, asm.R1, differ))
		}
	}
	result := notAbove()
	if s.wide() {
		result = notAbove64()
	}
	if last > 0 {
		result[0] = result[0].WithSymbol(differ)
	}
	return append(insns, result...)
}

// narrowBits is how wide words may be whose difference, and one less, has its sign in the highest two bits.
const narrowBits = 62

// wide says that there are words for which a difference is not enough.
func (s search) wide() bool {
	for w := range s.layout.Words() {
		if s.layout.Bits(w) > narrowBits {
			return true
		}
	}
	return false
}

// advance adds so much to register 0 if register 2 is negative. Newer verifiers follow both ways of a value that is
// either 0 or -1 (s>> 63, then &), which would be 2^n ways here; so it must not be known to be that.
func (s search) advance(by int16) asm.Instructions {
	if s.wide() {
		return asm.Instructions{asm.RSh.Imm(asm.R2, 63), asm.Mul.Imm(asm.R2, int32(by)), asm.Add.Reg(asm.R0, asm.R2)}
	}
	return asm.Instructions{asm.ArSh.Imm(asm.R2, narrowBits), asm.And.Imm(asm.R2, int32(by)), asm.Add.Reg(asm.R0, asm.R2)}
}

// notAbove makes register 2 negative if it is not above register 1, of numbers of so few bits.
func notAbove() asm.Instructions {
	return asm.Instructions{asm.Sub.Reg(asm.R2, asm.R1), asm.Sub.Imm(asm.R2, 1)}
}

// notAbove64 does so for any numbers: the highest bit of r1 - r2 is not the borrow if the numbers' highest bits differ.
func notAbove64() asm.Instructions {
	return asm.Instructions{
		// r2 <= r1 <=> no borrow in r1 - r2; borrow = (^r1 & r2) | ((^r1 | r2) & (r1 - r2))
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Xor.Imm(asm.R3, -1),
		asm.Sub.Reg(asm.R1, asm.R2),
		asm.Mov.Reg(asm.R4, asm.R3),
		asm.Or.Reg(asm.R4, asm.R2),
		asm.And.Reg(asm.R4, asm.R1),
		asm.And.Reg(asm.R2, asm.R3),
		asm.Or.Reg(asm.R2, asm.R4),
		asm.Xor.Imm(asm.R2, -1),
	}
}

// inside goes on only if our key is in the interval of the record at register 0.
func (s search) inside() asm.Instructions {
	from, to := s.label("from"), s.label("to")
	size := s.layout.WordBytes()
	last := s.layout.Words() - 1
	var begins, ends asm.Instructions
	for w := range last + 1 {
		begins = append(begins, s.word(int16(w*size)), s.key(w))
		ends = append(ends, s.word(int16((last+1+w)*size)), s.key(w))
		if w < last {
			begins = append(begins, asm.JLT.Reg(asm.R2, asm.R1, from))
			ends = append(ends, asm.JGT.Reg(asm.R2, asm.R1, to))
		}
		begins = append(begins, asm.JGT.Reg(asm.R2, asm.R1, s.Miss))
		ends = append(ends, asm.JLT.Reg(asm.R2, asm.R1, s.Miss))
	}
	ends[0] = ends[0].WithSymbol(from)
	data := asm.LoadMem(s.Data, asm.R0, int16(s.layout.Leaf().Value), asm.Word).WithSymbol(to)
	return append(append(begins, ends...), data)
}

// key loads a word of our key into register 1.
func (s search) key(word int) asm.Instruction {
	return asm.LoadMem(asm.R1, s.Base, s.Words[word], asm.DWord)
}

// word loads a word of a record into register 2.
func (s search) word(at int16) asm.Instruction {
	size := asm.Word
	if s.layout.WordBytes() == 8 {
		size = asm.DWord
	}
	return asm.LoadMem(asm.R2, asm.R0, at, size)
}
