package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// DemoOptions is what the demo takes from the program around it: how its own daemon is started and found.
type DemoOptions struct {
	// Daemon is the command of the daemon, with r0 and r1 at a hook ("tc", "xdp").
	Daemon func(hook string) *exec.Cmd
	// Socket and Pins are where the daemon of a network namespace answers, and pins. The namespace is given by inode.
	Socket, Pins func(namespace uint64) string
	// Progress is told what is being done, and how much of all is done, 0 to 1.
	Progress func(what string, done float64)
}

// DemoRow is one path of one kind of packets: 64-byte frames of one flow (TCP over IPv6: 76 bytes).
type DemoRow struct {
	Path        string  `json:"path"`
	Family      string  `json:"family"`
	Proto       string  `json:"proto"`
	NsPerPacket float64 `json:"ns_per_packet"` // on one core, sender and sink included
	Mpps        float64 `json:"mpps"`
	RatioToSlow float64 `json:"ratio_to_slow"`
	FastShare   float64 `json:"fast_share"` // 0 to 1, by the daemon's counters
}

// Check is one thing that must be so.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// DemoReport is what the demo found.
type DemoReport struct {
	Rows   []DemoRow `json:"rows"`
	Checks []Check   `json:"checks"`
}

// OK reports whether all checks hold.
func (r DemoReport) OK() bool {
	for _, c := range r.Checks {
		if !c.OK {
			return false
		}
	}
	return true
}

const (
	demoRounds = 3
	demoWindow = 150 * time.Millisecond
)

// Demo builds client, router and server, and sends the same packets by the slow path and with the daemon at tc and at
// XDP. It leaves nothing behind, also when the context ends it. The error is about the demo; failed checks are in the
// report.
func Demo(ctx context.Context, o DemoOptions) (report DemoReport, err error) {
	err = onOwnThread(func() (err error) {
		d := newDemo(o, demoRounds*4+4)
		if d.core, err = pin(); err != nil {
			return err
		}
		p, err := newPins()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.remove()) }()
		if d.bed, err = newBed(ctx, p, hosts, frameLen, tcpFrameLen(true)); err != nil {
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

func newDemo(o DemoOptions, steps int) *demo {
	return &demo{DemoOptions: o, samples: map[demoKey][]sample{}, estimates: map[demoKey]*float64{}, planned: steps}
}

// demoFlow is one kind of packets.
type demoFlow struct {
	six   bool
	proto uint8
	up    leg
	down  leg
}

func (f demoFlow) String() string { return packet.ProtoName(f.proto) + " over " + family(f.six) }

type demoKey struct {
	path  string
	six   bool
	proto uint8
}

type demo struct {
	DemoOptions
	core      core
	bed       *bed
	flows     []demoFlow
	samples   map[demoKey][]sample
	estimates map[demoKey]*float64
	checks    []Check
	steps     int // done
	planned   int // how often run reports a step of progress
}

func (d *demo) step(what string) {
	if d.Progress != nil {
		d.Progress(what, float64(d.steps)/float64(d.planned))
	}
	d.steps++
}

func (d *demo) run(ctx context.Context) error {
	d.step("building client, router and server")
	if err := d.bed.wireLike(); err != nil {
		return err
	}
	if err := d.establish(); err != nil {
		return err
	}
	raw, err := d.bed.raw()
	if err != nil {
		return err
	}
	for round := range demoRounds {
		d.step(fmt.Sprintf("round %d of %d: the slow path", round+1, demoRounds))
		if err := d.measure(ctx, d.bed.plain(), nil); err != nil {
			return err
		}
		d.step(fmt.Sprintf("round %d of %d: a bare redirect", round+1, demoRounds))
		if err := errors.Join(raw.on(), d.measure(ctx, raw, nil), raw.off()); err != nil {
			return err
		}
		for _, hook := range []string{PathTC, PathXDP} {
			d.step(fmt.Sprintf("round %d of %d: nft-offload at %s", round+1, demoRounds, hook))
			if err := d.withDaemon(ctx, hook, round == 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// establish makes the flows known to conntrack, on the slow path.
func (d *demo) establish() error {
	for i, proto := range []uint8{packet.UDP, packet.TCP} {
		for _, six := range []bool{false, true} {
			f, err := d.bed.open(proto, six, i)
			if err != nil {
				return err
			}
			d.flows = append(d.flows, f)
		}
	}
	return nil
}

// open makes flow i of a family known to conntrack and returns the generators of its data.
func (b *bed) open(proto uint8, six bool, i int) (f demoFlow, err error) {
	up, down := b.upstream(six, i, 1), b.downstream(six, i, 1)
	streams := []stream{up, down, up}
	data := []stream{up, down}
	if proto == packet.TCP {
		streams = handshakeOf(up, down)
		data[0] = up.segment(packet.ACK|packet.PSH, clientSeq+1, serverSeq+1)
		data[1] = down.segment(packet.ACK|packet.PSH, serverSeq+1, clientSeq+1)
	}
	first, err := b.legs(streams)
	if err != nil {
		return f, err
	}
	for _, l := range first {
		if err := l.deliver(1); err != nil {
			return f, fmt.Errorf("establish a %s flow: %w", packet.ProtoName(proto), err)
		}
	}
	both, err := b.legs(data)
	if err != nil {
		return f, err
	}
	return demoFlow{six: six, proto: proto, up: both[0], down: both[1]}, nil
}

// deliver sends n frames and fails unless all arrive.
func (l leg) deliver(n int) error {
	got, err := l.to.received()
	if err != nil {
		return err
	}
	sent, err := l.g.send(n)
	if err != nil {
		return err
	}
	now, err := (&path{sink: l.to}).drain(got + uint64(sent))
	if err != nil {
		return err
	}
	if now-got < uint64(sent) {
		return fmt.Errorf("%d of %d frames lost on the way", uint64(sent)-(now-got), sent)
	}
	return nil
}

// measure takes one sample of every kind of packets; before is called for each.
func (d *demo) measure(ctx context.Context, p *path, before func(demoFlow) error) error {
	for _, f := range d.flows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if before != nil {
			if err := before(f); err != nil {
				return err
			}
		}
		k := demoKey{p.name, f.six, f.proto}
		if d.estimates[k] == nil {
			e := 1000.0
			d.estimates[k] = &e
		}
		if _, err := p.run(d.core, f.up.g, demoWindow/3, d.estimates[k]); err != nil {
			return err
		}
		s, err := p.run(d.core, f.up.g, demoWindow, d.estimates[k])
		if err != nil {
			return err
		}
		d.samples[k] = append(d.samples[k], s)
	}
	return nil
}

func (d *demo) report() DemoReport {
	r := DemoReport{Checks: d.checks}
	for _, f := range d.flows {
		slow := 0.0
		for _, name := range []string{PathSlow, PathTC, PathXDP, PathRaw} {
			samples := d.samples[demoKey{name, f.six, f.proto}]
			var ns []float64
			var sent, fast, received uint64
			for _, s := range samples {
				ns = append(ns, s.ns())
				sent, received, fast = sent+uint64(s.sent), received+uint64(s.received), fast+s.totals.fast
			}
			w := DemoRow{Path: name, Family: family(f.six), Proto: packet.ProtoName(f.proto), NsPerPacket: median(ns)}
			w.Mpps = 1000 / w.NsPerPacket
			w.FastShare = float64(fast) / float64(max(sent, 1))
			if name == PathSlow {
				slow = w.NsPerPacket
			}
			w.RatioToSlow = slow / w.NsPerPacket
			r.Rows = append(r.Rows, w)
			if name == PathTC || name == PathXDP {
				r.Checks = append(r.Checks, Check{
					Name: fmt.Sprintf("%s: %s is fast, and no frame is lost", name, f), OK: w.FastShare >= minFast && received == sent,
					Detail: fmt.Sprintf("%.1f %% of %d packets fast, %d lost", 100*w.FastShare, sent, sent-min(sent, received)),
				})
			}
		}
	}
	return r
}
