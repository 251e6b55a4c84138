package oracle

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// twins are a frame of an IPv6 flow and the same packet from another station.
func twins(b *box, tup packet.Tuple) (good, bad packet.Spec) {
	good = packet.New(tup, make([]byte, 40))
	b.macs(&good, client)
	bad = good
	bad.Src[5] ^= 0x40
	return good, bad
}

// The rules drop a station's packets. They have the bytes of a flow's own packets and come right behind them: neither may
// be taken for the other.
func TestDroppedTwinIsNotLearned(t *testing.T) {
	t.Run("alike", func(t *testing.T) { droppedTwin(t, false) })
	t.Run("with an index of its own", func(t *testing.T) { droppedTwin(t, true) })
}

func droppedTwin(t *testing.T, indexed bool) {
	const rounds, flows = 6, 50 // four frames each: less than the 256 that veth has room for
	b := makeBox(t, setup{hook: datapath.HookTC, cfg: datapath.Config{MaxFlows: 4 * rounds * flows}, prepare: func(b *box) {
		_, bad := twins(b, b.tuple(nats()[0], packet.UDP, true, 1))
		if indexed {
			b.index(b.r.C0, bad.Src)
		}
		b.r.Router.NFTables(fmt.Sprintf("table ip6 z {\n chain p {\n type filter hook prerouting priority -310\n ether saddr %s drop\n }\n}\n", bad.Src))
		b.batches()
	}})
	for round := range uint16(rounds) {
		var all [flows][2]packet.Tuple
		var frames [][]byte
		for i := range all {
			all[i] = b.connect(b.tuple(nats()[0], packet.UDP, true, round*flows+uint16(i)))
			good, bad := twins(b, all[i][client])
			frames = append(frames, good.Build(), bad.Build(), good.Build(), bad.Build())
		}
		for _, frame := range frames {
			if err := b.ports[client].Send(frame); err != nil {
				t.Fatal(err)
			}
		}
		b.pass(client, frames[0], 0) // all that came before has passed, too
		for _, tuples := range all {
			b.notTwin(tuples)
		}
	}
	b.expect(reason.SeenLearned, 0)
}

// index gives what a station sends on a device a tc_index, which veth leaves there.
func (b *box) index(dev testkit.Dev, mac packet.MAC) {
	b.t.Helper()
	const ctx, lastOfSrc, tcIndex = asm.R6, 11, 11 * 4 // struct __sk_buff of include/uapi/linux/bpf.h
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadAbs(lastOfSrc, asm.Byte),
		asm.JNE.Imm(asm.R0, int32(mac[5]), "out"),
		asm.StoreImm(ctx, tcIndex, 7, asm.Word),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("out"), // TC_ACT_UNSPEC
		asm.Return(),
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = prog.Close() })
	if err := dev.NS.Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: dev.Index, Program: prog, Attach: ebpf.AttachTCXEgress})
		if err == nil {
			b.t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
}

// notTwin checks that the dropped packets of a flow's twin are not forwarded.
func (b *box) notTwin(tuples [2]packet.Tuple) {
	b.t.Helper()
	s := packet.New(tuples[server], make([]byte, 40))
	b.macs(&s, server)
	b.pass(server, s.Build(), 0) // now the flow could be ready
	_, bad := twins(b, tuples[client])
	if out := b.pass(client, bad.Build(), 0); len(out) > 0 {
		b.t.Fatalf("%v: a dropped station's packet was forwarded: %x\n%s", tuples[client], out[0], b.reasons())
	}
}

// batches makes the client's packets come in batches: a kernel thread takes them in, while more are sent. veth does so where
// neither its sender can segment TCP nor its receiver has left GRO to others (veth_skb_is_eligible_for_gro).
func (b *box) batches() {
	b.t.Helper()
	b.r.C0.NS.Run("ethtool", "-K", b.r.C0.Name, "tso", "off")
	b.r.Router.Run("ethtool", "-K", b.r.R0.Name, "gro", "on")
	b.r.Router.Run("ip", "netns", "exec", b.r.Router.Name, "sh", "-c", "echo 1 >/sys/class/net/"+b.r.R0.Name+"/threaded")
}

// Datagrams of IPv6 may all look the same. They are no copies of each other, and their flow stays fast.
func TestLikeDatagramsStayFast(t *testing.T) {
	const leases = 10
	cfg := datapath.Config{MaxFlows: 256, Due: 20 * time.Millisecond, Hard: 100 * time.Millisecond}
	b := makeBox(t, setup{hook: datapath.HookTC, cfg: cfg, prepare: (*box).batches})
	tuples := b.connect(b.tuple(nats()[0], packet.UDP, true, 1))
	plain(b, tuples)
	before, fast := b.count(reason.SeenRenewed), b.fast()
	s, _ := twins(b, tuples[client])
	frame := s.Build()
	for end := time.Now().Add(leases * cfg.Hard); time.Now().Before(end); {
		if err := b.ports[client].Send(frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
	}
	if n := b.count(reason.SeenCopied); n > 0 {
		t.Errorf("%d datagrams were taken for copies", n)
	}
	if b.count(reason.SeenRenewed)-before < leases || b.fast() == fast {
		t.Errorf("the flow did not stay fast: %s", b.reasons())
	}
}
