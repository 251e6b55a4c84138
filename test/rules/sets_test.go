package rules_test

import (
	"context"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// fillSets puts the elements of named sets, as the kernel has them now, into the maps of a program.
func (p *proof) fillSets(e *early) error {
	for _, set := range e.share.Sets {
		id := element.SetID{Family: set.Family, Table: set.Table, Name: set.Name}
		var list *element.List
		err := p.lab.ns.Do(func() (err error) {
			list, err = nft.Elements(context.Background(), id)
			return err
		})
		if err != nil {
			return err
		}
		if err := p.programs.Replace(id, list); err != nil {
			return fmt.Errorf("fill set %s: %w", id, err)
		}
	}
	return nil
}
