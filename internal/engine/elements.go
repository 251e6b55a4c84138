package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// keeper keeps the elements of named sets that programs look into as the ruleset has them. Changes come from the watch,
// sets from the engine's loop; the lock keeps their order.
type keeper struct {
	sets Sets // nil: there are none

	mu   sync.Mutex
	have map[element.SetID]step
}

// step is the state of the ruleset from which on a set is in step, and the shape of its map.
type step struct {
	generation element.Generation
	shape      string
}

func newKeeper(s Sets) *keeper {
	return &keeper{sets: s, have: map[element.SetID]step{}}
}

// follows reports whether all of these sets are in step.
func (k *keeper) follows(want map[element.SetID]string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, shape := range want {
		if s, ok := k.have[id]; !ok || s.shape != shape {
			return false
		}
	}
	return true
}

// follow keeps these sets from now on, and no others; of each it is told the shape, which is another one when its map
// is. It returns when all of them are as the ruleset has them. Unless they follow already, the programs must be
// suspended meanwhile.
func (k *keeper) follow(ctx context.Context, want map[element.SetID]string) error {
	if k.sets == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(want), func(a, b element.SetID) int { return cmp.Compare(a.String(), b.String()) })
	k.sets.Subscribe(ids)
	maps.DeleteFunc(k.have, func(id element.SetID, s step) bool { return want[id] != s.shape })
	var errs []error
	for _, id := range ids {
		if _, ok := k.have[id]; ok {
			continue
		}
		if err := k.reread(ctx, id, want[id]); err != nil {
			errs = append(errs, &ElementsError{Set: id, Err: err})
		}
	}
	return errors.Join(errs...)
}

// ErrReread is what Sets.Apply returns for a change that does not tell enough: the set has to be read again.
var ErrReread = errors.New("the set has to be read again")

// ElementsError is a set whose elements the programs cannot have.
type ElementsError struct {
	Set element.SetID
	Err error
}

func (e *ElementsError) Error() string { return fmt.Sprintf("elements of set %s: %v", e.Set, e.Err) }

// Unwrap returns the cause.
func (e *ElementsError) Unwrap() error { return e.Err }

func (k *keeper) reread(ctx context.Context, id element.SetID, shape string) error {
	delete(k.have, id)
	list, err := k.sets.List(ctx, id)
	if err != nil {
		return err
	}
	if err := k.sets.Replace(id, list); err != nil {
		return err
	}
	k.have[id] = step{list.Generation, shape}
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
		s, ok := k.have[c.Set]
		if !ok || !s.generation.Before(generation) {
			continue
		}
		if c.Gone {
			delete(k.have, c.Set)
			continue
		}
		change := func() error {
			err := k.sets.Apply(c)
			if errors.Is(err, ErrReread) {
				err = k.reread(ctx, c.Set, s.shape)
			}
			return err
		}
		err := error(nil)
		if k.sets.Atomic(c) {
			err = change()
		} else {
			err = pause(change)
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
