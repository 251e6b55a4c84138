package rules

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// sets are the maps of named sets. A map is kept for as long as a program that is loaded looks into it, so one that is
// there before and after a change of the rules keeps its elements.
type sets struct {
	report func(error)

	mu   sync.Mutex // guards maps: elements change while programs are loaded
	maps map[setKey]*setMap
}

// setKey tells maps apart: a set that is made anew with other keys gets another one.
type setKey struct {
	id   element.SetID
	spec mapShape
	// How elements become keys and values: types of one size may differ in it.
	parts            string
	ranges, verdicts bool
}

// mapShape is what of a bpfgen.Map makes maps exchangeable.
type mapShape struct {
	kind             bpfgen.Kind
	key, value, most uint32
}

type setMap struct {
	m        *ebpf.Map
	contents *Contents
	uses     int
}

func newSets(report func(error)) *sets { return &sets{report: report, maps: map[setKey]*setMap{}} }

func keyOf(set share.Set, m bpfgen.Map) setKey {
	return setKey{
		id:    element.SetID{Family: set.Family, Table: set.Table, Name: set.Name},
		spec:  mapShape{m.Kind, m.KeySize, m.ValueSize, m.Entries},
		parts: fmt.Sprint(set.Parts), ranges: set.Ranges, verdicts: set.Verdicts,
	}
}

// take returns the map of a set, for a program that gives it back.
func (s *sets) take(set share.Set, m bpfgen.Map) (setKey, *ebpf.Map, error) {
	k := keyOf(set, m)
	s.mu.Lock()
	defer s.mu.Unlock()
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
	contents, err := NewContents(set, made, s.report)
	if err != nil {
		return k, nil, errors.Join(fmt.Errorf("make map of set %s: %w", k.id, err), made.Close())
	}
	s.maps[k] = &setMap{m: made, contents: contents, uses: 1}
	return k, made, nil
}

// giveBack closes the map with its last program.
func (s *sets) giveBack(k setKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.maps[k]
	if m.uses--; m.uses > 0 {
		return nil
	}
	delete(s.maps, k)
	m.contents.Close()
	return m.m.Close()
}

func (s *sets) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, m := range s.maps {
		m.contents.Close()
		errs = append(errs, m.m.Close())
	}
	return errors.Join(errs...)
}

// of are the contents of a set's maps: more than one where a program that is about to end has another one.
func (s *sets) of(id element.SetID) []*Contents {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Contents
	for k, m := range s.maps {
		if k.id == id {
			out = append(out, m.contents)
		}
	}
	return out
}

// Replace makes the elements of a set those of a list. The errors are those of Contents.
func (p *Programs) Replace(id element.SetID, list *element.List) error {
	var errs []error
	for _, c := range p.sets.of(id) {
		errs = append(errs, c.Replace(list))
	}
	return errors.Join(errs...)
}

// Apply makes a change of a set. After an error the programs must not go on before a Replace.
func (p *Programs) Apply(c element.Change) error {
	var errs []error
	for _, in := range p.sets.of(c.Set) {
		errs = append(errs, in.Apply(c))
	}
	return errors.Join(errs...)
}

// Atomic reports whether every packet sees a set either as it was before a change or as it is behind it.
func (p *Programs) Atomic(c element.Change) bool {
	for _, in := range p.sets.of(c.Set) {
		if !in.Atomic(c) {
			return false
		}
	}
	return true
}
