package bpfgen

import (
	"errors"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// ErrUnsupported says that a share has something that this package makes no program of.
var ErrUnsupported = errors.New("not supported")

// ErrTooLarge says that a share is too large for a program.
var ErrTooLarge = errors.New("too large")

// generator makes one program.
type generator struct {
	share    *share.Share
	opts     Options
	layout   *layout
	maps     *maps
	counters counters
	copies   bool // there are entries that make some
	steps    []Step
}

// Compile makes the program of a share. The same share and options make the same program.
func Compile(s share.Share, opts Options) (*Program, error) {
	p, err := compile(&s, opts)
	if err != nil {
		return nil, fmt.Errorf("compile rules for %s: %w", s.Hook, err)
	}
	return p, nil
}

func compile(s *share.Share, opts Options) (*Program, error) {
	l, err := newLayout(s, opts)
	if err != nil {
		return nil, err
	}
	g := &generator{share: s, opts: opts, layout: l, maps: newMaps(s)}
	units, err := g.units()
	if err != nil {
		return nil, err
	}
	prologue := newPrologue(l)
	chunks, err := divide(prologue, units)
	if err != nil {
		return nil, err
	}
	k := newLinker(g, chunks)
	out := &Program{Counters: g.counters.refs, Steps: g.steps}
	for i := range chunks {
		ins, err := k.link(i, prologue)
		if err != nil {
			return nil, fmt.Errorf("chunk %d: %w", i, err)
		}
		out.Chunks = append(out.Chunks, Chunk{Name: fmt.Sprintf("rules_%d", i), Instructions: ins})
		out.Instructions += int(ins.Size() / 8)
	}
	out.Maps = append(g.base(), g.maps.list...)
	return out, nil
}

// base is the maps of every program.
func (g *generator) base() []Map {
	ms := []Map{
		{Name: ScratchMap, Kind: PerCPUArray, KeySize: 4, ValueSize: uint32(g.layout.size), Entries: 1, Set: noSet},
		{Name: LeaseMap, Kind: Array, KeySize: 4, ValueSize: 8, Entries: 1, Set: noSet},
		{Name: ChunkMap, Kind: ProgArray, KeySize: 4, ValueSize: 4, Entries: NextSlot + 1, Set: noSet},
	}
	if n := len(g.counters.refs); n > 0 {
		ms = append(ms, Map{Name: CounterMap, Kind: PerCPUArray, KeySize: 4, ValueSize: 2 * counterBytes, Entries: uint32(n), Set: noSet})
	}
	if n := len(g.maps.actions); n > 0 {
		ms = append(ms, Map{
			Name: ActionMap, Kind: Array, KeySize: 4, ValueSize: 8, Entries: uint32(len(g.share.Entries)), Set: noSet,
			Contents: g.maps.actions,
		})
	}
	return ms
}

// units writes the code of all entries.
func (g *generator) units() ([]unit, error) {
	var us []unit
	for _, s := range segments(g.share) {
		more, err := g.segment(s)
		if err != nil {
			return nil, err
		}
		us = append(us, more...)
	}
	return us, nil
}

// segment writes the code of a segment: with lookups for entries that are alike, or entry by entry.
func (g *generator) segment(s segment) ([]unit, error) {
	if s.end-s.first >= least {
		before, tables := len(g.maps.list), g.maps.tables
		ms := g.members(s)
		switch n, steps := cost(ms); {
		case n == len(ms):
		case n > mostLinear || steps > maxSteps:
			g.maps.list, g.maps.tables = g.maps.list[:before], tables
			return g.halves(s)
		default:
			c, err := g.merged(s, ms)
			if err != nil {
				return nil, err
			}
			g.tell(ms)
			return []unit{{s.first, c}}, nil
		}
	}
	var us []unit
	for i := s.first; i < s.end; i++ {
		c, err := g.entry(i)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		us = append(us, unit{i, c})
		g.tell([]member{{entries: []int{i}}})
	}
	return us, nil
}

// halves writes the code of a segment of too many shapes: one half behind the other.
func (g *generator) halves(s segment) ([]unit, error) {
	half := s.first + (s.end-s.first)/2
	lower, err := g.segment(segment{s.first, half})
	if err != nil {
		return nil, err
	}
	upper, err := g.segment(segment{half, s.end})
	return append(lower, upper...), err
}

// cost is how many members are single entries, and what the lookups of the others cost the verifier.
func cost(ms []member) (single, steps int) {
	for _, m := range ms {
		if m.table == nil {
			single++
		} else {
			steps += m.table.steps()
		}
	}
	return single, steps
}
