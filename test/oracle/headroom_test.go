package oracle

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// headroom makes a veth device receive frames as a network card does: with room in front for more headers. What a packet
// socket sends has none to spare, and an IPv6 packet that needs more on its way out becomes another sk_buff
// (skb_expand_head of net/core/skbuff.c clones those of no local socket), which is what notes know packets by: its flow
// stays slow. veth copies frames to where there is room for an XDP program.
func (b *box) headroom(dev testkit.Dev) {
	b.t.Helper()
	if b.hook == datapath.HookXDP {
		return // has its own
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, xdpPass),
		asm.Return(),
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = prog.Close() })
	if err := b.r.Router.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Interface: dev.Index, Program: prog, Flags: link.XDPDriverMode})
		if err == nil {
			b.t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
}
