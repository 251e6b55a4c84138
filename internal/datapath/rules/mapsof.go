package rules

import (
	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// MapsOf are the maps that hold the elements of a named set, for programs that are loaded. They are the programs' own:
// nobody else closes them.
func (p *Programs) MapsOf(id element.SetID) []*ebpf.Map {
	var out []*ebpf.Map
	for k, m := range p.sets.maps {
		if k.id == id {
			out = append(out, m.m)
		}
	}
	return out
}
