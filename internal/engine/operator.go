package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Limits of a hold.
const (
	ShortestHold = time.Second
	LongestHold  = 24 * time.Hour
)

// Errors of what an administrator asks for.
var (
	ErrHoldsFull = errors.New("as many holds as fit are in force: release one, or make one of several")
	ErrNoFilter  = errors.New("no flow is named: say which, or that all are meant")
)

// Flushed is what a flush removed from the table.
type Flushed struct {
	Flows      int `json:"flows"` // connections, as conntrack counts them
	Directions int `json:"directions"`
}

// Hold keeps flows slow until it ends by itself.
type Hold struct {
	Filter
	Left Seconds `json:"left_seconds"`
}

// Refused is one direction of a flow that the ruleset handed over and that is not carried.
type Refused struct {
	Proto    string         `json:"proto"`
	Src      netip.AddrPort `json:"src"` // as it arrives
	Dst      netip.AddrPort `json:"dst"`
	In       string         `json:"in"` // empty when the device is gone
	InIndex  uint32         `json:"in_ifindex"`
	Out      string         `json:"out"`
	OutIndex uint32         `json:"out_ifindex"`
	Code     string         `json:"code"`
	Text     string         `json:"text"`
	Advice   string         `json:"advice,omitempty"`
	// Causes are what is in the way on devices that are refused as a whole.
	Causes []Cause `json:"causes,omitempty"`
	// Samples counts the packets that were looked at: few of many.
	Samples uint64  `json:"samples"`
	Ago     Seconds `json:"ago_seconds"` // since the last one
	// Passing says that the reason is one of a packet or of a moment. Such flows are not listed.
	Passing bool `json:"-"`
}

// Cause is why a device carries nothing.
type Cause struct {
	Device string `json:"device"`
	Reason Reason `json:"reason"`
}

// refusedFor is how long a flow that was refused is listed after its last sample.
const refusedFor = time.Minute

// Flush removes flows from the table: they are slow at once, and are learned again. The zero Filter means all.
func (e *Engine) Flush(ctx context.Context, f Filter) (Flushed, error) {
	var out Flushed
	var err error
	if cerr := e.call(ctx, func() { out, err = e.cfg.Operator.Flush(f) }); cerr != nil {
		return out, cerr
	}
	return out, err
}

// Hold keeps flows slow for so long, and removes from the table those that are fast.
func (e *Engine) Hold(ctx context.Context, f Filter, d time.Duration) (Flushed, error) {
	var out Flushed
	if d < ShortestHold || d > LongestHold {
		return out, fmt.Errorf("hold for %s: not between %s and %s", d, ShortestHold, LongestHold)
	}
	var err error
	cerr := e.call(ctx, func() {
		if err = e.cfg.Operator.Hold(Hold{f, Seconds(d)}); err != nil {
			return
		}
		if out, err = e.cfg.Operator.Flush(f); err != nil {
			return
		}
		// A packet that was looked at before the hold was there may have been learned from after the first pass.
		var late Flushed
		late, err = e.cfg.Operator.Flush(f)
		out.Directions += late.Directions
		out.Flows = max(out.Flows, late.Flows)
	})
	if cerr != nil {
		return out, cerr
	}
	return out, err
}

// Holds lists the holds in force.
func (e *Engine) Holds(ctx context.Context) ([]Hold, error) {
	var out []Hold
	var err error
	if cerr := e.call(ctx, func() { out, err = e.cfg.Operator.Holds() }); cerr != nil {
		return nil, cerr
	}
	return out, err
}

// Release ends the holds that have all conditions of the filter, and returns how many. The zero Filter means all.
func (e *Engine) Release(ctx context.Context, f Filter) (int, error) {
	var n int
	var err error
	if cerr := e.call(ctx, func() { n, err = e.cfg.Operator.Release(f.Covers) }); cerr != nil {
		return 0, cerr
	}
	return n, err
}

// Refused lists the flows that the ruleset handed over and that are not carried, those with most samples first.
func (e *Engine) Refused(ctx context.Context, f Filter) ([]Refused, error) {
	var all []Refused
	var flows []Flow
	var err error
	cerr := e.call(ctx, func() {
		if all, err = e.cfg.Operator.Refused(); err != nil {
			return
		}
		if flows, err = e.cfg.Datapath.Flows(); err != nil {
			return
		}
		e.explain(all)
	})
	if err := errors.Join(cerr, err); err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(latest(all), func(r Refused) bool {
		return r.Passing || time.Duration(r.Ago) > refusedFor || !f.matches(r.Proto, r.Src, r.Dst)
	})
	out = notCarried(out, flows)
	slices.SortFunc(out, func(a, b Refused) int {
		return cmp.Or(cmp.Compare(b.Samples, a.Samples), a.Src.Compare(b.Src), a.Dst.Compare(b.Dst), cmp.Compare(a.InIndex, b.InIndex))
	})
	return out, nil
}

// direction tells flows of one protocol's tuple apart by the device they arrive on.
type direction struct {
	in       uint32
	proto    string
	src, dst netip.AddrPort
}

// latest keeps of each direction what was said last: a flow that waits for one thing may be refused for another later.
func latest(all []Refused) []Refused {
	at := map[direction]int{}
	var out []Refused
	for _, r := range all {
		d := direction{r.InIndex, r.Proto, r.Src, r.Dst}
		i, there := at[d]
		switch {
		case !there:
			at[d] = len(out)
			out = append(out, r)
		case r.Ago < out[i].Ago:
			out[i] = r
		}
	}
	return out
}

// notCarried leaves out what the table carries by now. The device is not compared: of a flow that is refused on a
// device above, the table has the one below.
func notCarried(refused []Refused, flows []Flow) []Refused {
	carried := map[direction]bool{}
	for _, f := range flows {
		// An entry that is not renewed stays in the table for a while.
		if f.State == StateReady && f.Lease > 0 {
			carried[direction{0, f.Proto, f.Src, f.Dst}] = true
		}
	}
	return slices.DeleteFunc(refused, func(r Refused) bool { return carried[direction{0, r.Proto, r.Src, r.Dst}] })
}

// explain names the devices, and what is in the way on those that are refused as a whole.
func (e *Engine) explain(refused []Refused) {
	names := map[uint32]string{}
	for _, l := range e.view.Links {
		names[l.Ifindex] = l.Name
	}
	for i := range refused {
		r := &refused[i]
		r.In, r.Out = names[r.InIndex], names[r.OutIndex]
		if r.Code != reason.SeenDeviceRefused.Code() {
			continue
		}
		for _, name := range slices.Compact([]string{r.In, r.Out}) {
			if why := e.inTheWay(name); !why.OK() {
				r.Causes = append(r.Causes, Cause{name, why})
			}
		}
		if len(r.Causes) == 0 {
			continue // the device was just taken up again
		}
		var texts, advice []string
		for _, c := range r.Causes {
			texts = append(texts, c.Reason.Text)
			if c.Reason.Advice != "" {
				advice = append(advice, c.Reason.Advice)
			}
		}
		r.Text, r.Advice = strings.Join(texts, ", and "), strings.Join(advice, "; ")
	}
}

// inTheWay is why nothing is carried through a device; the zero Reason where nothing is in the way.
func (e *Engine) inTheWay(name string) Reason {
	if name == "" {
		return Reason{}
	}
	for _, d := range e.decisions {
		if d.Name == name && d.Hook == Off {
			return d.Reason
		}
		for _, p := range d.On {
			if p.Name == name && p.Hook == Off {
				return p.Reason
			}
		}
		for _, s := range d.Slow {
			if s.Name == name {
				return s.Reason
			}
		}
	}
	return Reason{}
}

// matches reports whether the filter means a flow of which one direction goes from a to b.
func (f Filter) matches(proto string, a, b netip.AddrPort) bool {
	if f.Proto != "" && f.Proto != proto || f.Port != 0 && f.Port != a.Port() && f.Port != b.Port() {
		return false
	}
	within := func(p netip.Prefix, a netip.AddrPort) bool { return !p.IsValid() || p.Contains(a.Addr()) }
	return within(f.Src, a) && within(f.Dst, b) || within(f.Src, b) && within(f.Dst, a)
}

// MatchTuples reports whether the filter means a flow that has one of these tuples in one of its directions.
func (f Filter) MatchTuples(tuples ...packet.Tuple) bool {
	return slices.ContainsFunc(tuples, func(t packet.Tuple) bool { return f.matches(packet.ProtoName(t.Proto), t.Src, t.Dst) })
}

// Covers reports whether each condition of the filter is one of the hold's, too: of prefixes, the hold's may be longer.
func (f Filter) Covers(h Hold) bool {
	inside := func(p, of netip.Prefix) bool {
		return !p.IsValid() || of.IsValid() && p.Bits() <= of.Bits() && p.Contains(of.Addr())
	}
	return inside(f.Src, h.Src) && inside(f.Dst, h.Dst) && (f.Port == 0 || f.Port == h.Port) && (f.Proto == "" || f.Proto == h.Proto)
}

// String renders the conditions: "tcp from 10.0.0.0/8 port 443", or "all flows".
func (f Filter) String() string {
	var words []string
	if f.Proto != "" {
		words = append(words, f.Proto)
	}
	if f.Src.IsValid() {
		words = append(words, "from "+shortPrefix(f.Src))
	}
	if f.Dst.IsValid() {
		words = append(words, "to "+shortPrefix(f.Dst))
	}
	if f.Port != 0 {
		words = append(words, fmt.Sprintf("port %d", f.Port))
	}
	if len(words) == 0 {
		return "all flows"
	}
	return strings.Join(words, " ")
}

// shortPrefix leaves the length out where it says nothing.
func shortPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
