package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Restored is what Restore had to do.
type Restored struct {
	Replaced []string `json:"replaced,omitempty"` // tables that were other than saved: "inet filter"
	Removed  []string `json:"removed,omitempty"`  // tables that had not been there
	// LeftOut are devices of flowtables that went away meanwhile.
	LeftOut []string `json:"left_out,omitempty"`
	// Different are tables that are still other than saved, though nft took them.
	Different []string `json:"different,omitempty"`
}

// Restore makes the ruleset what was saved. Tables that are as they were are not touched, so their counters and
// elements live on. It is one transaction; where the machine has changed so that nft refuses it, a device of a
// flowtable being gone for instance, what stands in the way is left out, and as the last resort each table is put back
// in a transaction of its own. Restoring twice is harmless.
func Restore(ctx context.Context, s Saved) (Restored, error) {
	r, err := restore(ctx, s)
	if err != nil {
		return r, fmt.Errorf("restore ruleset: %w", err)
	}
	return r, nil
}

func restore(ctx context.Context, s Saved) (Restored, error) {
	var r Restored
	if err := ready(); err != nil {
		return r, err
	}
	live, err := tablesNow(ctx, false)
	if err != nil {
		return r, err
	}
	steps := s.steps(live, &r)
	if len(steps) == 0 {
		return r, nil
	}
	if r.LeftOut, err = apply(ctx, strings.Join(steps, "")); err != nil {
		if err = applyEach(ctx, steps, &r.LeftOut); err != nil {
			return r, err
		}
	}
	live, err = tablesNow(ctx, false)
	if err != nil {
		return r, err
	}
	var rest Restored
	s.steps(live, &rest)
	r.Different = append(rest.Replaced, rest.Removed...)
	return r, nil
}

// steps are the transactions that make the live tables those that were saved, in the order of saving. What nft cannot
// read back is left as it is.
func (s Saved) steps(live []SavedTable, r *Restored) []string {
	now := map[string]string{}
	for _, t := range live {
		now[t.String()] = t.Rules
	}
	var steps []string
	for _, t := range s.Tables {
		rules, there := now[t.String()]
		delete(now, t.String())
		if t.Broken != "" || there && rules == t.Rules {
			continue
		}
		steps = append(steps, t.replace())
		r.Replaced = append(r.Replaced, t.String())
	}
	var removed []string
	for _, t := range live {
		if _, ok := now[t.String()]; ok {
			removed = append(removed, t.remove())
			r.Removed = append(r.Removed, t.String())
		}
	}
	// What was not there goes first: it may hold what only one table can have.
	return append(removed, steps...)
}

// apply loads text that nft wrote: as it is, or without the devices that do not exist any more, which it returns.
func apply(ctx context.Context, text string) ([]string, error) {
	_, err := run(ctx, "restore", "", text, "-f", "-")
	if _, refused := errors.AsType[*Error](err); !refused {
		return nil, err
	}
	here, derr := devicesHere()
	if derr != nil {
		return nil, errors.Join(err, derr)
	}
	src := Source{Name: "the saved ruleset", Dir: "/", Text: text}
	e := edit{devices: here.forKernel(ctx)}
	p, rerr := rewrite(src, e)
	if rerr != nil {
		return nil, errors.Join(err, rerr)
	}
	if cerr := p.run(ctx, src, "check", "-c"); cerr != nil {
		if p, cerr = withoutOffload(ctx, src, e, p, cerr); cerr != nil {
			return nil, cerr
		}
	}
	var missing []string
	for _, f := range p.report.Flowtables {
		missing = append(missing, f.Missing...)
	}
	return missing, p.run(ctx, src, "restore")
}

// applyEach is for a ruleset that cannot come back as a whole: as much of it as possible is better than none.
func applyEach(ctx context.Context, steps []string, leftOut *[]string) error {
	var errs []error
	for _, s := range steps {
		missing, err := apply(ctx, s)
		*leftOut = append(*leftOut, missing...)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
