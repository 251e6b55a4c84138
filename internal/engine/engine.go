package engine

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// sweepEvery is the rhythm of the sweeps; the datapath's limits (dead entries rest a second) go with it.
const sweepEvery = time.Second

// What could not be attached is tried again after two seconds, then after twice as long each time, but at least once a
// minute: memory comes back, drivers finish their reset.
const (
	applyRetry     = time.Second
	applyDoublings = 6
	applyRetryMost = time.Minute
)

// Config is what an engine runs on.
type Config struct {
	Source    Source
	Links     Links
	Datapath  Datapath
	Operator  Operator
	Conntrack Conntrack
	// Chains, Rules and Sets are nil where no rules run early.
	Chains     Chains
	Rules      Rules
	Sets       Sets
	Candidates <-chan packet.Tuple // TCP connections that wait for BE_LIBERAL, either direction
	Choices    Choices
	Identity   Identity
	Settings   Settings
	Since      time.Time
	Log        *slog.Logger
}

// Engine keeps one datapath in step with one network namespace. Make it with New, then Run it once.
type Engine struct {
	cfg      Config
	problems problems
	blind    atomic.Int32 // watches that are lost
	bumper   *bumper
	gate     *gate
	keeper   *keeper
	reader   *reader
	care     *care
	work     chan tasks
	calls    chan func()
	gone     chan uint32 // devices that went away
	ready    chan struct{}
	done     chan struct{}

	// Owned by the goroutine of Run.
	view      View
	decisions []Decision
	want      Desired // what the decisions ask for
	applied   Desired
	stale     bool                    // the same state must be applied again
	refused   map[uint32]failure      // where XDP failed, by ifindex
	unruled   map[string]refusedRules // programs of rules that are not used, by key
	programs  *programs
	failures  int         // of applying, one after the other
	again     *time.Timer // applies again after failures
	sweep     SweepInfo
	said      map[string]string // what the log says of each device
	idle      bool              // there is no flowtable, and the log says so
}

// failure is that XDP could not be attached to a device.
type failure struct {
	reason Reason
	link   Link // what the device was like
}

// New makes an engine. Nothing happens before Run.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, care: newCare(time.Duration(cfg.Settings.Lease)), work: make(chan tasks, 1),
		calls: make(chan func()), gone: make(chan uint32, 64), ready: make(chan struct{}), done: make(chan struct{}),
		stale: true, refused: map[uint32]failure{}, unruled: map[string]refusedRules{}, programs: newPrograms(), said: map[string]string{},
		keeper: newKeeper(cfg.Sets),
	}
	e.gate = newGate(cfg.Rules, func() bool { return e.blind.Load() > 0 }, e.problem)
	e.bumper = newBumper(cfg.Datapath.Bump, e.problem)
	e.reader = newReader(cfg.Source, cfg.Links, cfg.Chains, e.gate.now, e.gate.waits, e.problem)
	return e
}

// Check tells what would be decided of this view: an error where a device that the user named cannot be used as
// asked. It changes nothing.
func Check(v View, choices Choices) ([]Decision, error) {
	v.early = planEarly(v, choices, tried{programs: newPrograms()})
	ds, _ := decide(v, choices, nil)
	return ds, check(v, choices, ds)
}

// Ready is closed when the devices of the first reading have been applied.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Run works until the context ends, which is no error. It must be called from a thread in the datapath's network
// namespace, to which the caller has locked its goroutine where the process has several. When it returns, what is
// attached is still attached.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.done)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	// Watching begins before the first reading, so nothing can fall between.
	rules, err := e.cfg.Source.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch ruleset: %w", err)
	}
	links, err := e.cfg.Links.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch network: %w", err)
	}
	// What happens while the first programs are loaded must not wait for them.
	wg.Go(func() { e.watch(ctx, "ruleset", e.cfg.Source.Watch, rules) })
	wg.Go(func() { e.watch(ctx, "network", e.cfg.Links.Watch, links) })
	v, err := e.reader.read(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	e.again = time.NewTimer(applyRetryMost) // when nothing has failed, applying again changes nothing
	if err := e.start(ctx, v); err != nil {
		return err
	}
	close(e.ready)

	wg.Go(func() { e.bumper.run(ctx) })
	wg.Go(func() { e.reader.run(ctx) })
	for _, w := range careWorkers(ctx, e.cfg.Conntrack, e.cfg.Candidates, e.work, e.problem) {
		wg.Go(w)
	}
	e.loop(ctx)
	// Connections that were carried stay liberal, and conntrack's view of them frozen: nothing of it may be left
	// that shortens their timeout or hides their end.
	e.release()
	return nil
}

func (e *Engine) start(ctx context.Context, v View) error {
	if _, err := Check(v, e.cfg.Choices); err != nil {
		return err
	}
	e.reconcile(ctx, v)
	for _, name := range slices.Sorted(maps.Keys(e.cfg.Choices)) {
		ruled := slices.ContainsFunc(e.view.early.devices, func(d RuledDevice) bool { return d.Name == name })
		if !ruled && !slices.ContainsFunc(e.decisions, func(d Decision) bool { return d.Name == name || d.place(name) != nil }) {
			e.cfg.Log.Warn("--device has no effect: no flowtable lists the device, and no ingress chain", "device", name)
		}
	}
	return honored(e.cfg.Choices, e.decisions)
}

func (e *Engine) loop(ctx context.Context) {
	defer e.again.Stop()
	sweeps := time.NewTicker(sweepEvery)
	defer sweeps.Stop()
	beats := time.NewTicker(renewEvery)
	defer beats.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-e.reader.views:
			e.reconcile(ctx, v)
		case <-beats.C:
			e.gate.beat()
		case i := <-e.gone:
			e.forget(i)
		case <-e.again.C:
			e.stale = true
			e.retryRules()
			e.reconcile(ctx, e.view)
		case <-sweeps.C:
			e.sweepOnce()
		case f := <-e.calls:
			f()
		}
	}
}

// changed takes a change from a watch: first of all rules and flows, then the reading.
func (e *Engine) changed(ctx context.Context, c Change) {
	e.suspendFor(c) // again: what was read before the elements are in place does not open the gate
	if !c.Quiet {
		e.bumper.request(c.What)
	}
	e.elements(ctx, c)
	e.cfg.Log.Debug("changed", "what", c.What)
	if c.Gone != 0 {
		select {
		case e.gone <- c.Gone:
		case <-ctx.Done():
		}
	}
	if c.Reread {
		e.reader.request()
	}
}

// suspendFor suspends the programs of rules when a change may be about what they were made of.
func (e *Engine) suspendFor(c Change) {
	switch {
	case c.Rules:
		e.gate.shut(c.What)
	case c.Link != 0:
		e.gate.linkChanged(c.Link, c.What)
	}
}

// forget drops what was known of a device: another one may have its number now.
func (e *Engine) forget(ifindex uint32) {
	delete(e.refused, ifindex)
	if slices.ContainsFunc(e.applied.Devices, func(d Device) bool { return d.Ifindex == ifindex }) {
		e.stale = true
		e.reader.request()
	}
}

// reconcile decides and applies.
func (e *Engine) reconcile(ctx context.Context, v View) {
	for _, l := range v.Links {
		if f, ok := e.refused[l.Ifindex]; ok && !reflect.DeepEqual(l, f.link) {
			delete(e.refused, l.Ifindex) // what made XDP fail may be what has changed
		}
	}
	e.view = v
	e.retryMisfits()
	e.decide()
	e.apply()
	e.keepSets(ctx)
	if !e.stale {
		e.gate.admit(v.seq)
	}
	e.gate.release()
	e.report()
}

// decide makes up its mind about what was read.
func (e *Engine) decide() {
	e.view.early = planEarly(e.view, e.cfg.Choices, tried{e.refused, e.unruled, e.programs})
	e.decisions, e.want = decide(e.view, e.cfg.Choices, e.refused)
	e.gate.concern(e.want)
	if !e.want.sameEarly(e.applied) || !e.keeper.follows(e.want.sets()) {
		e.gate.hold()
	}
}

// applyTries bounds how often it is decided anew because devices or programs were refused.
const applyTries = 16

func (e *Engine) apply() {
	if !e.stale && e.want.equal(e.applied) {
		return
	}
	var refusals []Refusal
	var err error
	for range applyTries {
		refusals, err = e.cfg.Datapath.Apply(e.want)
		retry := false
		for _, r := range refusals {
			retry = e.refuse(r) || retry
		}
		if !retry {
			break
		}
		// Where XDP failed, tc may do, and nftables executes what no program can.
		e.decide()
	}
	if err != nil {
		e.problem("apply", err)
	}
	e.stale = err != nil
	e.applied = e.want.without(refusals)
	if err != nil || slices.ContainsFunc(refusals, func(r Refusal) bool { return !r.Gone }) {
		e.failures++
		e.again.Reset(min(applyRetry<<min(e.failures, applyDoublings), applyRetryMost))
	} else {
		e.failures = 0
		e.again.Stop()
		if e.mayRetryRules() {
			e.again.Reset(applyRetryMost)
		}
	}
	e.bumper.request("devices applied")
}

// refuse records that a device could not be attached to, and reports whether tc is worth a try there.
func (e *Engine) refuse(r Refusal) bool {
	i := slices.IndexFunc(e.want.Devices, func(d Device) bool { return d.Name == r.Device })
	if i >= 0 && e.want.Devices[i].Early != "" && !r.Gone {
		return e.refuseRules(e.want.Devices[i], r)
	}
	if i < 0 || e.want.Devices[i].Above {
		e.problem("apply to "+r.Device, r.Err)
		return false
	}
	if e.want.Devices[i].Refused {
		return false // nothing is carried there; only the names of its flows are missing
	}
	no := Reason{reason.OffAttachFailed, fmt.Sprintf("cannot attach to %s: %v", r.Device, r.Err), "see `nft-offload status` and the kernel log"}
	switch {
	case r.Gone:
		no = Reason{reason.OffNoDevice, fmt.Sprintf("%s went away", r.Device), "it is taken up when it appears"}
	case r.Busy:
		no = Reason{reason.OffXDPBusy, fmt.Sprintf("%s runs an XDP program of somebody else", r.Device), fmt.Sprintf("ip link set dev %s xdp off, or use the tc hook", r.Device)}
	}
	retry := r.Hook == XDP && !r.Gone
	for i := range e.decisions {
		d := &e.decisions[i]
		if p := d.place(r.Device); p != nil {
			retry = retry && !p.Asked
			d.leave(r.Device, no)
		}
	}
	if retry {
		f := failure{reason: no}
		for _, l := range e.view.Links {
			if l.Ifindex == e.want.Devices[i].Ifindex {
				f.link = l
			}
		}
		e.refused[e.want.Devices[i].Ifindex] = f
	}
	return retry
}

func (e *Engine) sweepOnce() {
	begin := time.Now()
	s, err := e.cfg.Datapath.Sweep(e.blind.Load() == 0)
	if err != nil {
		e.problem("sweep", err)
		return
	}
	e.sweep = SweepInfo{Entries: s.Entries, Deleted: s.Deleted, Took: Seconds(time.Since(begin))}
	t := e.care.sweep(s.Live)
	if len(t.liberal)+len(t.restore) == 0 {
		return
	}
	select {
	case e.work <- t:
	default:
		// Conntrack is slower than the sweeps.
		e.care.again(t)
	}
}

// release clears, one last time, the flags of every connection in the table.
func (e *Engine) release() {
	s, err := e.cfg.Datapath.Sweep(false)
	if err != nil {
		e.problem("sweep", err)
		return
	}
	seen := map[uint64]bool{}
	var conns []packet.Tuple
	for _, a := range s.Live {
		if a.Tuple.Proto == packet.TCP && a.Bytes > 0 && !seen[a.Conntrack] {
			seen[a.Conntrack] = true
			conns = append(conns, a.Tuple)
		}
	}
	tasks{liberal: conns}.do(context.Background(), e.cfg.Conntrack, e.problem)
}

// problem logs what went wrong and keeps it for the status. Any goroutine may call it.
func (e *Engine) problem(what string, err error) {
	if e.problems.add(fmt.Sprintf("%s: %v", what, err)) {
		e.cfg.Log.Error(what, "error", err)
	}
}
