package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/datapath/rules"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// chains is the live ruleset, whole, and the machine, as the engine wants them.
type chains struct {
	env   *env
	rules *watchedRules
}

// Read returns what the last reading of the ruleset has found: both are one.
func (c chains) Read(ctx context.Context) (*ruleset.Ruleset, caps.Machine, error) {
	m, _, err := c.env.readMachine(ctx, os.DirFS("/"))
	if err != nil {
		return nil, m, err
	}
	c.rules.mu.Lock()
	defer c.rules.mu.Unlock()
	return c.rules.whole, m, c.rules.uncompared
}

// rulesDir is where the pins of generated programs are, below those of the datapath.
const rulesDir = "rules"

// early is the programs of rules as the engine wants them.
type early struct {
	programs *rules.Programs
	loaded   map[string]*rules.Loaded // by engine.Device.Early
}

func openEarly(dir string, report func(error)) (*early, error) {
	p, err := rules.Open(dir, report)
	if err != nil {
		return nil, err
	}
	return &early{programs: p, loaded: map[string]*rules.Loaded{}}, nil
}

// load makes the programs that are wanted and not there yet. It returns those devices whose programs the kernel refused.
func (e *early) load(want engine.Desired) []engine.Refusal {
	var refusals []engine.Refusal
	for _, d := range want.Devices {
		if d.Early == "" || e.loaded[d.Early] != nil {
			continue
		}
		l, err := e.one(d.Name, want.Early[d.Early])
		if err != nil {
			r := engine.Refusal{Device: d.Name, Hook: d.EarlyHook, Rules: true, Err: err}
			if v, ok := errors.AsType[*rules.RefusedError](err); ok {
				r.Said = v.Said
			}
			refusals = append(refusals, r)
			continue
		}
		e.loaded[d.Early] = l
	}
	return refusals
}

// one compiles and loads the program of a device.
func (e *early) one(device string, want *engine.Early) (*rules.Loaded, error) {
	made, err := bpfgen.Compile(*want.Share, bpfgen.Options{Ifindex: want.Ifindex, Next: true, Bare: want.Bare})
	if err != nil {
		return nil, err
	}
	legend := make([]rules.Rule, 0, len(made.Counters))
	for _, r := range made.Counters {
		legend = append(legend, rules.Rule(want.Rule(r)))
	}
	return e.programs.Load(rules.Device{Name: device, Hook: want.Share.Hook, Share: want.Share, Legend: legend, Made: made})
}

// front is what is attached before our own program on a device; nil for nothing.
func (e *early) front(d engine.Device) *datapath.Front {
	l := e.loaded[d.Early]
	if l == nil {
		return nil
	}
	return &datapath.Front{Hook: datapathHook(d.EarlyHook), Program: l.Entry, Next: l.Next, Slot: bpfgen.NextSlot}
}

// settle ends the programs that nothing wants any more.
func (e *early) settle(want engine.Desired) error {
	used := map[string]bool{}
	for _, d := range want.Devices {
		used[d.Early] = true
	}
	var errs []error
	for _, key := range slices.Collect(maps.Keys(e.loaded)) {
		if !used[key] {
			errs = append(errs, e.loaded[key].End())
			delete(e.loaded, key)
		}
	}
	e.programs.Exist(nil)
	if want.Exist != nil {
		e.programs.Exist(func(r rules.Rule) bool { return want.Exist[engine.RuleID(r)] })
	}
	e.programs.EndOthers()
	return errors.Join(errs...)
}

func (e *early) Renew() error   { return e.programs.Renew() }
func (e *early) Suspend() error { return e.programs.Suspend() }

func (e *early) Counted() (engine.Counted, error) {
	counters, err := e.programs.Counters()
	totals, terr := e.programs.Totals()
	return engineCounted(counters, totals), errors.Join(err, terr)
}

func engineCounted(counters map[rules.Rule]rules.Counter, totals map[string]rules.Totals) engine.Counted {
	out := engine.Counted{Rules: map[engine.RuleID]engine.Counter{}, Devices: map[string]engine.EarlyPackets{}}
	for r, c := range counters {
		out.Rules[engine.RuleID(r)] = engine.Counter(c)
	}
	for name, t := range totals {
		out.Devices[name] = engine.EarlyPackets(t)
	}
	return out
}

// sets are elements: those of the ruleset, and those in the maps of programs.
type sets struct {
	source   *watchedRules
	programs *rules.Programs
}

func (s sets) Subscribe(want []element.SetID) { s.source.subscribe(want) }

func (s sets) List(ctx context.Context, set element.SetID) (*element.List, error) {
	return s.source.elements(ctx, set)
}

func (s sets) Replace(set element.SetID, list *element.List) error {
	return s.programs.Replace(set, list)
}
func (s sets) Atomic(c element.Change) bool { return s.programs.Atomic(c) }

func (s sets) Apply(c element.Change) error {
	err := s.programs.Apply(c)
	if errors.Is(err, rules.ErrReread) {
		return engine.ErrReread
	}
	return err
}

// watchedRules is the live ruleset, of which changes of elements are told apart from those of rules.
type watchedRules struct {
	mu    sync.Mutex
	whole *ruleset.Ruleset // of the last reading
	watch *nft.SetWatch
	want  map[element.SetID]bool
	// fresh are tables that were given something at ingress which the last reading may not have yet.
	fresh map[nft.TableID]bool
	// wrong has what is said of elements that expired and are there still: the programs must not go on with them.
	wrong      chan error
	uncompared error // why the rules of the last reading could not be compared
	// compared are the rules that nft lists as the kernel executes them.
	compared nft.Comparison
}

func newWatchedRules() *watchedRules {
	return &watchedRules{fresh: map[nft.TableID]bool{}, wrong: make(chan error, 1)}
}

// report never waits: one error is as good as many.
func (w *watchedRules) report(err error) {
	select {
	case w.wrong <- err:
	default:
	}
}

func (w *watchedRules) Read(ctx context.Context) (handover.Ruleset, error) {
	seen := w.told()
	h, whole, err := nft.ListWhole(ctx, &w.compared)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uncompared = nil
	if failed, ok := errors.AsType[*nft.ComparisonError](err); ok {
		w.uncompared, err = failed, nil
	}
	w.know(whole, err, seen)
	return h, err
}

// told are the fresh tables that a reading which begins now has.
func (w *watchedRules) told() []nft.TableID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.fresh))
}

// know takes what a reading has found. The caller holds the lock.
func (w *watchedRules) know(whole *ruleset.Ruleset, err error, seen []nft.TableID) {
	w.whole = whole
	if err != nil {
		return
	}
	for _, t := range seen {
		delete(w.fresh, t)
	}
}

func (w *watchedRules) subscribe(ids []element.SetID) {
	want := map[element.SetID]bool{}
	for _, id := range ids {
		want[id] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = want
	if w.watch != nil {
		w.watch.Subscribe(func(id element.SetID) bool { return want[id] })
	}
}

// elements reads a set. The kernel need not be asked about one that it has just told of.
func (w *watchedRules) elements(ctx context.Context, id element.SetID) (*element.List, error) {
	w.mu.Lock()
	watch := w.watch
	w.mu.Unlock()
	if watch == nil {
		return nft.Elements(ctx, id)
	}
	return watch.Elements(ctx, id)
}

// atIngress reports whether rules at ingress may look into a set.
func atIngress(id element.SetID) bool {
	return id.Family == ruleset.Netdev || id.Family == ruleset.Inet
}

func (w *watchedRules) Watch(ctx context.Context) (<-chan engine.Change, error) {
	watch, err := nft.WatchSets(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.watch = watch
	want := w.want
	w.mu.Unlock()
	watch.Subscribe(func(id element.SetID) bool { return want[id] })
	watch.Remember(atIngress)
	return w.join(ctx, translate(ctx, watch.Commits(), w.change)), nil
}

// join puts what went wrong between the changes.
func (w *watchedRules) join(ctx context.Context, changes <-chan engine.Change) <-chan engine.Change {
	out := make(chan engine.Change)
	go func() {
		defer close(out)
		for {
			var c engine.Change
			select {
			case err := <-w.wrong:
				c = engine.Change{What: err.Error(), Reread: true, Rules: true, Lost: true}
			case next, ok := <-changes:
				if !ok {
					return
				}
				c = next
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// change is a transaction as the engine wants it.
func (w *watchedRules) change(c nft.Commit) (engine.Change, bool) {
	switch {
	case c.Err != nil:
		return engine.Change{}, false // the channel closes behind it
	case c.Lost:
		return engine.Change{What: "ruleset notifications lost", Reread: true, Rules: true, Lost: true}, true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range c.Ingress {
		w.fresh[t] = true
	}
	return engine.Change{
		What: generationText(c.Generation, c.Process), Elements: c.Changes, Generation: c.Generation,
		// Either nothing but elements of sets that programs look into has changed, or anything may have.
		Reread: len(c.Tables) > 0 || len(c.Changes) == 0,
		Rules:  slices.ContainsFunc(c.Tables, w.concerns),
	}, true
}

// concerns reports whether what runs early may depend on a table: on its ingress chains, or on a flowtable that packets
// come to before them. The caller holds the lock.
func (w *watchedRules) concerns(t nft.TableID) bool {
	if t.Family == ruleset.Netdev || w.fresh[t] || w.whole == nil {
		return true
	}
	known := w.whole.Table(t.Family, t.Name)
	return known == nil || len(known.Flowtables) > 0 || slices.ContainsFunc(known.Chains, func(c *ruleset.Chain) bool {
		return c.Base != nil && c.Base.Hook == "ingress"
	})
}
