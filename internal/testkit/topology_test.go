package testkit_test

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestRouterOptionsSetTheOffloadsOfTheEnds(t *testing.T) {
	for name, c := range map[string]struct {
		o               testkit.RouterOptions
		gro, tx, segmts string
	}{
		"default": {testkit.RouterOptions{}, "off", "on", "on"},
		"xdp":     {testkit.RouterOptions{XDP: true}, "on", "on", "on"},
		"no tx":   {testkit.RouterOptions{NoChecksumOffload: true}, "off", "off", "off"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testkit.NewRouter(t, c.o)
			for _, d := range []testkit.Dev{r.C0, r.S0} {
				features := d.NS.Run("ethtool", "-k", d.Name)
				for feature, want := range map[string]string{
					"generic-receive-offload": c.gro, "tx-checksumming": c.tx, "tx-tcp-segmentation": c.segmts,
				} {
					if !strings.Contains(features, feature+": "+want) {
						t.Errorf("%s: %s is not %s", d.Name, feature, want)
					}
				}
			}
		})
	}
}

func TestRouterPermanentNeighboursNeedNoARP(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{PermanentNeighbours: true})
	p := testkit.OpenPort(t, r.R0, testkit.PortOptions{Outgoing: true})
	families(t, func(t *testing.T, six bool) {
		if err := testkit.OpenUDP(t, r.Path(six, 6001), testkit.UDPOptions{}).Exchange(3, 1000, quiet).Whole(); err != nil {
			t.Error(err)
		}
	})
	const icmp6 = 58
	err := p.None(quiet/3, func(f testkit.Frame) bool {
		h, err := packet.Decode(f.Data)
		if err != nil {
			return f.Data[12] == 8 && f.Data[13] == 6 // ARP
		}
		// Neighbour solicitation or advertisement; multicast listener reports have an extension header.
		return h.Tuple.Proto == icmp6 && !h.Options
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRouterXDPOptionLetsRedirectedFramesReachTheServer(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	for _, xdp := range []bool{false, true} {
		r := testkit.NewRouter(t, testkit.RouterOptions{XDP: xdp, RawEnds: true})
		p := redirectTo(t, r.R1.Index)
		err := r.Router.Do(func() error {
			l, err := link.AttachXDP(link.XDPOptions{Interface: r.R0.Index, Program: p, Flags: link.XDPDriverMode})
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		c := testkit.OpenPort(t, r.C0, testkit.PortOptions{})
		s := testkit.OpenPort(t, r.S0, testkit.PortOptions{})
		spec := packet.New(crossing(r, false, packet.UDP), []byte("by xdp"))
		spec.Src, spec.Dst = r.C0.MAC, r.R0.MAC
		if err := c.Send(spec.Build()); err != nil {
			t.Fatal(err)
		}
		if !xdp {
			if err := s.None(quiet, testkit.OfTuple(spec.Tuple)); err != nil {
				t.Errorf("without GRO at s0 the frame is expected to vanish: %v", err)
			}
			continue
		}
		got, err := s.Recv(wait, testkit.OfTuple(spec.Tuple))
		if err != nil {
			t.Fatal(err)
		}
		if d := packet.Diff(spec.Build(), got.Data); d != "" {
			t.Error(d)
		}
	}
}

// redirectTo loads an XDP program that sends every frame out of a device.
func redirectTo(t *testing.T, ifindex int) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "redirect", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(ifindex)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}
