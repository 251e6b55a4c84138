package rules_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// attach attaches the program of a device in the lab, until the function it returns is called.
func (l *lab) attach(e *early) (detach func() error, err error) {
	err = l.ns.Do(func() error {
		var at link.Link
		var err error
		if e.hook == share.XDP {
			at, err = link.AttachXDP(link.XDPOptions{Program: e.loaded.Entry, Interface: int(e.d.Index), Flags: link.XDPDriverMode})
		} else {
			at, err = link.AttachTCX(link.TCXOptions{Program: e.loaded.Entry, Interface: int(e.d.Index), Attach: ebpf.AttachTCXIngress})
		}
		if err != nil {
			return fmt.Errorf("attach at %s of %s: %w", e.hook, e.d.Name, err)
		}
		detach = at.Close
		return nil
	})
	return detach, err
}

// sent is what frames have left by, and how often, in any order.
type sent map[string]int

// collect waits for so many frames that leave by the lab's devices.
func (l *lab) collect(n int, wait time.Duration) (sent, error) {
	out := sent{}
	deadline := time.Now().Add(wait)
	for got := 0; got < n && time.Now().Before(deadline); {
		for name, port := range l.out {
			for {
				f, err := port.Recv(time.Millisecond, nil)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				if err != nil {
					return nil, err
				}
				out[fmt.Sprintf("%s %x", name, f.Data)]++
				got++
			}
		}
	}
	return out, nil
}

// quietOut throws away what has left late.
func (l *lab) quietOut() error {
	for _, port := range l.out {
		if _, err := port.Drain(); err != nil {
			return err
		}
	}
	return nil
}

// leaves is how many frames have left, says package eval.
func leaves(xs []expected) int {
	n := 0
	for _, x := range xs {
		if x.fate == forwards {
			n++
		}
		n += x.dups
	}
	return n
}

// expect runs package eval on all frames.
func (o *oracle) expect(frames [][]byte) ([]expected, sums, error) {
	total := sums{}
	var xs []expected
	for _, f := range frames {
		x, err := o.run(f)
		if err != nil {
			return nil, nil, err
		}
		xs = append(xs, x)
		total.add(x)
	}
	return xs, total, nil
}

// alive compares live frames: first those of nftables alone, then with the program of the device in front of it. What
// nftables and the program count together has to be what package eval says, and the same frames have to leave.
func (p *proof) alive(text string, d *device, hook share.Hook, frames [][]byte, wait time.Duration) (*failure, error) {
	l := p.lab
	if err := l.quietOut(); err != nil {
		return nil, err
	}
	fail := func(wrong ...string) *failure {
		return &failure{stage: "live " + hook.String(), d: d, wrong: wrong, text: text, frames: frames}
	}
	rs, err := l.load(text)
	if err != nil {
		return nil, err
	}
	xs, want, err := l.oracle(rs, d).expect(frames)
	if err != nil {
		return nil, err
	}
	wrong, err := l.kernel(d, text, frames, want, nil, wait)
	p.nftAlone += len(frames)
	if err != nil {
		return nil, err
	}
	if len(wrong) > 0 {
		f := fail(wrong...)
		f.stage = stageNFT
		return f, nil
	}
	alone, err := l.collect(leaves(xs), wait)
	if err != nil {
		return nil, err
	}
	if rs, err = l.load(text); err != nil {
		return nil, err
	}
	e, err := p.load(rs, d, hook)
	if err != nil {
		return nil, nil //nolint:nilerr // said where programs run alone
	}
	both, wrong, err := p.front(e, text, frames, want, leaves(xs), wait)
	if err = errors.Join(err, e.end()); err != nil {
		return nil, err
	}
	wrong = append(wrong, otherFrames(alone, both)...)
	if len(wrong) > 0 {
		return fail(wrong...), nil
	}
	return nil, nil
}

// front attaches a program, sends the frames and returns what has left, and what was counted otherwise than wanted.
func (p *proof) front(e *early, text string, frames [][]byte, want sums, n int, wait time.Duration) (sent, []string, error) {
	detach, err := p.lab.attach(e)
	if err != nil {
		return nil, nil, err
	}
	var wrong []string
	for part := range slices.Chunk(frames, 100) {
		if err = errors.Join(p.programs.Renew(), e.d.send(part)); err != nil {
			break
		}
	}
	if err == nil {
		wrong, err = p.lab.kernel(e.d, text, nil, want, e.counts, wait)
	}
	var out sent
	if err == nil {
		out, err = p.lab.collect(n, wait)
	}
	p.live[e.hook] += len(frames)
	return out, wrong, errors.Join(err, detach())
}

// otherFrames says what left in one way and not in the other.
func otherFrames(alone, both sent) []string {
	var out []string
	for f, n := range alone {
		if both[f] != n {
			out = append(out, fmt.Sprintf("left %d times through nftables alone and %d times with the program: %s", n, both[f], f))
		}
	}
	for f, n := range both {
		if _, ok := alone[f]; !ok {
			out = append(out, fmt.Sprintf("left %d times with the program, and never through nftables alone: %s", n, f))
		}
	}
	slices.Sort(out)
	return out
}
