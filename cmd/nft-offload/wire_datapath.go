package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// fastPath is the datapath as the engine wants it.
type fastPath struct {
	cfg        datapath.Config
	log        *slog.Logger
	candidates chan packet.Tuple
	done       chan struct{} // ends those who fill candidates
	end        func(error)   // ends the daemon

	// Bump may come from another goroutine while Apply opens d again.
	mu     sync.Mutex
	d      *datapath.Datapath
	early  *early // nil: rules are nftables' alone
	stream *datapath.Candidates
}

// candidateRoom is how many candidates wait here; more wait in the ring buffer, and those that do not fit there ask
// again.
const candidateRoom = 1024

// openFastPath opens the datapath, and what executes rules unless these are not watched.
func openFastPath(cfg datapath.Config, watched *watchedRules, log *slog.Logger) (*fastPath, error) {
	f := &fastPath{cfg: cfg, log: log, candidates: make(chan packet.Tuple, candidateRoom), done: make(chan struct{})}
	if err := f.open(); err != nil || watched == nil {
		return f, err
	}
	early, err := openEarly(filepath.Join(cfg.Dir, rulesDir), watched.report)
	if err != nil {
		log.Error("nftables executes all rules", "error", err)
		return f, nil
	}
	f.early = early
	return f, nil
}

func (f *fastPath) open() error {
	d, err := datapath.Open(f.cfg)
	if err != nil {
		return err
	}
	if f.stream, err = d.Candidates(); err != nil {
		return errors.Join(err, d.Close())
	}
	f.d = d
	go f.read(f.stream)
	return nil
}

// read passes candidates on until the stream is closed.
func (f *fastPath) read(stream *datapath.Candidates) {
	for {
		c, err := stream.Read()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				f.log.Error("no new tcp connection becomes fast", "error", err)
			}
			return
		}
		select {
		case f.candidates <- c.Orig:
		case <-f.done:
			return
		}
	}
}

// close gives up the descriptors; what is attached stays so.
func (f *fastPath) close() error { return errors.Join(f.stream.Close(), f.d.Close()) }

// leave is close for good: of the programs of rules, too.
func (f *fastPath) leave() error {
	err := f.close()
	if f.early != nil {
		err = errors.Join(err, f.early.programs.Close())
	}
	return err
}

func (f *fastPath) Bump() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.d.Bump()
}

func (f *fastPath) Apply(desired engine.Desired) ([]engine.Refusal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if desired.Mark != f.cfg.Mark {
		// The bit belongs to how the datapath is opened. What is attached goes on meanwhile.
		if err := f.close(); err != nil {
			f.log.Warn("close the datapath", "error", err)
		}
		before := f.cfg.Mark
		f.cfg.Mark = desired.Mark
		if err := f.open(); err != nil {
			f.cfg.Mark = before // so that the next Apply tries again
			return nil, err
		}
	}
	if f.early != nil {
		if refusals := f.early.load(desired); len(refusals) > 0 {
			return refusals, nil
		}
	}
	want := make([]datapath.Device, 0, len(desired.Devices))
	hooks := map[string]engine.Hook{}
	for _, d := range desired.Devices {
		hooks[d.Name] = d.Hook
		if d.EarlyHook == engine.XDP {
			hooks[d.Name] = engine.XDP
		}
		want = append(want, datapath.Device{
			Front: f.front(d), Unlisted: d.Unlisted,
			Ifindex: d.Ifindex, Name: d.Name, Hook: datapathHook(d.Hook), XDPTarget: d.XDPTarget,
			PartialChecksums: d.PartialChecksums, Labels: d.Labels, Flowtable: d.Flowtable, Bare: d.Bare, Above: d.Above,
			Stack: d.Stack, Refused: d.Refused, Under: d.Under, Floods: datapathFloods(d.Floods),
		})
	}
	var refusals []engine.Refusal
	var others []error
	for _, err := range flatten(f.d.Apply(want)) {
		var a *datapath.AttachError
		if !errors.As(err, &a) {
			others = append(others, err)
			continue
		}
		refusals = append(refusals, engine.Refusal{
			Device: a.Device, Hook: hooks[a.Device], Err: err,
			Busy: errors.Is(err, datapath.ErrBusy), Gone: errors.Is(err, unix.ENODEV),
		})
	}
	if f.early != nil {
		others = append(others, f.early.settle(desired))
	}
	return refusals, errors.Join(others...)
}

func (f *fastPath) front(d engine.Device) *datapath.Front {
	if f.early == nil {
		return nil
	}
	return f.early.front(d)
}

func datapathFloods(f engine.Floods) datapath.Floods {
	switch f {
	case engine.FloodsNot:
		return datapath.FloodsNot
	case engine.FloodsSeen:
		return datapath.FloodsSeen
	default:
		return datapath.FloodsUnseen
	}
}

// flatten returns the parts of a joined error.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
}

func datapathHook(h engine.Hook) datapath.Hook {
	if h == engine.XDP {
		return datapath.HookXDP
	}
	return datapath.HookTC
}

func engineHook(h datapath.Hook) engine.Hook {
	if h == datapath.HookXDP {
		return engine.XDP
	}
	return engine.TC
}

// longestHeartbeatLease bounds how long leases become where renewals of very many flows would take too much of a core: far
// below conntrack's timeouts, of which UDP's of 30 s (120 s once both sides spoke) is the shortest.
const longestHeartbeatLease = 5 * time.Second

func (f *fastPath) Sweep(watching bool) (engine.Sweep, error) {
	if err := stillPinned(f.cfg.Dir); err != nil {
		f.end(err)
	}
	s, err := f.d.Sweep()
	err = errors.Join(err, f.d.TrimHolds())
	if f.early != nil {
		err = errors.Join(err, f.early.programs.Sweep())
	}
	if err == nil && watching {
		active := 0
		for _, a := range s.Live {
			if a.State == datapath.StateReady && a.Idle < f.cfg.Hard {
				active++
			}
		}
		err = f.d.Heartbeat(active, longestHeartbeatLease)
	}
	out := engine.Sweep{Entries: s.Entries, Deleted: s.Deleted, Live: make([]engine.Activity, 0, len(s.Live))}
	for _, a := range s.Live {
		out.Live = append(out.Live, engine.Activity{
			Conntrack: a.Conntrack, Tuple: a.Tuple, Dead: a.State == datapath.StateDead, Idle: a.Idle, Bytes: a.Bytes,
		})
	}
	return out, err
}

func (f *fastPath) Stats() (engine.Stats, error) {
	s, err := f.d.Stats()
	return engineStats(s), err
}

func engineStats(s datapath.Stats) engine.Stats {
	out := engine.Stats{
		Fast: map[engine.Hook]engine.Counter{}, Slow: engine.Counter(s.Slow), Reasons: []engine.Count{},
		Flows: s.Flows, Ready: s.Ready, MaxFlows: s.MaxFlows, BytesPerFlow: s.BytesPerFlow,
	}
	for hook, c := range s.Fast {
		out.Fast[engineHook(hook)] = engine.Counter(c)
	}
	for _, r := range datapath.Reasons() {
		if c, ok := s.Reasons[r]; ok {
			i := r.Info()
			out.Reasons = append(out.Reasons, engine.Count{
				Code: i.Code, Stage: stageName(r.Scope()), Text: i.Text, Advice: i.Advice(), Counter: engine.Counter(c),
			})
		}
	}
	return out
}

func stageName(s reason.Scope) string {
	switch s {
	case reason.Carried:
		return "fast"
	case reason.Slow:
		return "packet"
	case reason.Entry:
		return "table"
	default:
		return "observe"
	}
}

func (f *fastPath) Flows() ([]engine.Flow, error) {
	flows, err := f.d.Flows()
	out := make([]engine.Flow, 0, len(flows))
	for _, l := range flows {
		out = append(out, engineFlow(l))
	}
	return out, err
}

func engineFlow(l datapath.Flow) engine.Flow {
	f := engine.Flow{
		Proto: packet.ProtoName(l.Tuple.Proto), Src: l.Tuple.Src, Dst: l.Tuple.Dst, NATSrc: l.NAT.Src, NATDst: l.NAT.Dst,
		InIndex: l.In, OutIndex: l.Out, DstMAC: l.DstMAC.String(), Hook: engineHook(l.Hook), State: l.State.String(),
		Packets: l.Packets, Bytes: l.Bytes, Slow: l.Slow,
		Age: engine.Seconds(l.Age), Idle: engine.Seconds(l.Idle), Lease: engine.Seconds(l.Lease),
		MaxLen: l.MaxLen, Priority: l.Priority, Mark: l.Mark, Missed: l.Missed,
	}
	if l.MissedWhy != reason.Fast {
		i := l.MissedWhy.Info()
		f.LastMiss, f.LastMissText, f.LastMissAdvice, f.LastMissAgo = i.Code, i.Text, i.Advice(), engine.Seconds(l.MissedAgo)
	}
	return f
}
