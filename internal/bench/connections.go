package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	ct "github.com/ti-mo/conntrack"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// Connections is what the datapath costs connections that are just being made: all their packets are slow.
type Connections struct {
	Proto   string  `json:"proto"` // "udp": a datagram there, back, and there; "tcp": SYN, SYN and ACK, ACK
	Hook    string  `json:"hook"`
	Pairs   int     `json:"pairs"`
	Without float64 `json:"per_second_without"` // medians, one core
	With    float64 `json:"per_second_with"`
	// Ratio is the median of with/without of each pair, and Low and High hold the true one with Confidence.
	Ratio      float64 `json:"ratio"`
	Low        float64 `json:"ratio_low"`
	High       float64 `json:"ratio_high"`
	Confidence float64 `json:"confidence"`
}

// newConnections is how many connections one measurement makes. The others come first and are not measured: making the
// maps of a datapath has emptied the caches, which a router does once and not every quarter of a second.
const (
	newConnections = 1 << 14
	warmUp         = 1 << 12
)

// leg is one packet of every connection.
type leg struct {
	g  *generator
	to *sink
}

// connections measures one protocol and hook in pairs, with and without the datapath in turns.
func (r *runner) connections(ctx context.Context, proto uint8, hook datapath.Hook, pairs int, share float64) (c Connections, err error) {
	b, err := newBed(ctx, r.pins, silent, frameLen)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	first, err := b.handshake(proto, newConnections, warmUp)
	if err != nil {
		return c, err
	}
	legs, err := b.handshake(proto, 0, newConnections)
	if err != nil {
		return c, err
	}
	var with, without, ratio []float64
	for i := range pairs + 1 {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		r.Progress(fmt.Sprintf("new %s connections, %s, pair %d of %d", packet.ProtoName(proto), hook, i, pairs), r.done)
		r.done += share / float64(pairs+1)
		var took [2]time.Duration
		for turn := range 2 {
			ours := (turn + i) % 2 // who is first changes
			if took[ours], err = r.connect(b, first, legs, hook, ours == 1); err != nil {
				return c, err
			}
		}
		if i == 0 {
			continue // the kernel grows its caches
		}
		rate := func(d time.Duration) float64 { return newConnections / d.Seconds() }
		without, with = append(without, rate(took[0])), append(with, rate(took[1]))
		ratio = append(ratio, rate(took[1])/rate(took[0]))
	}
	c = Connections{
		Proto: packet.ProtoName(proto), Hook: hook.String(), Pairs: pairs,
		Without: median(without), With: median(with), Ratio: median(ratio),
	}
	c.Low, c.High, c.Confidence = medianInterval(ratio)
	return c, nil
}

// handshake makes the generators of the packets of so many new connections.
func (b *bed) handshake(proto uint8, first, count int) ([]leg, error) {
	up, down := b.upstream(false, first, count), b.downstream(false, first, count)
	streams := []stream{up, down, up}
	if proto == packet.TCP {
		streams = handshakeOf(up, down)
	}
	return b.legs(streams)
}

// connect makes the connections once, with a new datapath or without one, and forgets them.
func (r *runner) connect(b *bed, first, legs []leg, hook datapath.Hook, ours bool) (busy time.Duration, err error) {
	defer func() { err = errors.Join(err, b.topo.router.do(forget)) }()
	if ours {
		p, stop, err := b.brief(hook)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, stop()) }()
		if err := p.on(); err != nil {
			return 0, err
		}
	}
	if _, err := r.run(first, warmUp); err != nil {
		return 0, fmt.Errorf("warm up: %w", err)
	}
	return r.run(legs, newConnections)
}

// run sends the packets of the connections, all first ones first, and returns what the core took for it.
func (r *runner) run(legs []leg, connections int) (busy time.Duration, err error) {
	for i, l := range legs {
		got, err := l.to.received()
		if err != nil {
			return 0, err
		}
		start, err := r.core.now()
		if err != nil {
			return 0, err
		}
		sent, err := l.g.send(connections)
		if err != nil {
			return 0, err
		}
		end, err := r.core.now()
		if err != nil {
			return 0, err
		}
		busy += end.busy(start)
		now, err := (&path{sink: l.to}).drain(got + uint64(sent))
		if err != nil {
			return 0, err
		}
		if lost := uint64(sent) - (now - got); lost > uint64(sent)/100 {
			return 0, fmt.Errorf("packet %d of the new connections: %d of %d lost", i+1, lost, sent)
		}
	}
	return busy, nil
}

// brief is a datapath that ends before the bed does.
func (b *bed) brief(hook datapath.Hook) (*path, func() error, error) {
	steps := len(b.cleanup)
	p, _, err := b.offload(hook, datapath.Config{}, beat{newConnections, longestLease})
	stop := func() error {
		var errs []error
		for len(b.cleanup) > steps {
			last := len(b.cleanup) - 1
			errs = append(errs, b.cleanup[last]())
			b.cleanup = b.cleanup[:last]
		}
		return errors.Join(errs...)
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return p, stop, nil
}

// forget empties the conntrack table of the calling thread's namespace.
func forget() error {
	c, err := ct.Dial(nil)
	if err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	if err := errors.Join(c.Flush(), c.Close()); err != nil {
		return fmt.Errorf("empty conntrack table: %w", err)
	}
	return nil
}
