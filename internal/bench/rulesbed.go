package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/plan/element"
)

// rulesBed is a sender and a firewall, joined by a veth pair: c0 in one namespace, r0 with the chain in the other.
type rulesBed struct {
	sender, firewall *namespace
	c0, r0           device
	asIs             *ebpf.Program // sends a frame as it is given
	cleanup          []func() error
	// compared are the rules that nft lists as the kernel executes them.
	compared nft.Comparison
	// elements are those of the set, and reading is how long it took to get them from the kernel.
	elements *element.List
	reading  time.Duration
}

func newRulesBed() (_ *rulesBed, err error) {
	b := &rulesBed{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build topology: %w", err), b.close())
		}
	}()
	for _, n := range []struct {
		to    **namespace
		label string
	}{{&b.sender, "sender"}, {&b.firewall, "firewall"}} {
		if *n.to, err = newNamespace(n.label); err != nil {
			return nil, err
		}
		b.later((*n.to).close)
		if err = (*n.to).do(mute); err != nil {
			return nil, err
		}
	}
	b.c0 = device{ns: b.sender, name: "c0", mac: packet.MAC{2, 0, 0, 0, 1, 2}}
	b.r0 = device{ns: b.firewall, name: "r0", mac: packet.MAC{2, 0, 0, 0, 1, 1}}
	if err = join(&b.c0, &b.r0); err != nil {
		return nil, err
	}
	if b.asIs, err = redirector(b.c0); err != nil {
		return nil, err
	}
	b.later(b.asIs.Close)
	return b, nil
}

// mute makes a namespace whose devices send nothing of themselves, so that all that arrives was sent.
func mute() error { return errors.Join(quiet(), sysctl("net/ipv6/conf/default/disable_ipv6", "1")) }

// later adds a step to what close does, in reverse order.
func (b *rulesBed) later(f func() error) { b.cleanup = append(b.cleanup, f) }

func (b *rulesBed) close() error {
	var errs []error
	for _, step := range slices.Backward(b.cleanup) {
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}

// nft runs nft(8) in the firewall and returns its output.
func (b *rulesBed) nft(ctx context.Context, commands string, args ...string) (out []byte, err error) {
	err = b.firewall.do(func() error {
		out, err = nftHere(ctx, commands, args...)
		return err
	})
	return out, err
}

// nftHere runs nft(8) in the namespace of the calling thread.
func nftHere(ctx context.Context, commands string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, "nft", args...)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(commands), &stdout, &stderr
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // Ctrl-C is for us, and ends it by the context
	err := c.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		text, _, _ := strings.Cut(stderr.String(), "\n")
		return nil, fmt.Errorf("run nft: %w: %s", err, text)
	}
	return stdout.Bytes(), nil
}

// load gives a commands file to nft and says how long it took, not on the pinned thread.
func (b *rulesBed) load(ctx context.Context, commands string) (took time.Duration, err error) {
	err = b.firewall.elsewhere(func() error {
		start := time.Now()
		_, err := nftHere(ctx, commands, "-f", "-")
		took = time.Since(start)
		return err
	})
	return took, err
}

// counted are the counters of the chain's rules in the kernel, by index. `list chain` would read the elements of sets, too,
// though it is told not to show them.
func (b *rulesBed) counted(ctx context.Context) ([]eval.Count, error) {
	out, err := b.nft(ctx, "", "-j", "-t", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Objects []struct {
			Rule *struct {
				Expr []struct {
					Counter *struct{ Packets, Bytes uint64 }
				}
			}
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	var counts []eval.Count
	for _, o := range doc.Objects {
		if o.Rule == nil {
			continue
		}
		var c eval.Count
		for _, e := range o.Rule.Expr {
			if e.Counter != nil {
				c = eval.Count{Packets: e.Counter.Packets, Bytes: e.Counter.Bytes}
			}
		}
		counts = append(counts, c)
	}
	return counts, nil
}

// arrived is how many frames r0 has taken in and done with.
func (b *rulesBed) arrived() (n uint64, err error) {
	err = b.firewall.do(func() error {
		l, err := netlink.LinkByIndex(b.r0.index)
		if err != nil {
			return err
		}
		n = l.Attrs().Statistics.RxPackets
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read frames received: %w", err)
	}
	return n, nil
}

// errLostFrames says that frames of a check did not arrive.
var errLostFrames = errors.New("frames of the check were lost on the way")

// deliver sends frames as they are, and returns when r0 is done with them.
func (b *rulesBed) deliver(frames [][]byte) error {
	before, err := b.arrived()
	if err != nil {
		return err
	}
	err = b.sender.do(func() error {
		for _, f := range frames {
			if _, err := b.asIs.Run(&ebpf.RunOptions{Data: f, Repeat: 1, Flags: liveFrames}); err != nil {
				return fmt.Errorf("send frames: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	want := before + uint64(len(frames))
	if n, err := b.await(want); err != nil || n == want {
		return err
	}
	return errLostFrames
}

// await waits until r0 is done with so many frames, or no more come for a while.
func (b *rulesBed) await(want uint64) (uint64, error) {
	last, changed := uint64(0), time.Now()
	for {
		n, err := b.arrived()
		if err != nil || n >= want {
			return n, err
		}
		if n != last {
			last, changed = n, time.Now()
		}
		if time.Since(changed) > quietTime {
			return n, nil
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// quietTime is how long nothing arrives when nothing more will: a batch of 64 frames through 10,000 rules takes less.
const quietTime = 500 * time.Millisecond
