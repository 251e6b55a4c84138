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
	// misfits are sets with elements that programs cannot have, and whether they have changed since.
	misfits map[element.SetID]bool
}

// step is the state of the ruleset from which on a set is in step, and the shape of its map.
type step struct {
	generation element.Generation
	shape      string
}

func newKeeper(s Sets) *keeper {
	return &keeper{sets: s, have: map[element.SetID]step{}, misfits: map[element.SetID]bool{}}
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
// suspended meanwhile. Changes of misfits are only noted.
func (k *keeper) follow(ctx context.Context, want map[element.SetID]string, misfits map[element.SetID]bool) error {
	if k.sets == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(want), func(a, b element.SetID) int { return cmp.Compare(a.String(), b.String()) })
	maps.DeleteFunc(k.misfits, func(id element.SetID, _ bool) bool { return !misfits[id] })
	k.sets.Subscribe(slices.AppendSeq(slices.Clone(ids), maps.Keys(k.misfits)))
	maps.DeleteFunc(k.have, func(id element.SetID, s step) bool { return want[id] != s.shape })
	var errs []error
	for _, id := range ids {
		if _, ok := k.have[id]; ok {
			continue
		}
		err := k.reread(ctx, id, want[id])
		if unfit(err) {
			k.misfits[id] = false
		}
		if err != nil {
			errs = append(errs, &ElementsError{Set: id, Err: err})
		}
	}
	return errors.Join(errs...)
}

// unfit reports whether only other elements help.
func unfit(err error) bool {
	_, no := errors.AsType[*element.FitError](err)
	return no
}

// noted notes the misfits among changed sets, and reports whether there are any.
func (k *keeper) noted(changes []element.Change) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := false
	for _, c := range changes {
		if _, ok := k.misfits[c.Set]; ok {
			k.misfits[c.Set], found = true, true
		}
	}
	return found
}

// fit returns the misfits that may fit now.
func (k *keeper) fit() map[element.SetID]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := maps.Clone(k.misfits)
	maps.DeleteFunc(out, func(_ element.SetID, changed bool) bool { return !changed })
	return out
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

// apply takes what a transaction did to sets, which may be nothing. pause calls a function while the programs are
// suspended, for what packets must not see half of. An error leaves its set out of step until the next follow: the
// programs must not go on before.
func (k *keeper) apply(ctx context.Context, generation uint32, changes []element.Change, pause func(func() error) error) error {
	if k.sets == nil {
		return nil
	}
	if len(changes) > 0 {
		k.mu.Lock()
	} else if !k.mu.TryLock() {
		return nil // sets are being read; the next transaction will do
	}
	defer k.mu.Unlock()
	changes = slices.DeleteFunc(slices.Clone(changes), func(c element.Change) bool {
		s, ok := k.have[c.Set]
		return !ok || !s.generation.Before(generation)
	})
	k.advance(generation)
	switch {
	case len(changes) == 0:
		return nil
	case len(changes) == 1 && k.sets.Atomic(changes[0]):
		return k.change(ctx, changes[0], pause)
	}
	// A transaction is one change, of however many sets.
	return pause(func() error {
		var errs []error
		for _, c := range changes {
			errs = append(errs, k.change(ctx, c, func(f func() error) error { return f() }))
		}
		return errors.Join(errs...)
	})
}

// advance notes that all sets are in step with a state of the ruleset, or will be. States are numbered with 16 bits:
// without it, a set that never changes would be ahead of a new state some day.
func (k *keeper) advance(generation uint32) {
	for id, s := range k.have {
		if s.generation.Before(generation) {
			s.generation = element.Generation(generation)
			k.have[id] = s
		}
	}
}

// change makes a change of one set.
func (k *keeper) change(ctx context.Context, c element.Change, pause func(func() error) error) error {
	if c.Gone {
		delete(k.have, c.Set)
		return nil
	}
	shape := k.have[c.Set].shape
	err := k.sets.Apply(c)
	if errors.Is(err, ErrReread) {
		err = pause(func() error { return k.reread(ctx, c.Set, shape) })
	}
	if err != nil {
		delete(k.have, c.Set)
		return &ElementsError{Set: c.Set, Err: err}
	}
	return nil
}

// forget says that nothing is known to be in step any more: notifications were lost.
func (k *keeper) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.have)
	for id := range k.misfits {
		k.misfits[id] = true
	}
}
