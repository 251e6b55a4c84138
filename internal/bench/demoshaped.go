package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// ShapedReport is what the demo of shaping found.
type ShapedReport struct {
	// Limit is what the shaper of the router's uplink is set to, bits a second; frames count without their check
	// sequence.
	Limit  int          `json:"limit_bits_per_second"`
	Paths  []ShapedPath `json:"paths"`
	Checks []Check      `json:"checks"`
}

// ShapedPath is one way through the router, with the same shaper behind it.
type ShapedPath struct {
	Path    string        `json:"path"`
	Classes []ShapedClass `json:"classes"`
	// BitsPerSecond is what both classes got while both had traffic, by the kernel's counters.
	BitsPerSecond float64 `json:"bits_per_second"`
	FastShare     float64 `json:"fast_share"` // 0 to 1, by the daemon's counters
	// NsPerPacket is the time of one core for a 64-byte frame through a shaper that limits nothing, sender and sink
	// included; the least of a few rounds, since other work only ever adds to it.
	NsPerPacket float64 `json:"ns_per_packet"`
}

// ShapedClass is what one class got, and how long a thin flow in it waited.
type ShapedClass struct {
	Class         string  `json:"class"`
	BitsPerSecond float64 `json:"bits_per_second"`
	Idle          Waiting `json:"idle"`   // with nothing else on the line
	Loaded        Waiting `json:"loaded"` // beside an upload that takes what it gets
}

// Waiting is how long a datagram and its echo were on their way.
type Waiting struct {
	Median float64 `json:"median_us"`
	P99    float64 `json:"p99_us"`
}

// OK reports whether all checks hold.
func (r ShapedReport) OK() bool { return DemoReport{Checks: r.Checks}.OK() }

// shapedRounds is how often the cost of a packet is measured on each path.
const shapedRounds = 3

// ShapedDemo puts a shaper with two classes on the uplink of the demo's router, and sends an upload and two thin flows
// through it: by the slow path and with the daemon. It leaves nothing behind, as Demo.
func ShapedDemo(ctx context.Context, o DemoOptions) (report ShapedReport, err error) {
	err = onOwnThread(func() (err error) {
		d := shapedDemo{demo: newDemo(o, 2*shapedRounds+6), paths: map[string]*ShapedPath{}}
		if d.core, err = pin(); err != nil {
			return err
		}
		p, err := newPins()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.remove()) }()
		if d.bed, err = newBed(ctx, p, hosts, frameLen); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.bed.close()) }()
		if err := d.run(ctx); err != nil {
			return err
		}
		report = d.report()
		return nil
	})
	return report, err
}

type shapedDemo struct {
	*demo
	paths map[string]*ShapedPath
}

func (d *shapedDemo) run(ctx context.Context) error {
	d.step("building client, router and server, with a shaper")
	if err := errors.Join(d.bed.wireLike(), d.bed.shape(ctx)); err != nil {
		return err
	}
	if err := d.sockets(ctx, d.bed.plain()); err != nil {
		return err
	}
	if err := d.running(ctx, PathTC, func(p *path, _ *daemon) error { return d.sockets(ctx, p) }); err != nil {
		return err
	}
	if err := errors.Join(d.nothingLeft(PathTC), d.shaperLeft()); err != nil {
		return err
	}
	if err := d.running(ctx, PathXDP, func(p *path, dm *daemon) error { return d.stays(ctx, p, dm) }); err != nil {
		return err
	}
	if err := d.nothingLeft(PathXDP); err != nil {
		return err
	}
	return d.cost(ctx)
}

// cost measures what a packet takes on both paths in turns, with a shaper that limits nothing.
func (d *shapedDemo) cost(ctx context.Context) error {
	err := d.bed.topo.router.do(func() error { return tc(ctx, unlimited) })
	if err != nil {
		return err
	}
	f, err := d.bed.open(packet.UDP, false, 0)
	if err != nil {
		return err
	}
	d.flows = []demoFlow{f}
	for round := range shapedRounds {
		d.step(fmt.Sprintf("cost of a packet, round %d of %d: the slow path", round+1, shapedRounds))
		if err := d.measure(ctx, d.bed.plain(), nil); err != nil {
			return err
		}
		d.step(fmt.Sprintf("cost of a packet, round %d of %d: nft-offload at tc", round+1, shapedRounds))
		err := d.running(ctx, PathTC, func(p *path, _ *daemon) error {
			return d.measure(ctx, p, func(f demoFlow) error { return f.learn(p) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *shapedDemo) report() ShapedReport {
	r := ShapedReport{Limit: shaperRate, Checks: d.checks}
	for _, name := range []string{PathSlow, PathTC} {
		p := d.paths[name]
		var ns []float64
		for _, s := range d.samples[demoKey{name, false, packet.UDP}] {
			ns = append(ns, s.ns())
		}
		p.NsPerPacket = slices.Min(ns)
		r.Paths = append(r.Paths, *p)
	}
	return r
}

// check records one.
func (d *shapedDemo) check(ok bool, name, format string, args ...any) {
	d.checks = append(d.checks, Check{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)})
}
