package bpfgen

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Registers that keep their meaning in a chunk. R1 to R5 are anybody's; R0 is what was called for.
const (
	regCtx     = asm.R6
	regAbsent  = asm.R7 // in the prologue: classes of fields that the packet has not
	regDoubt   = asm.R8 // in the prologue: classes of fields of which the program cannot tell
	regScratch = asm.R9
)

// label is a place to jump to: in the same piece of code, where it is 0 or more, or one of those below.
type label int

// Places that every chunk has or calls another chunk for.
const (
	toLeave   label = -1 - iota // leave the packet to the kernel: the program cannot tell
	toDrop                      // R1 is the slot of a counter and 1, or 0
	toForward                   // the same; the device is in the scratch value
	toPass                      // leave the packet without counting it
	toSuspend                   // the lease has run out
	toEntry                     // entry 0; toEntry-n is entry n
)

// entryLabel is where an entry begins, or the end of the share.
func entryLabel(n int) label { return toEntry - label(n) }

// entry is the number of the entry that a label stands for.
func (l label) entry() (int, bool) { return int(toEntry - l), l <= toEntry }

// code is a piece of a chunk: instructions whose jumps are not resolved.
type code struct {
	ins    []asm.Instruction
	jumps  []jump
	labels []int // index of an instruction, or unbound
	steps  int   // that lookups cost the verifier
}

type jump struct {
	at int
	to label
}

const unbound = -1

// label makes a place that is bound later.
func (c *code) label() label {
	c.labels = append(c.labels, unbound)
	return label(len(c.labels) - 1)
}

// bind makes the next instruction the place of a label.
func (c *code) bind(l label) { c.labels[l] = len(c.ins) }

func (c *code) add(ins ...asm.Instruction) { c.ins = append(c.ins, ins...) }

// jump adds an instruction that may continue elsewhere.
func (c *code) jump(ins asm.Instruction, to label) {
	c.jumps = append(c.jumps, jump{len(c.ins), to})
	c.ins = append(c.ins, ins)
}

func (c *code) goTo(to label) { c.jump(asm.Ja.Label(""), to) }

// If jumps where a register is so to a constant. Numbers that an instruction has no room for go by way of R5.
func (c *code) jumpIf(op asm.JumpOp, reg asm.Register, value uint64, bits int, to label) {
	switch {
	case value <= 1<<31-1:
		c.jump(op.Imm(reg, int32(value), ""), to)
	case bits <= 32:
		c.jump(op.Imm32(reg, int32(uint32(value)), ""), to)
	default:
		c.add(asm.LoadImm(asm.R5, int64(value), asm.DWord))
		c.jump(op.Reg(reg, asm.R5, ""), to)
	}
}

// and masks a register.
func (c *code) and(reg asm.Register, mask uint64) {
	switch {
	case mask == ^uint64(0):
	case mask <= 1<<31-1:
		c.add(asm.And.Imm(reg, int32(mask)))
	case mask <= 1<<32-1:
		c.add(asm.And.Imm32(reg, int32(uint32(mask)))) // clears the upper half, too
	default:
		c.add(asm.LoadImm(asm.R5, int64(mask), asm.DWord), asm.And.Reg(reg, asm.R5))
	}
}

// append adds another piece behind this one.
func (c *code) append(d *code) {
	base, labels := len(c.ins), label(len(c.labels))
	c.ins = append(c.ins, d.ins...)
	c.steps += d.steps
	for _, l := range d.labels {
		if l != unbound {
			l += base
		}
		c.labels = append(c.labels, l)
	}
	for _, j := range d.jumps {
		if j.to >= 0 {
			j.to += labels
		}
		c.jumps = append(c.jumps, jump{base + j.at, j.to})
	}
}

// width is how many slots of 8 bytes an instruction takes.
func width(ins asm.Instruction) int { return int(ins.Size() / asm.InstructionSize) }

func (c *code) size() int {
	n := 0
	for _, ins := range c.ins {
		n += width(ins)
	}
	return n
}

// link resolves the jumps. Instructions that are never come to are left out: the kernel refuses them.
func (c *code) link() (asm.Instructions, error) {
	target := make([]int, len(c.ins)) // of a jump: where it goes
	for i := range target {
		target[i] = unbound
	}
	for _, j := range c.jumps {
		if j.to < 0 || c.labels[j.to] == unbound || c.labels[j.to] >= len(c.ins) {
			return nil, fmt.Errorf("link instruction %d: no place for label %d", j.at, j.to)
		}
		target[j.at] = c.labels[j.to]
	}
	live := c.live(target)
	at := make([]int, len(c.ins)+1) // where an instruction is in the program
	for i, ins := range c.ins {
		at[i+1] = at[i]
		if live[i] {
			at[i+1] += width(ins)
		}
	}
	out := make(asm.Instructions, 0, len(c.ins))
	for i, ins := range c.ins {
		if !live[i] {
			continue
		}
		if target[i] != unbound {
			distance := at[target[i]] - at[i] - 1
			if distance > 1<<15-1 || distance < -1<<15 {
				return nil, fmt.Errorf("link instruction %d: the jump is %d instructions far: %w", i, distance, ErrTooLarge)
			}
			ins.Offset = int16(distance)
			ins = ins.WithReference("")
		}
		out = append(out, ins)
	}
	return out, nil
}

// live says which instructions may be come to. A jump to what follows is as good as none.
func (c *code) live(target []int) []bool {
	live := make([]bool, len(c.ins))
	todo := []int{0}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for i < len(c.ins) && !live[i] {
			live[i] = true
			op := c.ins[i].OpCode
			always := op.Class().IsJump() && op.JumpOp() == asm.Ja
			if target[i] != unbound && !always {
				todo = append(todo, target[i])
			}
			switch {
			case always:
				i = target[i]
			case op.Class().IsJump() && op.JumpOp() == asm.Exit:
				i = len(c.ins)
			default:
				i++
			}
		}
	}
	next := len(c.ins)
	for i := len(c.ins) - 1; i >= 0; i-- {
		op := c.ins[i].OpCode
		if live[i] && op.Class().IsJump() && op.JumpOp() == asm.Ja && target[i] > i && target[i] <= next {
			live[i] = false
		}
		if live[i] {
			next = i
		}
	}
	return live
}

// The instructions that are needed everywhere.

func load(dst asm.Register, at int, size asm.Size) asm.Instruction {
	return asm.LoadMem(dst, regScratch, int16(at), size)
}

func store(at int, src asm.Register, size asm.Size) asm.Instruction {
	return asm.StoreMem(regScratch, int16(at), src, size)
}

func mapPtr(dst asm.Register, name string) asm.Instruction {
	return asm.LoadMapPtr(dst, 0).WithReference(name)
}

// tally adds one to a total of the scratch value.
func (c *code) tally(at int) {
	c.add(load(asm.R1, at, asm.DWord), asm.Add.Imm(asm.R1, 1), store(at, asm.R1, asm.DWord))
}
