package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/datapath/rules"
	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// early is the program generated for the chain, at one hook of r0. The daemon's steps are done one by one.
type early struct {
	bed      *rulesBed
	kind     chainKind
	hook     datapath.Hook
	dp       *datapath.Datapath
	programs *rules.Programs
	loaded   *rules.Loaded
	rules    *ruleset.Ruleset
}

// errNotEarly says that plan leaves the chain, or a part of it, to nftables.
var errNotEarly = errors.New("plan does not execute the whole chain early")

// early makes the path of the program at a hook.
func (b *rulesBed) early(ctx context.Context, p pins, k chainKind, rs *ruleset.Ruleset, hook datapath.Hook) (*rulesPath, error) {
	e := &early{bed: b, kind: k, hook: hook, rules: rs}
	if err := e.open(p.dir(hook.String())); err != nil {
		return nil, err
	}
	path := &rulesPath{name: hook.String(), dropped: e.dropped, counts: e.counts, beat: func() error { return e.programs.Renew() }}
	path.on = func() error { return errors.Join(e.attach(e.loaded), e.programs.Renew()) }
	path.off = func() error { return e.attach(nil) }
	// Not on the pinned thread: a daemon has all cores.
	err := b.firewall.elsewhere(func() error { return e.costs(ctx, &path.costs) })
	return path, err
}

// costs loads the program, and once more, and changes the set, with a clock.
func (e *early) costs(ctx context.Context, c *Costs) error {
	start := time.Now()
	if _, err := e.swap(e.rules); err != nil {
		return err
	}
	c.LoadMs = inMillis(time.Since(start))
	if e.kind.shape == ShapeSet {
		took, err := e.fill()
		if err != nil {
			return err
		}
		c.FillMs = inMillis(took)
		took, err = e.change(ctx)
		if err != nil {
			return err
		}
		c.ChangeMs = inMillis(took)
	} else {
		start = time.Now()
		rs, err := e.bed.read(ctx, e.kind)
		if err != nil {
			return err
		}
		read := time.Since(start)
		parts, err := e.swap(rs)
		if err != nil {
			return err
		}
		c.ReloadMs = inMillis(time.Since(start))
		parts.ReadMs = inMillis(read)
		c.Reload = &parts
	}
	var err error
	if c.MemoryBytes, err = memoryOf(e.loaded); err != nil {
		return err
	}
	return e.attach(nil)
}

func (e *early) open(dir string) (err error) {
	c := datapath.Config{Dir: dir, MaxFlows: 1024}
	err = e.bed.firewall.do(func() (err error) {
		e.dp, err = datapath.Open(c)
		return err
	})
	e.bed.later(func() error {
		err := e.bed.firewall.do(func() error { return datapath.Withdraw(c.Dir) })
		if e.dp != nil {
			err = errors.Join(err, e.dp.Close())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("open datapath: %w", err)
	}
	var asynchronous error
	e.programs, err = rules.Open(dir+"-rules", func(err error) { asynchronous = err })
	e.bed.later(func() error {
		var errs []error
		if e.loaded != nil {
			errs = append(errs, e.loaded.End())
		}
		if e.programs != nil {
			errs = append(errs, e.programs.Close())
		}
		return errors.Join(append(errs, asynchronous, os.RemoveAll(dir+"-rules"))...)
	})
	return err
}

// swap loads the program of a ruleset and puts it in the place of the last one. It says how long the steps took.
func (e *early) swap(rs *ruleset.Ruleset) (took Reload, err error) {
	last := time.Now()
	lap := func() float64 {
		start := last
		last = time.Now()
		return inMillis(last.Sub(start))
	}
	s, err := e.share(rs)
	if err != nil {
		return took, err
	}
	took.PlanMs = lap()
	made, err := bpfgen.Compile(*s, bpfgen.Options{Next: true})
	if err != nil {
		return took, err
	}
	took.CompileMs = lap()
	next, err := e.programs.Load(rules.Device{Name: e.bed.r0.name, Hook: s.Hook, Share: s, Legend: legend(rs, made), Made: made})
	if err != nil {
		return took, err
	}
	took.LoadMs = lap()
	if err := e.attach(next); err != nil {
		return took, errors.Join(err, next.End())
	}
	took.SwapMs = lap()
	old := e.loaded
	e.loaded, e.rules = next, rs
	if old != nil {
		err = old.End()
	}
	return took, err
}

func legend(rs *ruleset.Ruleset, made *bpfgen.Program) []rules.Rule {
	var out []rules.Rule
	for _, r := range made.Counters {
		out = append(out, rules.Rule{
			Family: string(r.Family), Table: r.Table, TableHandle: rs.Table(r.Family, r.Table).Handle, Chain: r.Chain, Handle: r.Handle,
		})
	}
	return out
}

// share is what plan makes of the chain for r0.
func (e *early) share(rs *ruleset.Ruleset) (*share.Share, error) {
	r0 := caps.Device{
		Name: e.bed.r0.name, Ifindex: uint32(e.bed.r0.index), Kind: "veth", Driver: "veth", Type: "ether", MTU: 1500, Up: true, Carrier: true,
	}
	m := caps.Machine{Devices: []caps.Device{r0}}
	p := plan.Make(rs, m, plan.Options{NoHardware: true, SetsChange: true, Hooks: map[string]string{r0.Name: e.hook.String()}})
	for _, s := range p.Shares() {
		if len(s.Devices) == 1 && s.Devices[0] == r0.Name && s.Whole && s.Hook.String() == e.hook.String() {
			return &s, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", errNotEarly, p.Summary())
}

// attach puts the program on r0; nil takes it away.
func (e *early) attach(l *rules.Loaded) error {
	var want []datapath.Device
	if l != nil {
		front := &datapath.Front{Hook: e.hook, Program: l.Entry, Next: l.Next, Slot: bpfgen.NextSlot}
		want = append(want, datapath.Device{
			Ifindex: uint32(e.bed.r0.index), Name: e.bed.r0.name, Hook: datapath.HookTC, Front: front, Unlisted: true, Stack: 1,
		})
	}
	return e.bed.firewall.do(func() error { return e.dp.Apply(want) })
}

// fill puts the elements that the kernel has into the program's map. They were read once for both hooks.
func (e *early) fill() (took time.Duration, err error) {
	start := time.Now()
	err = e.programs.Replace(setID(), e.bed.elements)
	return e.bed.reading + time.Since(start), err
}

// dropped asks the program about a frame.
func (e *early) dropped(frame []byte) (bool, error) {
	if err := e.programs.Renew(); err != nil {
		return false, err
	}
	verdict, err := e.loaded.Entry.Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		return false, fmt.Errorf("run program: %w", err)
	}
	const shot = 2 // TC_ACT_SHOT (include/uapi/linux/pkt_cls.h)
	if e.hook == datapath.HookXDP {
		return verdict == xdpDrop, nil
	}
	return verdict == shot, nil
}

// counts are what the rules of the chain have counted in programs.
func (e *early) counts(context.Context) ([]eval.Count, error) {
	counters, err := e.programs.Counters()
	if err != nil {
		return nil, err
	}
	byHandle := map[int]rules.Counter{}
	for r, c := range counters {
		byHandle[r.Handle] = c
	}
	var out []eval.Count
	for _, r := range e.rules.Table(ruleset.Netdev, rulesTable).Chain(rulesChain).Rules {
		out = append(out, eval.Count(byHandle[r.Handle]))
	}
	return out, nil
}

// memoryOf is what the kernel charges for a program and its maps.
func memoryOf(l *rules.Loaded) (int64, error) {
	all := map[ebpf.MapID]bool{}
	var sum uint64
	program := func(p *ebpf.Program) error {
		info, err := p.Info()
		if err != nil {
			return err
		}
		bytes, _ := info.Memlock()
		sum += bytes
		ids, _ := info.MapIDs()
		for _, id := range ids {
			all[id] = true
		}
		return nil
	}
	if err := errors.Join(program(l.Entry), chunks(l, program)); err != nil {
		return 0, fmt.Errorf("look at programs: %w", err)
	}
	for id := range all {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return 0, fmt.Errorf("look at maps: %w", err)
		}
		info, err := m.Info()
		_ = m.Close()
		if err != nil {
			return 0, fmt.Errorf("look at maps: %w", err)
		}
		bytes, _ := info.Memlock()
		sum += bytes
	}
	return int64(sum), nil
}

// chunks calls f for the programs that the first one goes on with.
func chunks(l *rules.Loaded, f func(*ebpf.Program) error) error {
	for i := uint32(1); l.Next != nil && i < bpfgen.NextSlot; i++ {
		var p *ebpf.Program
		err := l.Next.Lookup(i, &p)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		err = f(p)
		_ = p.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
