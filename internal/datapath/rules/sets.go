package rules

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// sets are the maps of named sets. A map is kept for as long as a program that is loaded looks into it, so one that is
// there before and after a change of the rules keeps its elements.
type sets struct {
	maps map[setKey]*setMap
}

// setKey tells maps apart: a set that is made anew with other keys gets another one.
type setKey struct {
	id   element.SetID
	spec mapShape
}

// mapShape is what of a bpfgen.Map makes maps exchangeable.
type mapShape struct {
	kind             bpfgen.Kind
	key, value, most uint32
}

type setMap struct {
	set  share.Set
	m    *ebpf.Map
	uses int
}

func newSets() *sets { return &sets{maps: map[setKey]*setMap{}} }

// take returns the map of a set, for a program that gives it back.
func (s *sets) take(set share.Set, m bpfgen.Map) (setKey, *ebpf.Map, error) {
	k := setKey{
		id:   element.SetID{Family: set.Family, Table: set.Table, Name: set.Name},
		spec: mapShape{m.Kind, m.KeySize, m.ValueSize, m.Entries},
	}
	if have := s.maps[k]; have != nil {
		have.uses++
		return k, have.m, nil
	}
	spec := mapSpec(m)
	spec.Name = "nfo_set"
	made, err := ebpf.NewMap(spec)
	if err != nil {
		return k, nil, fmt.Errorf("make map of set %s: %w", k.id, err)
	}
	s.maps[k] = &setMap{set: set, m: made, uses: 1}
	return k, made, nil
}

// giveBack closes the map with its last program.
func (s *sets) giveBack(k setKey) error {
	m := s.maps[k]
	if m.uses--; m.uses > 0 {
		return nil
	}
	delete(s.maps, k)
	return m.m.Close()
}

func (s *sets) close() error {
	var errs []error
	for _, m := range s.maps {
		errs = append(errs, m.m.Close())
	}
	return errors.Join(errs...)
}
