package engine_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

func blocked() element.SetID {
	return element.SetID{Family: ruleset.Netdev, Table: "t", Name: "blocked"}
}

func other() element.SetID {
	return element.SetID{Family: ruleset.Netdev, Table: "t", Name: "other"}
}

func TestElementsAreThereBeforeRulesAreExecuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, dropSet)
		r.run(t)
		if got := r.sets.Take(); got != "fill netdev t blocked 0" {
			t.Errorf("at first: %s", got)
		}
		r.wantExecuting(t, true, "filled")
		settle()

		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: 5})
		synctest.Wait()
		if got := r.sets.Take(); got != "change netdev t blocked while executing" {
			t.Errorf("an element more: %s", got)
		}
		r.sets.Coarse()
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: 6})
		synctest.Wait()
		if got := r.sets.Take(); got != "change netdev t blocked" {
			t.Errorf("a change that packets could see half of: %s", got)
		}
		r.wantExecuting(t, true, "changed")

		r.setRules(t, nil, dropSet, drop(1))
		settle()
		if got := r.sets.Take(); got != "" {
			t.Errorf("a rule more: %s", got)
		}
	})
}

// The kernel does not tell a set that is made anew from one that is declared again.
func TestElementsOfADeletedSetAreReadBeforeTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, dropSet)
		r.run(t)
		settle()
		r.sets.Take()
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked(), Gone: true}}, Generation: 5})
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: 6})
		synctest.Wait()
		if got := r.sets.Take(); got != "" {
			t.Errorf("made anew: %s", got)
		}
		r.sets.SetList(blocked(), &element.List{Generation: 6})
		r.machine.Announce(engine.Change{What: "ruleset", Generation: 6, Reread: true, Rules: true})
		settle()
		if got := r.sets.Take(); got != "fill netdev t blocked 0" {
			t.Errorf("read: %s", got)
		}
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: 7})
		synctest.Wait()
		if got := r.sets.Take(); got != "change netdev t blocked while executing" {
			t.Errorf("an element more: %s", got)
		}
	})
}

func TestElementsChangeAfterManyTransactionsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, dropSet)
		r.sets.SetList(blocked(), &element.List{Generation: 5})
		r.run(t)
		settle()
		r.sets.Take()
		last := uint32(5 + 40000) // further than half of what 16 bits count
		for g := uint32(6); g < last; g++ {
			r.machine.Announce(engine.Change{Generation: g, Quiet: true})
		}
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: last})
		synctest.Wait()
		if got := r.sets.Take(); got != "change netdev t blocked while executing" {
			t.Errorf("an element more: %q", got)
		}
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: last - 1})
		synctest.Wait()
		if got := r.sets.Take(); got != "" {
			t.Errorf("a transaction from before: %q", got)
		}
	})
}

func TestTransactionOfTwoSetsIsSeenWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, dropSet, dropOther)
		r.run(t)
		settle()
		r.sets.Take()
		both := []element.Change{{Set: blocked()}, {Set: other()}}
		r.machine.Announce(engine.Change{Elements: both, Generation: 5})
		synctest.Wait()
		if got := r.sets.Take(); got != "change netdev t blocked\nchange netdev t other" {
			t.Errorf("an element more in each:\n%s", got)
		}
		r.wantExecuting(t, true, "changed")

		r.machine.FailReads(errors.New("nft is busy"))
		r.sets.Fail(errors.New("no memory"))
		before := r.rules.Renewals()
		r.machine.Announce(engine.Change{Elements: both, Generation: 6})
		time.Sleep(time.Minute)
		synctest.Wait()
		r.wantExecuting(t, false, "not changed")
		if n := r.rules.Renewals() - before; n != 0 {
			t.Errorf("renewed %d times with half of a transaction", n)
		}
	})
}

// A set may take a minute to change, and what is heard meanwhile must not wait for that.
func TestRulesAreSuspendedByAChangeBehindElementsThatTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, dropSet)
		r.run(t)
		settle()
		done := make(chan struct{})
		r.sets.Stall(done)
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: 5})
		synctest.Wait()
		r.wantExecuting(t, true, "while the set changes, which packets see at once")
		r.setRules(t, nil, dropSet, drop(1))
		synctest.Wait()
		r.wantExecuting(t, false, "the rules have changed")
		close(done)
		settle()
		wantDevices(t, r, "2 r0 alone, 2 rules at tc")
		r.wantExecuting(t, true, "read again")
	})
}

func TestElementsThatAreWrongSuspendRulesUntilTheyAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, dropSet)
		r.run(t)
		settle()
		r.sets.Take()
		r.sets.Fail(errors.New("no memory"))
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: 5})
		settle()
		wantDevices(t, r, "")
		if d := r.ruled(t); d.Reason.Code != reason.RulesElements {
			t.Errorf("status: %+v", d)
		}
		r.sets.Fail(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantDevices(t, r, "2 r0 alone, 1 rules at tc")
		r.wantExecuting(t, true, "read again")
	})
}

func TestElementsThatDoNotFitAreTriedAgainWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, dropSet)
		r.sets.Fail(&element.FitError{Set: blocked(), Reason: "has elements that overlap"})
		r.run(t)
		settle()
		if d := r.ruled(t); d.Reason.Code != reason.RulesElements {
			t.Errorf("status: %+v", d)
		}
		r.sets.Take()
		time.Sleep(10 * time.Minute)
		r.machine.Announce(engine.Change{What: "something else", Reread: true})
		settle()
		if got := r.sets.Take(); got != "" {
			t.Errorf("tried again: %s", got)
		}
		if got := r.sets.Subscribed(); len(got) != 1 || got[0] != blocked() {
			t.Errorf("the watch is asked for %v", got)
		}
		r.machine.Announce(engine.Change{Elements: []element.Change{{Set: blocked()}}, Generation: 5})
		settle()
		if got := r.sets.Take(); got != "fill netdev t blocked 0" {
			t.Errorf("changed, and does not fit: %s", got)
		}
		r.sets.Fail(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		wantDevices(t, r, "")
		r.machine.Announce(engine.Change{What: "lost", Reread: true, Rules: true, Lost: true})
		settle()
		wantDevices(t, r, "2 r0 alone, 1 rules at tc")
		r.wantExecuting(t, true, "fits")
	})
}
