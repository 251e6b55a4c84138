package bpfgen

import "github.com/cilium/ebpf/asm"

// prune takes out instructions that nothing leads to, such as those behind an entry that every packet meets: the kernel
// refuses programs that have any.
func (c *code) prune() {
	targets := map[int]label{}
	for _, j := range c.jumps {
		targets[j.at] = j.to
	}
	reached := make([]bool, len(c.ins))
	for queue := []int{0}; len(queue) > 0; {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if i >= len(c.ins) || reached[i] {
			continue
		}
		reached[i] = true
		op := c.ins[i].OpCode.JumpOp()
		if to, ok := targets[i]; ok && to >= 0 && c.labels[to] != unbound {
			queue = append(queue, c.labels[to])
		}
		if op != asm.Ja && op != asm.Exit {
			queue = append(queue, i+1)
		}
	}
	c.keep(reached)
}

// keep leaves out all other instructions.
func (c *code) keep(wanted []bool) {
	at := make([]int, len(c.ins)+1) // where an instruction, or the next that is wanted, will be
	var ins []asm.Instruction
	for i, in := range c.ins {
		at[i] = len(ins)
		if wanted[i] {
			ins = append(ins, in)
		}
	}
	at[len(c.ins)] = len(ins)
	var jumps []jump
	for _, j := range c.jumps {
		if wanted[j.at] {
			jumps = append(jumps, jump{at[j.at], j.to})
		}
	}
	for i, l := range c.labels {
		if l != unbound {
			c.labels[i] = at[l]
		}
	}
	c.ins, c.jumps = ins, jumps
}
