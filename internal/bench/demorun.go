package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/link"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// wireLike makes the hosts' frames like those that come from a wire: complete with their checksums.
func (b *bed) wireLike() error {
	for _, d := range []device{b.topo.c0, b.topo.s0} {
		err := d.ns.do(func() error {
			h, err := link.Open()
			if err != nil {
				return err
			}
			return errors.Join(h.SetFeature(d.name, link.TxChecksum, false), h.Close())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withDaemon measures one hook with the daemon running, and lets real sockets prove that it carries what it should.
func (d *demo) withDaemon(ctx context.Context, hook string, prove bool) error {
	err := d.running(ctx, hook, func(p *path, _ *daemon) error {
		if err := d.measure(ctx, p, func(f demoFlow) error { return f.learn(p) }); err != nil || !prove {
			return err
		}
		d.step(fmt.Sprintf("real connections at %s", hook))
		for _, six := range []bool{false, true} {
			if err := d.prove(ctx, p, six); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || !prove {
		return err
	}
	return d.nothingLeft(hook)
}

// running calls f while the daemon runs on the router's devices, and returns when it has ended.
func (d *demo) running(ctx context.Context, hook string, f func(*path, *daemon) error) error {
	inode, err := d.bed.topo.router.inode()
	if err != nil {
		return err
	}
	dm, err := startDaemon(ctx, d.bed.topo.router, d.Daemon(hook), d.Socket(inode))
	if err != nil {
		return err
	}
	p := &path{name: hook, sink: d.bed.server, totals: func() (totals, error) { return dm.counters(ctx, hook) }}
	return errors.Join(f(p, dm), dm.stop())
}

// learnLimit is how long a flow may take to become fast: the daemon has to be asked about TCP.
const learnLimit = 3 * time.Second

// learn sends packets both ways until they are fast.
func (f demoFlow) learn(p *path) error {
	const n = 64
	for end := time.Now().Add(learnLimit); time.Now().Before(end); {
		before, err := p.totals()
		if err != nil {
			return err
		}
		if err := errors.Join(f.up.deliver(n), f.down.deliver(n)); err != nil {
			return err
		}
		after, err := p.totals()
		if err != nil {
			return err
		}
		if after.since(before).fast > 2*n*9/10 {
			return nil
		}
	}
	// Not an error of the demo: the share in the table says it.
	return nil
}

// prove sends over real sockets and checks what came out and what conntrack knows.
func (d *demo) prove(ctx context.Context, p *path, six bool) error {
	before, err := p.totals()
	if err != nil {
		return err
	}
	settled := func() (bool, error) {
		now, err := p.totals()
		const some = 16 // carried already: the daemon has done its part
		return now.fast-before.fast > some, err
	}
	tuple, intact, err := d.bed.topo.transfer(ctx, six, settled)
	if err != nil {
		d.check(p.name, family(six), "tcp payload", false, err.Error())
		return ctx.Err()
	}
	after, err := p.totals()
	if err != nil {
		return err
	}
	t := after.since(before)
	share := float64(t.fast) / float64(max(t.fast+t.slow, 1))
	detail := fmt.Sprintf("%d MiB there and back, sha256 %s, %.1f %% of %d packets fast", transferBytes>>20, same(intact), 100*share, t.fast+t.slow)
	if share < minFast {
		detail += ": " + why(t.reasons)
	}
	d.check(p.name, family(six), "tcp payload", intact && share >= minFast, detail)
	state, err := d.stateOf(tuple)
	if err != nil {
		return err
	}
	d.check(p.name, family(six), "tcp state after close", state == conntrack.TCPTimeWait, fmt.Sprintf("conntrack has %s", state))
	n, err := d.bed.topo.datagrams(six)
	if err != nil {
		return err
	}
	d.check(p.name, family(six), "udp payload", n == echoes, fmt.Sprintf("%d of %d datagrams came back as they were", n, echoes))
	return nil
}

func same(intact bool) string {
	if intact {
		return "the same"
	}
	return "DIFFERENT"
}

func (d *demo) check(path, family, name string, ok bool, detail string) {
	d.checks = append(d.checks, Check{Name: fmt.Sprintf("%s, %s: %s", path, family, name), OK: ok, Detail: detail})
}

// stateOf is conntrack's state of a TCP connection; the last ACK may still be on its way through the router.
func (d *demo) stateOf(t packet.Tuple) (state conntrack.TCPState, err error) {
	err = d.bed.topo.router.do(func() error {
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // reading only
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(daemonPoll) {
			e, err := c.Get(t)
			if err != nil {
				return err
			}
			if e.TCP != nil {
				state = e.TCP.State
			}
			if state == conntrack.TCPTimeWait {
				return nil
			}
		}
		return nil
	})
	return state, err
}

// nothingLeft checks that the daemon took away what it had put on the router.
func (d *demo) nothingLeft(hook string) error { return d.nothingLeftOn(hook, d.bed.topo) }

func (d *demo) nothingLeftOn(hook string, t *topology) error {
	inode, err := t.router.inode()
	if err != nil {
		return err
	}
	var left []string
	for _, file := range []string{d.Socket(inode), d.Pins(inode)} {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			left = append(left, file)
		}
	}
	err = t.router.do(func() error {
		for _, dev := range []device{t.r0, t.r1} {
			on, err := programs(dev)
			if err != nil {
				return err
			}
			left = append(left, on...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	detail := "no program, filter, pin or socket"
	if len(left) > 0 {
		detail = fmt.Sprint(left)
	}
	d.checks = append(d.checks, Check{Name: hook + ": nothing is left after the daemon", OK: len(left) == 0, Detail: detail})
	return nil
}
