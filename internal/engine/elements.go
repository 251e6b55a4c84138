package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// keeper keeps the elements of named sets that programs look into as the ruleset has them. Changes come from the watch,
// sets from the engine's loop; the lock keeps their order.
type keeper struct {
	sets Sets // nil: there are none

	mu   sync.Mutex
	have map[element.SetID]element.Generation // what is in step from then on
}

func newKeeper(s Sets) *keeper {
	return &keeper{sets: s, have: map[element.SetID]element.Generation{}}
}

// follow keeps these sets from now on, and no others. It returns when all of them are as the ruleset has them. The
// programs must be suspended meanwhile if there is a new one among them; fresh says which have new maps.
func (k *keeper) follow(ctx context.Context, want []element.SetID, fresh func(element.SetID) bool) error {
	if k.sets == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sets.Subscribe(want)
	for id := range k.have {
		if !slices.Contains(want, id) {
			delete(k.have, id)
		}
	}
	var errs []error
	for _, id := range want {
		if _, ok := k.have[id]; ok && !fresh(id) {
			continue
		}
		if err := k.reread(ctx, id); err != nil {
			errs = append(errs, &ElementsError{Set: id, Err: err})
		}
	}
	return errors.Join(errs...)
}

// ElementsError is a set whose elements the programs cannot have.
type ElementsError struct {
	Set element.SetID
	Err error
}

func (e *ElementsError) Error() string { return fmt.Sprintf("elements of set %s: %v", e.Set, e.Err) }

// Unwrap returns the cause.
func (e *ElementsError) Unwrap() error { return e.Err }

func (k *keeper) reread(ctx context.Context, id element.SetID) error {
	delete(k.have, id)
	list, err := k.sets.List(ctx, id)
	if err != nil {
		return err
	}
	if err := k.sets.Replace(id, list); err != nil {
		return err
	}
	k.have[id] = list.Generation
	return nil
}

// apply takes what a transaction did to sets. pause calls a function while the programs are suspended, for what packets
// must not see half of. An error leaves its set out of step until the next follow: the programs must not go on before.
func (k *keeper) apply(ctx context.Context, generation uint32, changes []element.Change, pause func(func() error) error) error {
	if k.sets == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, c := range changes {
		g, ok := k.have[c.Set]
		if !ok || !c.Reread && !g.Before(generation) {
			continue
		}
		var err error
		switch {
		case c.Reread:
			err = pause(func() error { return k.reread(ctx, c.Set) })
		case k.sets.Atomic(c):
			err = k.sets.Apply(c)
		default:
			err = pause(func() error { return k.sets.Apply(c) })
		}
		if err != nil {
			delete(k.have, c.Set)
			errs = append(errs, &ElementsError{Set: c.Set, Err: err})
		}
	}
	return errors.Join(errs...)
}

// forget says that nothing is known to be in step any more: notifications were lost.
func (k *keeper) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.have)
}
