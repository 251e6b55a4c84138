package bpfgen

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// Limits of a chunk. The verifier follows every conditional jump and keeps those that it has yet to follow, at most 8192
// of them (BPF_COMPLEXITY_LIMIT_JMP_SEQ); a jump reaches 32767 instructions. Chunks are at most 33 tail calls in a row,
// one of which is for the program behind them.
const (
	maxJumps     = 5000
	maxChunkSize = 24000
	maxSteps     = 250_000 // of lookups, whose loops the verifier goes through; it takes a million steps in all
	maxChunks    = 31
)

// Return codes (include/uapi/linux/bpf.h, include/uapi/linux/pkt_cls.h).
const (
	xdpDrop, xdpPass  = 1, 2
	tcUnspec, tcShot  = -1, 2
	redirectedByTC    = 0x6f666e31 // in cb[0]: NFO_TOKEN of the flow programs, whose observer must not learn from it
	redirectNoFlags   = 0
	counterBytes      = 8 // of Count
	counterKeyOnStack = -4
	copiesOnStack     = -32 // up to maxCopies
)

// unit is a piece of a program that is not divided: what one or more entries do.
type unit struct {
	first int // entry
	*code
}

// conditional is how many jumps of a piece the verifier has to follow both ways.
func (c *code) conditional() int {
	n := 0
	for _, j := range c.jumps {
		if op := c.ins[j.at].OpCode.JumpOp(); op != asm.Ja {
			n++
		}
	}
	return n
}

// divide puts units into chunks, behind the prologue.
func divide(prologue *code, units []unit) ([][]unit, error) {
	var chunks [][]unit
	var now []unit
	size, jumps, steps := prologue.size(), prologue.conditional(), 0
	used := mapsUsed{}
	for _, u := range units {
		s, j := u.size(), u.conditional()
		if len(now) > 0 && (size+s > maxChunkSize || jumps+j > maxJumps || steps+u.steps > maxSteps || !used.fits(u)) {
			chunks, now, size, jumps, steps = append(chunks, now), nil, 0, 0, 0
			used = mapsUsed{}
		}
		used.add(u)
		steps += u.steps
		now = append(now, u)
		size += s
		jumps += j
	}
	chunks = append(chunks, now)
	if len(chunks) > maxChunks {
		return nil, fmt.Errorf("divide the program: %d chunks are more than can call each other: %w", len(chunks), ErrTooLarge)
	}
	return chunks, nil
}

// linker makes programs of chunks.
type linker struct {
	g      *generator
	chunks [][]unit
	home   map[int]int   // the chunk of an entry that begins a unit
	enters map[int][]int // entries at which a chunk may be entered, besides its first
}

func newLinker(g *generator, chunks [][]unit) *linker {
	k := &linker{g: g, chunks: chunks, home: map[int]int{}, enters: map[int][]int{}}
	for i, us := range chunks {
		for _, u := range us {
			k.home[u.first] = i
		}
	}
	end := len(g.share.Entries)
	for i, us := range chunks {
		for _, u := range us {
			for _, j := range u.jumps {
				n, ok := j.to.entry()
				if home, known := k.home[n]; ok && n < end && known && home != i {
					k.enters[home] = append(k.enters[home], n)
				}
			}
		}
	}
	for i := range k.enters {
		slices.Sort(k.enters[i])
		k.enters[i] = slices.Compact(k.enters[i])
	}
	return k
}

// link makes the instructions of a chunk.
func (k *linker) link(i int, prologue *code) (asm.Instructions, error) {
	c := &code{}
	if i == 0 {
		c.append(prologue)
	} else {
		c.start()
		c.add(load(asm.R1, atResume, asm.Word))
		for _, n := range k.enters[i] {
			c.jump(asm.JEq.Imm(asm.R1, int32(n), ""), entryLabel(n))
		}
	}
	places := map[label]label{}
	for _, u := range k.chunks[i] {
		l := c.label()
		c.bind(l)
		places[entryLabel(u.first)] = l
		c.append(u.code)
	}
	follows := len(k.g.share.Entries)
	if i+1 < len(k.chunks) {
		follows = k.chunks[i+1][0].first
	}
	c.goTo(entryLabel(follows))
	if err := k.stubs(c, places); err != nil {
		return nil, err
	}
	return c.link()
}

// stubs binds what is outside of the chunk's units, until no jump leads nowhere.
func (k *linker) stubs(c *code, places map[label]label) error {
	for i := 0; i < len(c.jumps); i++ { // stubs add jumps
		to := c.jumps[i].to
		if to >= 0 {
			continue
		}
		at, ok := places[to]
		if !ok {
			at = c.label()
			places[to] = at
			c.bind(at)
			if err := k.stub(c, to); err != nil {
				return err
			}
		}
		c.jumps[i].to = at
	}
	return nil
}

func (k *linker) stub(c *code, to label) error {
	switch to {
	case toLeave:
		c.tally(atLeft)
		c.goTo(toPass)
	case toSuspend:
		c.tally(atSuspended)
		c.goTo(toPass)
	case toPass:
		k.pass(c)
	case toDrop:
		c.add(asm.StoreImm(regScratch, atIfindex, 0, asm.Word))
		c.goTo(toForward)
	case toForward:
		k.finish(c)
	default:
		return k.call(c, to)
	}
	return nil
}

// call goes on at an entry of another chunk, or at the end.
func (k *linker) call(c *code, to label) error {
	n, _ := to.entry()
	slot := NextSlot
	if n == len(k.g.share.Entries) {
		c.tally(atEnded)
		if !k.g.opts.Next {
			c.goTo(toPass)
			return nil
		}
	} else {
		home, ok := k.home[n]
		if !ok {
			return fmt.Errorf("go on at entry %d: nothing begins there", n)
		}
		slot = home
		c.add(asm.StoreImm(regScratch, atResume, int64(n), asm.Word))
	}
	c.add(asm.Mov.Reg(asm.R1, regCtx), mapPtr(asm.R2, ChunkMap), asm.Mov.Imm(asm.R3, int32(slot)),
		asm.FnTailCall.Call())
	c.goTo(toPass) // the slot is empty
	return nil
}

// pass leaves the packet to the kernel. The observer must not take it for one that it has a note of: see drop_ticket of
// bpf/note.h, which the flow program does for the packets that get there.
func (k *linker) pass(c *code) {
	if k.g.share.Hook == share.XDP {
		c.add(asm.Mov.Imm(asm.R0, xdpPass), asm.Return())
		return
	}
	done := c.label()
	c.add(asm.LoadMem(asm.R1, regCtx, skbTCIndex, asm.Word))
	c.jump(asm.JEq.Imm(asm.R1, 0, ""), done)
	c.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(regCtx, skbTCIndex, asm.R1, asm.Word))
	c.bind(done)
	c.add(asm.Mov.Imm(asm.R0, tcUnspec), asm.Return())
}

// finish ends the packet: what was noted is counted.
func (k *linker) finish(c *code) {
	if len(k.g.counters.refs) > 0 {
		k.count(c)
	}
	if k.g.copies {
		k.copy(c)
	}
	redirect := c.label()
	c.add(load(asm.R1, atIfindex, asm.Word))
	c.jump(asm.JNE.Imm(asm.R1, 0, ""), redirect)
	c.tally(atDropped)
	drop := int32(xdpDrop)
	if k.g.share.Hook == share.TC {
		drop = tcShot
	}
	c.add(asm.Mov.Imm(asm.R0, drop), asm.Return())
	c.bind(redirect)
	c.tally(atForwarded)
	if k.g.share.Hook == share.TC {
		c.add(asm.Mov.Imm(asm.R1, redirectedByTC), asm.StoreMem(regCtx, skbCB, asm.R1, asm.Word))
	}
	c.add(load(asm.R1, atIfindex, asm.Word), asm.Mov.Imm(asm.R2, redirectNoFlags),
		asm.FnRedirect.Call(), asm.Return())
}

// copy sends copies out of the devices on the list. The observer must not learn from them. A copy is sent at once, and
// before mirred had a queue (Linux 6.8) that could lead back into this program, on this CPU: so nothing of the scratch
// value is read afterwards but what is written anew.
func (k *linker) copy(c *code) {
	const left, ifindex = asm.R7, asm.R8
	done := c.label()
	c.add(load(left, atCopied, asm.Word), load(ifindex, atIfindex, asm.Word),
		asm.Mov.Imm(asm.R1, redirectedByTC), asm.StoreMem(regCtx, skbCB, asm.R1, asm.Word))
	for i := range maxCopies {
		c.add(load(asm.R1, atCopies+4*i, asm.Word), asm.StoreMem(asm.R10, copiesOnStack+int16(4*i), asm.R1, asm.Word))
	}
	for i := range maxCopies {
		c.jump(asm.JLE.Imm(left, int32(i), ""), done)
		c.add(asm.Mov.Reg(asm.R1, regCtx), asm.LoadMem(asm.R2, asm.R10, copiesOnStack+int16(4*i), asm.Word),
			asm.Mov.Imm(asm.R3, redirectNoFlags), asm.FnCloneRedirect.Call())
	}
	c.bind(done)
	c.add(store(atIfindex, ifindex, asm.Word))
}

// count adds the packet to the counter in R1, if it is not 0, and to those on the list. The registers that say which
// fields are there are not needed any more.
func (k *linker) count(c *code) {
	const left, slot = asm.R7, asm.R8
	add, list, done := c.label(), c.label(), c.label()
	c.add(asm.Mov.Reg(slot, asm.R1), load(left, atNoted, asm.Word))
	c.jump(asm.JGT.Imm(left, maxNotes, ""), done) // cannot be
	c.jump(asm.JEq.Imm(slot, 0, ""), list)
	c.add(asm.Sub.Imm(slot, 1))

	c.bind(add)
	c.add(asm.StoreMem(asm.R10, counterKeyOnStack, slot, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, counterKeyOnStack),
		mapPtr(asm.R1, CounterMap), asm.FnMapLookupElem.Call())
	c.jump(asm.JEq.Imm(asm.R0, 0, ""), list)
	c.add(asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		load(asm.R2, atLength, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, counterBytes, asm.DWord), asm.Add.Reg(asm.R1, asm.R2),
		asm.StoreMem(asm.R0, counterBytes, asm.R1, asm.DWord))

	c.bind(list)
	// Not "is 0": older verifiers (6.1) do not learn from that that what is behind it is 1 or more.
	c.jump(asm.JLT.Imm(left, 1, ""), done)
	c.add(asm.Sub.Imm(left, 1),
		asm.Mov.Reg(asm.R2, left), asm.LSh.Imm(asm.R2, 2), asm.Add.Reg(asm.R2, regScratch),
		asm.LoadMem(slot, asm.R2, atNotes, asm.Word))
	c.goTo(add)
	c.bind(done)
}
