package oracle

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// expect fails unless the reason was counted since before.
func (b *box) expect(r reason.Reason, before uint64) {
	b.t.Helper()
	if b.count(r) == before {
		b.t.Errorf("%s was not counted: %s", r, b.reasons())
	}
}

// A super-packet with bytes behind its end: trimming would end its segmentation, so the kernel gets it.
func TestPaddedSuperPacketGoesSlow(t *testing.T) {
	b := newBoxWith(t, datapath.HookTC, "", datapath.Config{MaxFlows: 256})
	tuples := b.connect(b.tuple(nats()[0], packet.TCP, false, 1))
	plain(b, tuples)
	s := packet.New(tuples[client], make([]byte, 60))
	s.Wrong = packet.PartialChecksum
	s.Trailer = make([]byte, 10)
	b.macs(&s, client)
	frame := s.Build()
	h, err := packet.Decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	before := b.count(reason.SlowPadding)
	port := testkit.OpenPort(t, b.r.C0, testkit.PortOptions{VNet: true})
	if err := port.SendVNet(testkit.TCPVNet(h, 20), frame); err != nil {
		t.Fatal(err)
	}
	b.await("the super-packet", func() bool { return b.count(reason.SlowPadding) > before })
}

// A device with XDP whose flows leave by one that XDP cannot send to: XDP leaves them to tc, which carries them.
func TestFlowOfAnotherHookIsCarriedThere(t *testing.T) {
	b := newBoxWith(t, datapath.HookXDP, "", datapath.Config{MaxFlows: 256})
	devices := b.devices()
	for i := range devices {
		devices[i].XDPTarget = false
	}
	if err := b.r.Router.Do(func() error { return b.d.Apply(devices) }); err != nil {
		t.Fatal(err)
	}
	tuples := b.connect(b.tuple(nats()[0], packet.UDP, false, 1))
	plain(b, tuples)
	plain(b, tuples)
	b.expect(reason.EntryOtherHook, 0)
	st, err := b.d.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if st.Fast[datapath.HookTC].Packets < 5 || st.Fast[datapath.HookXDP].Packets != 0 {
		t.Errorf("not carried at tc: %s", b.reasons())
	}
}

// hijacked routes the flow out of r2, where somebody's eBPF program sends it to r1.
func hijacked(t *testing.T, observed bool) (*box, [2]packet.Tuple) {
	t.Helper()
	b := makeBox(t, setup{hook: datapath.HookTC, cfg: datapath.Config{MaxFlows: 256}, prepare: secondUplink})
	if observed {
		b.alsoOn(b.r2)
	}
	b.r.Router.Run("ip", "route", "replace", "198.51.100.2/32", "via", "192.0.2.2", "dev", "r2")
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(b.r.R1.Index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	if err := b.r.Router.Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: b.r2.Index, Program: prog, Attach: ebpf.AttachTCXEgress, Anchor: link.Tail()})
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	tuples := b.connect(b.tuple(nats()[0], packet.UDP, false, 1))
	plain(b, tuples)
	return b, tuples
}

func TestRedirectedPacketTeachesNothing(t *testing.T) {
	b, tuples := hijacked(t, false)
	b.expect(reason.SeenRedirected, 0)
	b.onlyKnows(tuples[server])
}

// The same packet passes two observed devices: what one entry can do is not what the kernel did.
func TestPacketSeenTwiceEndsItsFlow(t *testing.T) {
	b, tuples := hijacked(t, true)
	b.expect(reason.SeenCopied, 0)
	b.onlyKnows(tuples[server])
}

// onlyKnows checks that no entry that lives is about another tuple, and none is ready.
func (b *box) onlyKnows(tup packet.Tuple) {
	b.t.Helper()
	flows, err := b.d.Flows()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range flows {
		if f.State == datapath.StateReady || f.Tuple != tup && f.State != datapath.StateDead {
			b.t.Errorf("learned: %+v", f)
		}
	}
}

// More stations than there are adjacencies: the later ones' flows stay slow, and nothing else happens.
func TestMoreNeighborsThanAdjacencies(t *testing.T) {
	const stations = 4200
	b := newBoxWith(t, datapath.HookTC, "", datapath.Config{MaxFlows: 16384})
	tup := b.tuple(nats()[0], packet.UDP, false, 1)
	for i := range stations {
		tup.Src = netip.AddrPortFrom(tup.Src.Addr(), uint16(10000+i))
		in, back := packet.New(tup, []byte("station")), packet.New(tup.Reverse(), []byte("answer"))
		b.macs(&in, client)
		b.macs(&back, server)
		binary.BigEndian.PutUint16(in.Src[4:], uint16(i))
		in.Src[1] = 7
		for _, send := range []struct {
			side int
			spec packet.Spec
		}{{client, in}, {server, back}, {client, in}} {
			if err := b.ports[send.side].Send(send.spec.Build()); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.expect(reason.SeenAdjacenciesFull, 0)
	for _, port := range b.ports {
		if _, err := port.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	// The rest of the world goes on.
	one := b.one(client, packet.New(tup, []byte("still")))
	if one.Tuple != tup {
		t.Errorf("came out as %s", one.Tuple)
	}
}
