package bpfgen

import (
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// Names of maps that every program has, or may have. Instructions refer to maps by name (asm.Instruction.Reference).
const (
	// ScratchMap is a per-CPU array of one value: the packet that is being looked at, and the totals (see Totals).
	ScratchMap = "scratch"
	// LeaseMap is an array of one u64: the time, in 64-bit jiffies, up to which rules are executed. Before it is
	// written, and after, packets are left to the kernel. Several programs may share it.
	LeaseMap = "lease"
	// CounterMap is a per-CPU array of Count, by slot (see Program.Counters). There is none where nothing counts.
	CounterMap = "counters"
	// ChunkMap is the program array through which chunks call each other: chunk i is in slot i, and the flow program
	// in slot NextSlot of it. Slots that are not filled are no error: the packet is left to the kernel.
	ChunkMap = "chunks"
)

// NextSlot is the slot of ChunkMap for the program that goes on where a share ends (Options.Next).
const NextSlot = 32

// Program is what a share becomes.
type Program struct {
	// Chunks are programs that call one after the other. The first is the one to attach, or to call.
	Chunks []Chunk
	Maps   []Map
	// Counters says which rule a slot of CounterMap counts. A rule that packets come to on several ways has several.
	Counters []share.Ref
	// Steps are what the program does, in words and in order.
	Steps []Step
	// Instructions is the length of all chunks.
	Instructions int
}

// Chunk is a part of the program that the kernel loads as one.
type Chunk struct {
	Name         string
	Instructions asm.Instructions
}

// Step is something the program does: a lookup that stands for many rules, or a comparison.
type Step struct {
	Text string
	// Rules are those that it stands for, in order.
	Rules []share.Ref
}

// Kind is what a map is to the kernel.
type Kind uint8

// The kinds.
const (
	Hash Kind = iota
	Array
	PerCPUArray
	ProgArray
	// Tree is an array with the pages of a named set's search tree, which user space writes through a mapping
	// (BPF_F_MMAPABLE); see packages tree and tuple. The ranged component is the widest (tuple.Widest). Trees that do not
	// change are an Array with contents.
	Tree
)

// Map is a map that the program uses.
type Map struct {
	Name      string
	Kind      Kind
	KeySize   uint32
	ValueSize uint32
	Entries   uint32
	// NoPrealloc says that elements are allocated when they come (BPF_F_NO_PREALLOC).
	NoPrealloc bool
	// Contents are what is in it from the start and does not change.
	Contents []Pair
	// Set is the named set that it has the elements of, an index of Share.Sets: its key is the words of the key's
	// components one after another, and its value a u32: 0, or in a verdict map one of the verdicts of Verdict. The
	// sets of two programs that are the same set with the same key may share a map. -1: no named set.
	Set int
	// Words are the u64 words of a key that is looked up.
	Words int
}

// Pair is an element of a map, in the byte order of the machine.
type Pair struct{ Key, Value []byte }

// Count is an element of CounterMap.
type Count struct{ Packets, Bytes uint64 }

// Totals are what a program counts of all packets. They are the first bytes of the value of ScratchMap.
type Totals struct {
	Dropped   uint64
	Forwarded uint64
	Ended     uint64 // came to the end of the share
	Left      uint64 // left to the kernel because the program cannot tell what a rule would do
	Suspended uint64 // came when the lease had run out
}

// Options are what a program depends on besides its share.
type Options struct {
	// Ifindex says which device a name is. A share that forwards to a device that is not there is an error.
	Ifindex map[string]uint32
	// Next calls the program in NextSlot of ChunkMap with packets that come to the end. They have met every rule.
	// Packets of which the program cannot tell never get there.
	Next bool
	// Bare says that packets begin with the network header (ppp, tun). Never at XDP.
	Bare bool
}
