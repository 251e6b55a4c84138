package lookup

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Site is a place in a program where a key is looked up. Registers 0 to 5 are lost there.
type Site struct {
	// Map is the name of the map.
	Map string
	// Pages is the size of the map, and Tuples the most tuples that a table will have; 0: as many as there may be. The
	// fewer, the fewer ways there are that the verifier has to follow.
	Pages, Tuples int
	// Base is a register, 6 to 10, and Words are the offsets from it of the key's words, 8 bytes each: memory that may
	// be read.
	Base  asm.Register
	Words []int16
	// Stack is where, from register 10 and a multiple of 8, StackBytes of the stack begin that the search may use.
	Stack int16
	// Work is where, from Base, WorkBytes of a map's value begin that Tuples may use.
	Work int16
	// Data is the register that gets the data; the instructions behind the last one go on with it.
	Data asm.Register
	// Miss is the label of the instruction that goes on if there is no such key.
	Miss string
	// Label is what the labels of the search begin with: another one for each site of a program.
	Label string
}

// StackBytes is the size of the stack that a search uses.
const StackBytes = 24

const (
	stackLevel = 0  // 8 bytes: inner pages ahead
	stackIndex = 8  // 4 bytes: the page
	stackTuple = 16 // 8 bytes: the tuple
)

// Contiguous is the offsets of so many words from one on.
func Contiguous(offset int16, words int) []int16 {
	out := make([]int16, words)
	for i := range out {
		out[i] = offset + int16(8*i)
	}
	return out
}

// check finds what the caller got wrong.
func (s Site) check(words int) error {
	switch {
	case len(s.Words) != words:
		return fmt.Errorf("look up in %s: a key of %d words, not %d", s.Map, len(s.Words), words)
	case s.Base < asm.R6 || s.Base > asm.R10:
		return fmt.Errorf("look up in %s: a search does not keep %v", s.Map, s.Base)
	case s.Stack%8 != 0 || s.Stack > -StackBytes:
		return fmt.Errorf("look up in %s: no place on the stack at %d", s.Map, s.Stack)
	}
	return nil
}

// label is one of the site's own.
func (s Site) label(name string) string { return s.Label + "_" + name }

// page calls for the page whose number is on the stack.
func (s Site) page(miss string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, 0).WithReference(s.Map),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, int32(s.Stack+stackIndex)),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, miss),
	}
}

// Hash looks the key up in a hash map of keys of so many words and data of 4 bytes. The words have to lie one behind the
// other.
func Hash(words int, s Site) (asm.Instructions, error) {
	if err := s.check(words); err != nil {
		return nil, err
	}
	for i, at := range s.Words {
		if at != s.Words[0]+int16(8*i) {
			return nil, fmt.Errorf("look up in %s: the words of the key do not lie one behind the other", s.Map)
		}
	}
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, 0).WithReference(s.Map),
		asm.Mov.Reg(asm.R2, s.Base),
		asm.Add.Imm(asm.R2, int32(s.Words[0])),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, s.Miss),
		asm.LoadMem(s.Data, asm.R0, 0, asm.Word),
	}, nil
}
