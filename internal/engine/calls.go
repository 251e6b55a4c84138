package engine

import (
	"context"
	"errors"
	"slices"
)

// ErrStopped says that the engine has ended.
var ErrStopped = errors.New("the engine has stopped")

// call runs f in the goroutine of Run and waits for it.
func (e *Engine) call(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case e.calls <- func() { f(); close(ran) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		return ErrStopped
	}
	<-ran
	return nil
}

// Status takes a snapshot.
func (e *Engine) Status(ctx context.Context) (Status, error) {
	var s Status
	var err error
	if cerr := e.call(ctx, func() { s, err = e.status() }); cerr != nil {
		return s, cerr
	}
	return s, err
}

func (e *Engine) status() (Status, error) {
	stats, err := e.cfg.Datapath.Stats()
	s := Status{
		Identity: e.cfg.Identity, Since: e.cfg.Since, Settings: e.cfg.Settings, Devices: slices.Clone(e.decisions),
		Flowtables: e.view.Flowtables(), Stats: stats, Generations: e.bumper.generations(), Sweep: e.sweep,
		Problems: e.problems.snapshot(),
	}
	rules, rulesErr := e.rulesStatus()
	s.Rules = rules
	return s, errors.Join(err, rulesErr)
}

func (e *Engine) rulesStatus() (RulesStatus, error) {
	s := RulesStatus{On: e.cfg.Rules != nil, Devices: slices.Clone(e.view.early.devices)}
	if s.Devices == nil {
		s.Devices = []RuledDevice{}
	}
	if !s.On {
		return s, nil
	}
	s.Executing, s.Why, s.Since = e.gate.state()
	counted, err := e.cfg.Rules.Counted()
	for i := range s.Devices {
		s.Devices[i].Packets = counted.Devices[s.Devices[i].Name]
	}
	return s, err
}

// RuleCounts lists what rules have counted of packets that ended early, in no order.
func (e *Engine) RuleCounts(ctx context.Context) ([]RuleCount, error) {
	var counted Counted
	var err error
	if e.cfg.Rules == nil {
		return nil, nil
	}
	if cerr := e.call(ctx, func() { counted, err = e.cfg.Rules.Counted() }); cerr != nil {
		return nil, cerr
	}
	out := make([]RuleCount, 0, len(counted.Rules))
	for id, c := range counted.Rules {
		out = append(out, RuleCount{id, c})
	}
	return out, err
}

// Flowtables are those of the ruleset.
func (v View) Flowtables() []Flowtable {
	out := []Flowtable{}
	for _, f := range v.Ruleset.Flowtables {
		out = append(out, Flowtable{
			Family: f.Family, Table: f.Table, Name: f.Name, Lowered: f.Lowered, Labels: f.Labels.List(), Mark: f.Mark,
			Devices: slices.Clone(f.Devices),
		})
	}
	return out
}

// Flows lists the flows that pass the filter, the busiest first.
func (e *Engine) Flows(ctx context.Context, filter Filter) ([]Flow, error) {
	var flows []Flow
	var err error
	names := map[uint32]string{}
	cerr := e.call(ctx, func() {
		flows, err = e.cfg.Datapath.Flows()
		for _, l := range e.view.Links {
			names[l.Ifindex] = l.Name
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return nil, err
	}
	flows = slices.DeleteFunc(flows, func(f Flow) bool { return !filter.Match(f) })
	for i := range flows {
		flows[i].In, flows[i].Out = names[flows[i].InIndex], names[flows[i].OutIndex]
	}
	slices.SortFunc(flows, busiest)
	return flows, nil
}

// busiest orders by bytes, then by tuple, so that the order is the same each time.
func busiest(a, b Flow) int {
	switch {
	case a.Bytes != b.Bytes && a.Bytes > b.Bytes:
		return -1
	case a.Bytes != b.Bytes:
		return 1
	case a.Src != b.Src:
		return a.Src.Compare(b.Src)
	case a.Dst != b.Dst:
		return a.Dst.Compare(b.Dst)
	default:
		return int(a.InIndex) - int(b.InIndex)
	}
}
