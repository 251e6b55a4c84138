package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Restored is what Restore had to do.
type Restored struct {
	Replaced []string `json:"replaced,omitempty"` // tables that were other than saved: "inet filter"
	Removed  []string `json:"removed,omitempty"`  // tables that had not been there
	// LeftOut are devices of flowtables that went away meanwhile.
	LeftOut []string `json:"left_out,omitempty"`
	// Different are tables that are still other than saved, though nft took them, and not for the want of a device.
	Different []string `json:"different,omitempty"`
}

// Restore takes back what loading changed (Saved.For, Saved.Loaded): tables that it left as they were are not touched,
// so the counters, elements and changes by others that are in them live on. Where nobody looked after loading, every
// table within its reach that is other than saved counts as changed by it.
//
// It is one transaction; where the machine has changed so that nft refuses it, a device of a flowtable being gone for
// instance, what stands in the way is left out, and as the last resort each table is put back in a transaction of its
// own. Restoring twice is harmless.
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
	live, now, err := tablesNow(ctx, false)
	if err != nil {
		return r, err
	}
	if !s.Settled {
		if now == s.Generation {
			return r, nil // nobody has changed anything
		}
		s.Changed = s.changed(live)
	}
	steps := s.steps(live, &r)
	if len(steps) == 0 {
		return r, nil
	}
	p := applied{edited: map[string]bool{}}
	if err := p.apply(ctx, strings.Join(steps, "")); err != nil {
		if err := p.applyEach(ctx, steps); err != nil {
			r.LeftOut = p.leftOut
			return r, err
		}
	}
	r.LeftOut = p.leftOut
	live, _, err = tablesNow(ctx, false)
	if err != nil {
		return r, err
	}
	r.Different = s.different(live, p.edited)
	return r, nil
}

// steps are the transactions that make the changed ones of the live tables those that were saved, in the order of
// saving.
func (s Saved) steps(live []SavedTable, r *Restored) []string {
	now := map[string]string{}
	for _, t := range live {
		now[t.String()] = t.Rules
	}
	var steps []string
	for _, t := range s.Tables {
		rules, there := now[t.String()]
		delete(now, t.String())
		if t.Broken != "" || there && rules == t.Rules || !slices.Contains(s.Changed, t.String()) {
			continue
		}
		steps = append(steps, t.replace())
		r.Replaced = append(r.Replaced, t.String())
	}
	var removed []string
	for _, t := range live {
		if _, made := now[t.String()]; made && slices.Contains(s.Changed, t.String()) {
			removed = append(removed, t.remove())
			r.Removed = append(r.Removed, t.String())
		}
	}
	// What was not there goes first: it may hold what only one table can have.
	return append(removed, steps...)
}

// different names the changed tables that are not as saved, but for elements that packets and time change. Those that
// were edited cannot be as saved.
func (s Saved) different(live []SavedTable, edited map[string]bool) []string {
	want := map[string]string{}
	for _, t := range s.Tables {
		want[t.String()] = t.Rules
	}
	have := map[string]string{}
	for _, t := range live {
		have[t.String()] = t.Rules
	}
	var out []string
	for _, name := range s.Changed {
		w, saved := want[name]
		h, there := have[name]
		if !edited[name] && (saved != there || lasting(w) != lasting(h)) {
			out = append(out, name)
		}
	}
	return out
}

// lasting is what nft lists of a table without the elements of sets that packets and time change.
func lasting(rules string) string {
	var out, set []string
	inSet, fleeting := false, false
	for line := range strings.Lines(rules) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "\tset ") || strings.HasPrefix(line, "\tmap ") {
			inSet, fleeting, set = true, false, nil
		}
		if !inSet {
			out = append(out, line)
			continue
		}
		if len(words) > 1 && words[0] == "flags" {
			fleeting = strings.Contains(line, "dynamic") || strings.Contains(line, "timeout")
		}
		set = append(set, line)
		if strings.HasPrefix(line, "\t}") {
			if i := slices.IndexFunc(set, func(l string) bool { return strings.HasPrefix(l, "\t\telements = ") }); fleeting && i >= 0 {
				set = append(set[:i], line)
			}
			out = append(out, set...)
			inSet = false
		}
	}
	return strings.Join(out, "")
}

// applied is what had to be given up for nft to take what was saved.
type applied struct {
	leftOut []string        // devices that do not exist any more
	edited  map[string]bool // tables that lost something
}

// apply loads text that nft wrote: as it is, or without the devices that do not exist any more.
func (a *applied) apply(ctx context.Context, text string) error {
	_, err := run(ctx, "restore", "", text, "-f", "-")
	if _, refused := errors.AsType[*Error](err); !refused {
		return err
	}
	here, derr := devicesHere()
	if derr != nil {
		return errors.Join(err, derr)
	}
	src := Source{Name: "the saved ruleset", Dir: "/", Text: text}
	e := edit{devices: here.forKernel(ctx)}
	p, rerr := rewrite(src, e)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	if cerr := p.run(ctx, src, "check", "-c"); cerr != nil {
		if p, cerr = withoutOffload(ctx, src, e, p, cerr); cerr != nil {
			return cerr
		}
	}
	if err := p.run(ctx, src, "restore"); err != nil {
		return err
	}
	for _, f := range p.report.Flowtables {
		if len(f.Missing)+len(f.Patterns) > 0 || f.Refused != "" {
			a.edited[SavedTable{Family: f.Family, Name: f.Table}.String()] = true
		}
		for _, d := range f.Missing {
			a.leftOut = appendNew(a.leftOut, d)
		}
	}
	return nil
}

// applyEach is for a ruleset that cannot come back as a whole: as much of it as possible is better than none.
func (a *applied) applyEach(ctx context.Context, steps []string) error {
	var errs []error
	for _, s := range steps {
		errs = append(errs, a.apply(ctx, s))
	}
	return errors.Join(errs...)
}
