package bench

import (
	"context"
	"errors"
	"time"

	"github.com/nft-offload/nft-offload/internal/eval"
)

// The names of the paths of rules, in the order of reports. PathTC and PathXDP are ours.
const (
	PathNFT  = "nft-ingress"  // the kernel's: nftables evaluates the chain
	PathDrop = "xdp-drop-all" // XDP that drops without a look: the limit
	// PathSender is here what writing the frames costs; they go nowhere.
)

// rulesPath is one way for frames to be dropped at r0, which can be switched on and off. The chain is loaded all the time.
type rulesPath struct {
	name    string
	on, off func() error
	// dropped asks the program about one frame by BPF_PROG_TEST_RUN; nil where there is none.
	dropped func(frame []byte) (bool, error)
	// counts are the counters of rules so far, by index: the program's or the kernel's. Nil where there are none.
	counts func(context.Context) ([]eval.Count, error)
	landed uint64 // frames that came by this path while it was measured
	// beat lets the program go on for a while; nil where there is none.
	beat func() error
	// frames makes the path's own generator, where it is not that of all.
	frames *generator
	costs  Costs
}

func nothing() error { return nil }

// dropAll drops what it gets.
func (b *rulesBed) dropAll() (*rulesPath, error) {
	s, err := newSink(frameLen)
	if err != nil {
		return nil, err
	}
	b.later(s.close)
	return &rulesPath{name: PathDrop, on: func() error { return s.attach(b.r0) }, off: s.detach}, nil
}

// writer writes frames that go nowhere.
func (b *rulesBed) writer(s sources) (*rulesPath, error) {
	s.drop = true
	g, err := newSources(b.c0, s)
	if err != nil {
		return nil, err
	}
	b.later(func() error { g.close(); return nil })
	return &rulesPath{name: PathSender, on: nothing, off: nothing, frames: g}, nil
}

// burst is one measurement.
type burst struct {
	packets int // received
	lost    int
	elapsed time.Duration // of the core
}

func (s burst) ns() float64 { return float64(s.elapsed.Nanoseconds()) / float64(max(s.packets, 1)) }

// measure switches a path on, sends for about the time given, and returns what it cost, the receiver included.
func (b *rulesBed) measure(c core, p *rulesPath, g *generator, window time.Duration, estimate *float64) (s burst, err error) {
	if p.frames != nil {
		g = p.frames
	}
	if err := p.on(); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, p.off()) }()
	if _, err := b.fire(c, p, g, window/3, estimate); err != nil { // for caches and the branch predictor
		return s, err
	}
	return b.fire(c, p, g, window, estimate)
}

// Portions of a measurement: a portion of which the kernel says only what a frame took on average.
const (
	portion     = 100_000 // frames at most: so that a context that ends is seen
	leastFrames = 128
)

// fire sends portions until the window is full.
func (b *rulesBed) fire(c core, p *rulesPath, g *generator, window time.Duration, estimate *float64) (burst, error) {
	var s burst
	for s.elapsed < window {
		n := min(max(int(float64(window-s.elapsed) / *estimate), leastFrames), portion)
		if p.beat != nil {
			if err := p.beat(); err != nil {
				return s, err
			}
		}
		arrived, err := b.arrived()
		if err != nil {
			return s, err
		}
		start, err := c.now()
		if err != nil {
			return s, err
		}
		sent, took, err := g.timed(n)
		if err != nil {
			return s, err
		}
		got := uint64(sent)
		if p.frames == nil {
			now, err := b.await(arrived + uint64(sent))
			if err != nil {
				return s, err
			}
			got = now - arrived
			p.landed += got
		}
		end, err := c.now()
		if err != nil {
			return s, err
		}
		took += end.helping - start.helping // ksoftirqd's part of receiving
		s.packets += int(got)
		s.lost += sent - int(got)
		s.elapsed += took
		*estimate = max(float64(took)/float64(max(sent, 1)), 1)
	}
	return s, nil
}
