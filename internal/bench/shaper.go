package bench

import (
	"bytes"
	"context"
	_ "embed" // the shaper and its classes
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/nft"
)

// shaperScript is examples/shaping.tc.
//
//go:embed shaping.tc
var shaperScript string

// shaperRules is examples/shaping.nft, which says what belongs to which class.
//
//go:embed shaping.nft
var shaperRules string

// The classes of examples/shaping.tc, and what it limits all of them to.
const (
	classInteractive = 0x10010
	classBulk        = 0x10020
	classRest        = 0x10030
	shaperRate       = 100_000_000 // bits a second
)

// unlimited are commands that leave the classes as they are and limit nothing: what is left is the cost of the shaper.
const unlimited = `class change dev r1 parent 1: classid 1:1 htb rate 32gbit ceil 32gbit quantum 1514
class change dev r1 parent 1:1 classid 1:20 htb rate 32gbit ceil 32gbit prio 1 quantum 1514
`

// shape puts the shaper on the router's r1, and loads the rules that choose classes.
func (b *bed) shape(ctx context.Context) error {
	return b.topo.router.do(func() error {
		if err := tc(ctx, shaperScript); err != nil {
			return fmt.Errorf("load examples/shaping.tc: %w", err)
		}
		if _, err := nft.Load(ctx, "-", nft.Options{Stdin: strings.NewReader(shaperRules)}); err != nil {
			return fmt.Errorf("load examples/shaping.nft: %w", err)
		}
		return nil
	})
}

// tc runs commands of tc(8) in the namespace of the calling thread.
func tc(ctx context.Context, commands string) error {
	var stderr bytes.Buffer
	c := exec.CommandContext(ctx, "tc", "-batch", "-")
	c.Stdin, c.Stderr = strings.NewReader(commands), &stderr
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // Ctrl-C is for us, and ends it by the context
	err := c.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("run tc: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

// volume is what a class has let through: frames, and their bytes without the check sequence.
type volume struct{ packets, bytes uint64 }

func (v volume) since(old volume) volume { return volume{v.packets - old.packets, v.bytes - old.bytes} }

// classes reads the classes of r1, by handle.
func (b *bed) classes() (map[uint32]volume, error) {
	out := map[uint32]volume{}
	err := b.topo.router.do(func() error {
		l, err := netlink.LinkByIndex(b.topo.r1.index)
		if err != nil {
			return err
		}
		cs, err := netlink.ClassList(l, 0)
		for _, c := range cs {
			if s := c.Attrs().Statistics; s != nil {
				out[c.Attrs().Handle] = volume{packets: uint64(s.Basic.Packets), bytes: s.Basic.Bytes}
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read classes of %s: %w", b.topo.r1.name, err)
	}
	return out, nil
}
