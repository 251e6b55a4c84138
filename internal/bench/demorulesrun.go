package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// otherNet is where the traffic comes from that nobody blocks: 172.16.0.0/12.
const otherNet = 172<<24 | 16<<16

// changed is the prefix that is added and deleted while its traffic runs.
const (
	changedPrefix = "203.0.113.0/24"
	changedHost   = "203.0.113.7"
)

// packet is a frame to the server by way of the router.
func (d *rulesDemo) packet() packet.Spec {
	s := template(d.topo.c0, d.topo.r0)
	s.Tuple.Dst = netip.AddrPortFrom(d.topo.s0.addr(false), serverPort)
	return s
}

func (d *rulesDemo) frameFrom(a netip.Addr) []byte {
	s := d.packet()
	s.Tuple.Src = netip.AddrPortFrom(a, clientPort)
	return s.Build()
}

// withRules calls f while the daemon runs and executes the rules at XDP.
func (d *rulesDemo) withRules(ctx context.Context, f func(*daemon) error) error {
	inode, err := d.topo.router.inode()
	if err != nil {
		return err
	}
	dm, err := startDaemon(ctx, d.topo.router, d.Daemon(PathXDP), d.Socket(inode))
	if err != nil {
		return err
	}
	if err := dm.awaitRules(ctx, d.topo.r0.name); err != nil {
		return errors.Join(err, dm.stop())
	}
	return errors.Join(f(dm), dm.stop())
}

// errNotExecuted says that the daemon runs, and leaves the rules to nftables.
var errNotExecuted = errors.New("the daemon does not execute the rules at XDP")

// awaitRules waits until the daemon executes a device's rules at XDP.
func (d *daemon) awaitRules(ctx context.Context, device string) error {
	ctx, cancel := context.WithTimeout(ctx, daemonStart)
	defer cancel()
	for {
		s, err := d.client.Status(ctx)
		if err != nil {
			return fmt.Errorf("ask daemon: %w", err)
		}
		why := s.Rules.Why
		for _, r := range s.Rules.Devices {
			if r.Name != device {
				continue
			}
			if s.Rules.Executing && string(r.Hook) == PathXDP {
				return nil
			}
			if r.Reason.Text != "" {
				why = r.Reason.Text
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", errNotExecuted, why)
		case <-time.After(daemonPoll):
		}
	}
}

// droppedEarly asks for what the programs of rules dropped on a device.
func (d *daemon) droppedEarly(ctx context.Context, device string) (uint64, error) {
	s, err := d.client.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask daemon: %w", err)
	}
	for _, r := range s.Rules.Devices {
		if r.Name == device {
			return r.Packets.Dropped, nil
		}
	}
	return 0, nil
}

// measureAll takes one sample of each kind of traffic; dm is nil without a daemon.
func (d *rulesDemo) measureAll(ctx context.Context, path string, dm *daemon, round int) error {
	for _, traffic := range []string{blockedTraffic, otherTraffic} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if traffic == blockedTraffic {
			d.step(fmt.Sprintf("round %d of %d: %s", round+1, rulesDemoRounds, path))
		}
		s, err := d.sample(ctx, dm, d.traffic[traffic])
		if err != nil {
			return err
		}
		k := rulesDemoKey{path, traffic}
		d.bursts[k] = append(d.bursts[k], s)
	}
	return nil
}

func (d *rulesDemo) sample(ctx context.Context, dm *daemon, g *generator) (s rulesDemoBurst, err error) {
	estimate := firstEstimate
	p := &rulesPath{on: nothing, off: nothing}
	if _, err := d.rules.fire(d.core, p, g, demoWindow/3, &estimate); err != nil {
		return s, err
	}
	// All that was sent comes to r0 before fire returns, and from there to the server a moment later.
	settle := func() (sent, arrived, early uint64, err error) {
		if sent, err = g.sent(); err != nil {
			return sent, arrived, early, err
		}
		if arrived, err = (&path{sink: d.server}).drain(math.MaxUint64); err != nil || dm == nil {
			return sent, arrived, early, err
		}
		early, err = dm.droppedEarly(ctx, d.topo.r0.name)
		return sent, arrived, early, err
	}
	sent, arrived, early, err := settle()
	if err != nil {
		return s, err
	}
	if s.burst, err = d.rules.fire(d.core, p, g, demoWindow, &estimate); err != nil {
		return s, err
	}
	nowSent, nowArrived, nowEarly, err := settle()
	s.sent, s.arrived, s.early = nowSent-sent, nowArrived-arrived, nowEarly-early
	return s, err
}

// verdictFrames are how many frames' fates are compared, with the daemon and without.
const verdictFrames = 96

// verdicts says of frames from addresses all over the blocklist, and beside it, whether they arrive.
func (d *rulesDemo) verdicts() ([]bool, error) {
	var out []bool
	for i := range verdictFrames {
		at := d.kind.source(i * (demoPrefixes / verdictFrames))
		if i%3 == 1 {
			at += elementSlot - 1 // within a /28, beside all others
		}
		if i%3 == 2 {
			at = otherNet + i
		}
		arrives, err := d.arrives(d.frameFrom(address(at)))
		if err != nil {
			return nil, err
		}
		out = append(out, arrives)
	}
	return out, nil
}

// arrives sends one frame.
func (d *rulesDemo) arrives(frame []byte) (bool, error) {
	before, err := d.server.received()
	if err != nil {
		return false, err
	}
	if err := d.rules.deliver([][]byte{frame}); err != nil {
		return false, err
	}
	// It may still be on its way through the server's device.
	for end := time.Now().Add(arrivalLimit); ; time.Sleep(changePace) {
		after, err := d.server.received()
		if err != nil || after > before || time.Now().After(end) {
			return after > before, err
		}
	}
}

// arrivalLimit is how long a frame that r0 is done with may take to the server.
const arrivalLimit = 2 * time.Millisecond

func (d *rulesDemo) sameVerdicts(before []bool) error {
	now, err := d.verdicts()
	if err != nil {
		return err
	}
	differ, arrived := 0, 0
	for i := range now {
		if now[i] != before[i] {
			differ++
		}
		if now[i] {
			arrived++
		}
	}
	d.checks = append(d.checks, Check{
		Name: "xdp: the same packets arrive as without the daemon", OK: differ == 0,
		Detail: fmt.Sprintf("%d of %d frames arrived, %d had another fate", arrived, len(now), differ),
	})
	return nil
}
