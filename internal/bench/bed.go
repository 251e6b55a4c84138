package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// bed is a topology with a ruleset and sinks at both ends, and flows through it.
type bed struct {
	topo           *topology
	pins           pins
	labels         [2]uint64 // of the lowered flowtable
	client, server *sink
	lengths        []int // of the frames that are counted, bytes
	cleanup        []func() error
}

func newBed(ctx context.Context, p pins, e ends, lengths ...int) (_ *bed, err error) {
	b := &bed{pins: p, lengths: lengths}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.topo, err = newTopology(e); err != nil {
		return nil, err
	}
	for _, end := range []struct {
		to **sink
		d  device
	}{{&b.client, b.topo.c0}, {&b.server, b.topo.s0}} {
		if *end.to, err = newSink(lengths...); err != nil {
			return nil, err
		}
		b.later((*end.to).close)
		if err = (*end.to).attach(end.d); err != nil {
			return nil, err
		}
	}
	return b, b.topo.router.do(func() (err error) {
		b.labels, err = loadRouter(ctx)
		return err
	})
}

// later adds a step to what close does, in reverse order.
func (b *bed) later(f func() error) { b.cleanup = append(b.cleanup, f) }

func (b *bed) close() error {
	var errs []error
	for _, step := range slices.Backward(b.cleanup) {
		errs = append(errs, step())
	}
	if b.topo != nil {
		errs = append(errs, b.topo.close())
	}
	return errors.Join(errs...)
}

// upstream is the UDP stream from the client to the server.
func (b *bed) upstream(six bool, first, flows int) stream {
	return stream{
		template: datagram(b.topo.c0, b.topo.r0, b.topo.c0.addr(six), b.topo.s0.addr(six)),
		dir:      fromClient, first: first, flows: flows,
	}
}

// downstream is what the server answers.
func (b *bed) downstream(six bool, first, flows int) stream {
	return stream{
		template: datagram(b.topo.s0, b.topo.r1, b.topo.s0.addr(six), b.seen(six)),
		dir:      fromServer, first: first, flows: flows,
	}
}

// seen is the address that the server sees the client with: the ruleset masquerades IPv4 and routes IPv6.
func (b *bed) seen(six bool) netip.Addr {
	if six {
		return b.topo.c0.addr(six)
	}
	return b.topo.r1.addr(six)
}

// flows is one set of flows through a bed: both directions' generators.
type flows struct {
	up, down *generator
	n        int
}

func (b *bed) newFlows(six bool, first, n int) (*flows, error) {
	up, err := newGenerator(b.topo.c0, b.upstream(six, first, n))
	if err != nil {
		return nil, err
	}
	down, err := newGenerator(b.topo.s0, b.downstream(six, first, n))
	if err != nil {
		up.close()
		return nil, err
	}
	return &flows{up: up, down: down, n: n}, nil
}

func (f *flows) close() error {
	f.up.close()
	f.down.close()
	return nil
}

// errLost says that the kernel's path lost frames while flows were established.
var errLost = errors.New("frames were lost while the flows were established")

// establish sends each flow a packet in both directions and again. It tries a few times, since the machine's other
// work can make a ring overflow.
func (b *bed) establish(f *flows) error {
	for range 5 {
		lost := false
		for _, leg := range []struct {
			g  *generator
			to *sink
		}{{f.up, b.server}, {f.down, b.client}, {f.up, b.server}} {
			p := path{sink: leg.to}
			got, err := leg.to.received()
			if err != nil {
				return err
			}
			sent, err := leg.g.send(f.n)
			if err != nil {
				return err
			}
			now, err := p.drain(got + uint64(sent))
			if err != nil {
				return err
			}
			lost = lost || now-got < uint64(sent)
		}
		if !lost {
			return nil
		}
	}
	return errLost
}

// checkTranslation makes sure that the masquerade did what downstream expects of it.
func (b *bed) checkTranslation(s stream) error {
	t := s.template.Tuple
	t.Src = netipPort(t.Src, clientPort+uint16(s.first%(1<<portBits)))
	t.Dst = netipPort(t.Dst, serverPort+uint16(s.first>>portBits))
	return b.topo.router.do(func() error {
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // reading only
		e, err := c.Get(t)
		if err != nil {
			return err
		}
		want := packet.Tuple{Src: t.Dst, Dst: netip.AddrPortFrom(b.seen(!t.Is4()), t.Src.Port()), Proto: t.Proto}
		if e.Reply != want {
			return fmt.Errorf("check translation: conntrack expects the reply %s, the generator sends %s", e.Reply, want)
		}
		return nil
	})
}

// warmTime is for caches and the branch predictor after a path was switched.
const warmTime = 100 * time.Millisecond
