package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// refuseRules records that a device cannot have its program of rules as it was wanted, and reports whether another try
// is worth it: at tc, or without it.
func (e *Engine) refuseRules(d Device, r Refusal) bool {
	if _, known := e.unruled[d.Early]; known {
		return false
	}
	if !r.Rules && d.EarlyHook == XDP && e.cfg.Choices[d.Name] != XDP {
		f := failure{reason: Reason{reason.OffAttachFailed, fmt.Sprintf("cannot attach to %s: %v", d.Name, r.Err), "see `nft-offload status` and the kernel log"}}
		i := slices.IndexFunc(e.view.Links, func(l Link) bool { return l.Ifindex == d.Ifindex })
		if i >= 0 {
			f.link = e.view.Links[i]
		}
		e.refused[d.Ifindex] = f
		return true
	}
	why := Reason{reason.OffAttachFailed, fmt.Sprintf("cannot attach the program of the rules to %s: %v", d.Name, r.Err), "nftables executes them"}
	if r.Rules {
		why = Reason{reason.RulesRefused, fmt.Sprintf("the program of the rules of %s was refused: %v", d.Name, r.Err), "nftables executes them"}
	}
	e.problem("execute the rules of "+d.Name+" early", r.Err)
	e.unruled[d.Early] = refusedRules{reason: why, said: r.Said, again: r.Said == ""}
	return true
}

// mayRetryRules reports whether there are refusals that may be over later.
func (e *Engine) mayRetryRules() bool {
	for _, r := range e.unruled {
		if r.again {
			return true
		}
	}
	return false
}

// retryRules forgets refusals that may be over.
func (e *Engine) retryRules() {
	maps.DeleteFunc(e.unruled, func(_ string, r refusedRules) bool { return r.again })
}

// retryMisfits forgets refusals because of sets that have other elements now.
func (e *Engine) retryMisfits() {
	changed := e.keeper.fit()
	maps.DeleteFunc(e.unruled, func(_ string, r refusedRules) bool {
		return slices.ContainsFunc(r.misfits, func(id element.SetID) bool { return changed[id] })
	})
}

// misfits are the sets that keep programs of the present rules away.
func (e *Engine) misfits() map[element.SetID]bool {
	out := map[element.SetID]bool{}
	for _, d := range e.view.early.devices {
		for _, id := range e.unruled[d.key].misfits {
			out[id] = true
		}
	}
	return out
}

// keepSets puts the elements of named sets into the programs that are loaded. A set that does not fit takes the programs
// that look into it away.
func (e *Engine) keepSets(ctx context.Context) {
	err := e.keeper.follow(ctx, e.want.sets(), e.misfits())
	if err == nil {
		return
	}
	bad := map[element.SetID]error{}
	for _, one := range parts(err) {
		if s, ok := errors.AsType[*ElementsError](one); ok {
			bad[s.Set] = s.Err
		}
	}
	e.problem("fill sets", err)
	for key, early := range e.want.Early {
		if r, ok := withoutSets(early, bad); ok {
			e.unruled[key] = r
		}
	}
	e.decide()
	e.apply()
}

// withoutSets is why a program is not used that looks into any of these sets.
func withoutSets(early *Early, bad map[element.SetID]error) (r refusedRules, found bool) {
	for _, id := range early.Sets() {
		cause, ok := bad[id]
		if !ok {
			continue
		}
		found = true
		r.reason = Reason{reason.RulesElements, fmt.Sprintf("the elements of the set %s cannot be kept: %v", id, cause), "nftables executes the rules"}
		if unfit(cause) {
			r.misfits = append(r.misfits, id)
		}
	}
	r.again = found && len(r.misfits) == 0
	return r, found
}

// parts are the errors that were joined.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// elements takes what a change did to named sets.
func (e *Engine) elements(ctx context.Context, c Change) {
	if c.Lost {
		e.keeper.forget()
	}
	if c.Generation == 0 {
		return
	}
	if len(c.Elements) > 0 && e.keeper.noted(c.Elements) {
		e.reader.request()
	}
	if err := e.keeper.apply(ctx, c.Generation, c.Elements, e.gate.pause); err != nil {
		e.gate.shut(err.Error())
		e.problem("change sets", err)
		e.reader.request()
	}
}

// devicesOf are those that a program is for, and those that it sends packets to.
func devicesOf(want Desired) map[uint32]bool {
	out := map[uint32]bool{}
	for _, d := range want.Devices {
		e := want.Early[d.Early]
		if e == nil {
			continue
		}
		out[d.Ifindex] = true
		for _, n := range e.Share.Entries {
			for _, name := range n.SendsTo() {
				out[e.Ifindex[name]] = true
			}
		}
	}
	delete(out, 0)
	return out
}
