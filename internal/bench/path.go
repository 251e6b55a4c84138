package bench

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/nft-offload/nft-offload/internal/datapath"
)

// The names of the paths, in the order of reports.
const (
	PathSlow   = "slow"         // the kernel's: nftables, conntrack, NAT, routing
	PathTC     = "tc"           // ours at tc ingress
	PathXDP    = "xdp"          // ours at XDP
	PathRaw    = "raw-redirect" // XDP that redirects without a look: the limit
	PathSender = "sender"       // XDP that drops: what sending and the first veth cost
)

// path is one way through the router that can be switched on and off.
type path struct {
	name string
	on   func() error
	off  func() error
	// totals are the datapath's counters so far; nil where nothing is ours.
	totals func() (totals, error)
	// renew is called after on, where the leases of the flows are not to come from the kernel.
	renew func() error
	// beat says to the datapath that a daemon watches; nil where nothing is ours.
	beat func() error
	// window is how long to measure it so that a renewal of each flow is in it; 0 where there are none.
	window time.Duration
	// sink is where the frames end.
	sink *sink
}

type totals struct {
	fast    uint64            // packets
	slow    uint64            // packets that the kernel got; 0 where only fast is asked for
	reasons map[string]uint64 // packets by the code of why they were not fast
}

// since is what was counted after an earlier reading.
func (t totals) since(old totals) totals {
	d := totals{fast: t.fast - old.fast, slow: t.slow - old.slow, reasons: map[string]uint64{}}
	for r, n := range t.reasons {
		if n > old.reasons[r] {
			d.reasons[r] = n - old.reasons[r]
		}
	}
	return d
}

// plain is a path of which nothing is on the router but what the kernel does.
func (b *bed) plain() *path {
	nothing := func() error { return nil }
	return &path{name: PathSlow, on: nothing, off: nothing, sink: b.server}
}

// raw redirects at r0.
func (b *bed) raw() (*path, error) {
	p, err := redirector(b.topo.r1)
	if err != nil {
		return nil, err
	}
	b.later(p.Close)
	var l link.Link
	return &path{
		name: PathRaw, sink: b.server,
		on:  func() (err error) { l, err = attachXDP(b.topo.r0, p); return err },
		off: func() error { return errors.Join(l.Detach(), l.Close()) },
	}, nil
}

// sender drops at r0.
func (b *bed) sender() (*path, error) {
	s, err := newSink(b.lengths...)
	if err != nil {
		return nil, err
	}
	b.later(s.close)
	return &path{name: PathSender, sink: s, on: func() error { return s.attach(b.topo.r0) }, off: s.detach}, nil
}

// offload is a datapath of its own, attached while the path is on. Its table stays between, but detaching and time
// end its leases, so the first packet of each flow after that is slow.
func (b *bed) offload(hook datapath.Hook, c datapath.Config, beat beat) (*path, *datapath.Datapath, error) {
	c.Dir = b.pins.dir(hook.String())
	var d *datapath.Datapath
	err := b.topo.router.do(func() (err error) {
		d, err = datapath.Open(c)
		return err
	})
	b.later(func() error {
		err := b.topo.router.do(func() error { return datapath.Withdraw(c.Dir) })
		if d != nil {
			err = errors.Join(err, d.Close())
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open datapath: %w", err)
	}
	apply := func(devices []datapath.Device) error {
		return b.topo.router.do(func() error { return d.Apply(devices) })
	}
	return &path{
		name: hook.String(), sink: b.server,
		on:   func() error { return apply(b.devices(hook)) },
		off:  func() error { return apply(nil) },
		beat: func() error { return d.Heartbeat(beat.active, beat.longest) },
		totals: func() (totals, error) {
			s, err := d.Stats()
			t := totals{fast: s.Fast[hook].Packets, reasons: map[string]uint64{}}
			for r, c := range s.Reasons {
				t.reasons[r.String()] = c.Packets
			}
			return t, err
		},
	}, d, nil
}

// beat is what a daemon's heartbeat would say: how many directions of flows are active, and how long a lease may be.
type beat struct {
	active  int
	longest time.Duration
}

// beats is how often a heartbeat is due; it lasts two seconds.
const beats = 500 * time.Millisecond

func (b *bed) devices(hook datapath.Hook) []datapath.Device {
	var out []datapath.Device
	for _, d := range []device{b.topo.r0, b.topo.r1} {
		out = append(out, datapath.Device{
			Ifindex: uint32(d.index), Name: d.name, Hook: hook, XDPTarget: true, PartialChecksums: true, Labels: b.labels,
		})
	}
	return out
}

// why lists the reasons.
func why(reasons map[string]uint64) string {
	var out []string
	for _, code := range slices.Sorted(maps.Keys(reasons)) {
		out = append(out, fmt.Sprintf("%s %d", code, reasons[code]))
	}
	return strings.Join(out, ", ")
}

// run sends for about the time given and returns what it cost. Ways through the router do not change within.
func (p *path) run(c core, g *generator, window time.Duration, estimate *float64) (sample, error) {
	before, err := p.reading()
	if err != nil {
		return sample{}, err
	}
	got, err := p.sink.received()
	if err != nil {
		return sample{}, err
	}
	var s sample
	for s.elapsed < window {
		if p.beat != nil {
			if err := p.beat(); err != nil {
				return s, err
			}
		}
		n := int(float64(min(beats, window-s.elapsed)) / *estimate)
		n = max(n, 256)
		start, err := c.now()
		if err != nil {
			return s, err
		}
		sent, err := g.send(n)
		if err != nil {
			return s, err
		}
		end, err := c.now()
		if err != nil {
			return s, err
		}
		took := end.busy(start)
		s.sent += sent
		s.elapsed += took
		*estimate = float64(took) / float64(max(sent, 1))
	}
	after, err := p.drain(got + uint64(s.sent))
	if err != nil {
		return s, err
	}
	s.received = int(after - got)
	now, err := p.reading()
	if err != nil {
		return s, err
	}
	s.totals = now.since(before)
	return s, nil
}

func (p *path) reading() (totals, error) {
	if p.totals == nil {
		return totals{}, nil
	}
	return p.totals()
}

// drain waits until the sink has counted so many frames, or no more come for 20 ms.
func (p *path) drain(want uint64) (uint64, error) {
	last, changed := uint64(0), time.Now()
	for {
		n, err := p.sink.received()
		if err != nil || n >= want {
			return n, err
		}
		if n != last {
			last, changed = n, time.Now()
		}
		if time.Since(changed) > 20*time.Millisecond {
			return n, nil
		}
		time.Sleep(time.Millisecond)
	}
}

// sample is one measurement.
type sample struct {
	sent, received int
	elapsed        time.Duration
	totals         totals
}

func (s sample) ns() float64 { return float64(s.elapsed.Nanoseconds()) / float64(max(s.sent, 1)) }
