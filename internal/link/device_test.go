package link

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/mdlayher/netlink"
	vnl "github.com/vishvananda/netlink"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// pair is a router with one veth, r0, whose peer c0 is in another namespace.
type pair struct {
	t            testing.TB
	router, peer *testkit.NS
	h            *Handle
}

func newPair(t testing.TB) *pair {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.Tc)
	p := &pair{t: t, router: testkit.NewNS(t, "router"), peer: testkit.NewNS(t, "peer")}
	testkit.Veth(t, p.router, "r0", p.peer, "c0")
	p.h = open(t, p.router)
	return p
}

func open(t testing.TB, ns *testkit.NS) *Handle {
	t.Helper()
	var h *Handle
	if err := ns.Do(func() (err error) { h, err = Open(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func (p *pair) device(name string) Device {
	p.t.Helper()
	ds, err := p.h.Devices(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, d := range ds {
		if d.Name == name {
			return d
		}
	}
	p.t.Fatalf("no device %s among %d", name, len(ds))
	return Device{}
}

// program loads one that does nothing but return.
func program(t testing.TB, typ ebpf.ProgramType, name string, ret int32) *ebpf.Program {
	t.Helper()
	testkit.Need(t, testkit.BPF)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: typ, Name: name, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, ret), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

const xdpPass = 2 // XDP_PASS

func (p *pair) attachXDP(ns *testkit.NS, dev, name string, flags bpflink.XDPAttachFlags) (detach func()) {
	p.t.Helper()
	prog := program(p.t, ebpf.XDP, name, xdpPass)
	var l bpflink.Link
	err := ns.Do(func() error {
		link, err := vnl.LinkByName(dev)
		if err != nil {
			return err
		}
		l, err = bpflink.AttachXDP(bpflink.XDPOptions{Program: prog, Interface: link.Attrs().Index, Flags: flags})
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	return func() {
		if err := l.Close(); err != nil {
			p.t.Error(err)
		}
	}
}

func TestDeviceDescribesAVeth(t *testing.T) {
	p := newPair(t)
	p.router.Run("ip", "link", "set", "r0", "address", "02:00:00:00:00:01", "mtu", "1400")
	d := p.device("r0")
	if d.Kind != "veth" || d.Driver != "veth" || d.ARPHRD != 1 || d.MTU != 1400 || d.MAC.String() != "02:00:00:00:00:01" {
		t.Errorf("%+v", d)
	}
	if !d.Up || !d.Running || d.Lower != 0 || d.Master != nil || d.Uppers != nil || d.RxQueues == 0 || !d.Virtual() {
		t.Errorf("%+v", d)
	}
	if d.Qdisc.Root == "" || d.Qdisc.Shapes() {
		t.Errorf("qdisc %+v", d.Qdisc)
	}
	if _, ok := d.Features[RxVLAN]; !ok || d.Features[LRO].On {
		t.Errorf("features %v", d.Features)
	}
	if r := d.XDPCapable(); !r.OK() {
		t.Errorf("capable: %s", r)
	}
	if r := p.device("lo").XDPCapable(); r.Code != reason.XDPNotEthernet {
		t.Errorf("loopback: %s", r)
	}
	w := p.watch(t) // the carrier follows a little later (linkwatch)
	p.peer.Run("ip", "link", "set", "c0", "down")
	w.until("lost carrier", func(e Event) bool { return e.Kind == LinkChanged && e.Name == "r0" && !e.Running })
	if d := p.device("r0"); !d.Up || d.Running {
		t.Errorf("peer down: up %v running %v", d.Up, d.Running)
	}
}

func TestVethIsATargetOnceItsPeerTakesFramesIn(t *testing.T) {
	p := newPair(t)
	peer := open(t, p.peer)
	if err := peer.SetFeature("c0", GRO, false); err != nil {
		t.Fatal(err)
	}
	d := p.device("r0")
	if !d.XDP.Known { // only before Linux 6.3
		if r := d.XDPTarget(); r.Code != reason.XDPTargetUnknown {
			t.Fatalf("features unknown: %s", r)
		}
		return
	}
	if !d.XDP.Has(XDPBasic|XDPRedirect) || d.XDPTarget().Code != reason.XDPTargetNotSupported {
		t.Errorf("gro off: features %#x, %s", d.XDP.Bits, d.XDPTarget())
	}
	if err := peer.SetFeature("c0", GRO, true); err != nil {
		t.Fatal(err)
	}
	if d := p.device("r0"); !d.XDPTarget().OK() {
		t.Errorf("gro on: features %#x, %s", d.XDP.Bits, d.XDPTarget())
	}
	if err := peer.SetFeature("c0", GRO, false); err != nil {
		t.Fatal(err)
	}
	detach := p.attachXDP(p.peer, "c0", "sink", bpflink.XDPDriverMode)
	if d := p.device("r0"); !d.XDPTarget().OK() {
		t.Errorf("program on the peer: features %#x, %s", d.XDP.Bits, d.XDPTarget())
	}
	detach()
	if d := p.device("r0"); d.XDPTarget().OK() {
		t.Errorf("program gone: still a target")
	}
}

func TestFeatureSetAndRestored(t *testing.T) {
	p := newPair(t)
	before, err := p.h.Feature("r0", RxVLAN)
	if err != nil || before.Fixed {
		t.Fatalf("%+v, %v", before, err)
	}
	for _, on := range []bool{!before.On, before.On} {
		if err := p.h.SetFeature("r0", RxVLAN, on); err != nil {
			t.Fatal(err)
		}
		if f, err := p.h.Feature("r0", RxVLAN); err != nil || f.On != on {
			t.Errorf("after setting %v: %+v, %v", on, f, err)
		}
		if got := strings.Contains(p.router.Run("ethtool", "-k", "r0"), "rx-vlan-offload: on"); got != on {
			t.Errorf("ethtool says %v, want %v", got, on)
		}
	}
	if _, err := p.h.Feature("r0", "rx-nonsense"); !errors.Is(err, ErrNoFeature) {
		t.Errorf("unknown feature: %v", err)
	}
	if err := p.h.SetFeature("r0", "rx-nonsense", true); !errors.Is(err, ErrNoFeature) {
		t.Errorf("unknown feature: %v", err)
	}
	if err := p.h.SetFeature("lo", "netns-local", false); !errors.Is(err, ErrFixed) && !errors.Is(err, ErrNoFeature) {
		t.Errorf("fixed feature: %v", err)
	}
	if f, err := p.h.Feature("lo", "tx-lockless"); err == nil && !f.Fixed {
		t.Errorf("tx-lockless of lo is not fixed")
	}
	if _, err := p.h.Feature("nosuch0", RxVLAN); err == nil {
		t.Error("no error for a device that does not exist")
	}
}

func TestBridgeIsNotForXDPAndItsPortIs(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip link add br0 type bridge
		ip link set r0 master br0
		ip link set br0 up`)
	d := p.device("r0")
	if d.Master == nil || d.Master.Name != "br0" || d.Master.Kind != "bridge" || len(d.Uppers) != 1 {
		t.Fatalf("%+v", d)
	}
	if r := d.XDPCapable(); !r.OK() {
		t.Errorf("port: %s", r)
	}
	if r := p.device("br0").XDPCapable(); r.Code != reason.XDPNotPhysical {
		t.Errorf("bridge: %s", r)
	}
	p.router.Script("ip link add link br0 name mv0 type macvlan")
	d = p.device("r0")
	if len(d.Uppers) != 2 || d.Uppers[1].Name != "mv0" || d.Uppers[1].Kind != "macvlan" {
		t.Errorf("uppers %+v", d.Uppers)
	}
}

func TestVethPeerInSameNamespaceIsNotAbove(t *testing.T) {
	p := newPair(t)
	p.router.Script("ip link add v0 type veth peer name v1")
	d, e := p.device("v0"), p.device("v1")
	if d.Uppers != nil || d.Lower != e.Ifindex || e.Lower != d.Ifindex {
		t.Errorf("%+v", d)
	}
}

func TestQdiscShapes(t *testing.T) {
	p := newPair(t)
	p.router.Script("ip link add q0 numtxqueues 2 numrxqueues 2 type veth peer name q1 numtxqueues 2 numrxqueues 2")
	for _, c := range []struct {
		dev, script, root, shaper string
	}{
		{"r0", "tc qdisc replace dev r0 root pfifo limit 10", "pfifo", ""},
		{"r0", "tc qdisc replace dev r0 root tbf rate 10mbit burst 20kb latency 50ms", "tbf", "tbf"},
		{"r0", "tc qdisc replace dev r0 root handle 1: htb default 1", "htb", "htb"},
		{"r0", "tc qdisc del dev r0 root", "noqueue", ""},
		{"r0", "tc qdisc add dev r0 clsact", "noqueue", ""},
		{"q0", "tc qdisc replace dev q0 root handle 8: mq", "mq", ""},
		{"q0", "tc qdisc replace dev q0 parent 8:2 tbf rate 10mbit burst 20kb latency 50ms", "mq", "tbf"},
	} {
		p.router.Script(c.script)
		d := p.device(c.dev)
		if d.Qdisc != (Qdisc{Root: c.root, Shaper: c.shaper}) {
			t.Errorf("%s: %+v", c.script, d.Qdisc)
		}
		if r := d.XDPTarget(); (r.Code == reason.XDPQdiscShapes) != (c.shaper != "") || d.Qdisc.Acts() != (c.shaper != "") {
			t.Errorf("%s: %s, acts %v", c.script, r, d.Qdisc.Acts())
		}
	}
}

// The build machine's kernel has neither kind; a guest's has (test/shaping).
func TestFilterByRouteIsKnown(t *testing.T) {
	keys := func(bits ...int) []byte {
		var mask uint32
		for _, b := range bits {
			mask |= 1 << b
		}
		return binary.NativeEndian.AppendUint32(nil, mask)
	}
	for _, c := range []struct {
		kind string
		keys []byte // of kind "flow"
		want bool
	}{
		{"route", nil, true},
		{"u32", nil, false},
		{"flow", keys(0, 1), false}, // src, dst
		{"flow", keys(1, 13), true}, // dst, rtclassid
		{"bpf", keys(13), false},
	} {
		ae := netlink.NewAttributeEncoder()
		ae.String(tcaKind, c.kind)
		ae.Nested(tcaOptions, func(ae *netlink.AttributeEncoder) error {
			if c.kind == "flow" {
				ae.Bytes(tcaFlowKeys, c.keys)
			}
			return nil
		})
		b, err := ae.Encode()
		if err != nil {
			t.Fatal(err)
		}
		f, err := decodeFilter(netlink.Message{Data: append(make([]byte, sizeofTcMsg), b...)})
		if err != nil || f.byRoute != c.want {
			t.Errorf("%s %x: by route: %v, want %v; %v", c.kind, c.keys, f.byRoute, c.want, err)
		}
	}
	if got, want := (Filter{Qdisc: 0x8001_0000, Egress: true, Pref: 7, Kind: "route"}).String(), "tc filter of qdisc 8001: pref 7 route"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestShapingIsALimitOrAPreference(t *testing.T) {
	maxrate := func(bytes uint32) []byte {
		ae := netlink.NewAttributeEncoder()
		ae.Uint32(1, 10000) // TCA_FQ_PLIMIT
		ae.Uint32(7, bytes) // TCA_FQ_FLOW_MAX_RATE
		b, err := ae.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		kind    string
		options []byte
		want    bool
	}{
		{"fq_codel", nil, false},
		{"fq", maxrate(0xffffffff), false},
		{"fq", nil, false},
		{"fq", maxrate(1_250_000), true},
		{"fq", []byte{2, 0, 7, 0}, true},
		{"pfifo_fast", nil, false},
		{"prio", nil, true},
		{"cake", nil, true},
		{"hfsc", nil, true},
		{"unheard-of", nil, true},
	} {
		if got := shapes(c.kind, c.options); got != c.want {
			t.Errorf("%s % x: %v, want %v", c.kind, c.options, got, c.want)
		}
	}
}

func TestForeignXDPIsReportedAndOursIsNot(t *testing.T) {
	p := newPair(t)
	for _, mode := range []struct {
		flags bpflink.XDPAttachFlags
		want  XDPMode
	}{{bpflink.XDPDriverMode, XDPModeNative}, {bpflink.XDPGenericMode, XDPModeGeneric}} {
		detach := p.attachXDP(p.router, "r0", "somebody", mode.flags)
		d := p.device("r0")
		if len(d.ForeignXDP) != 1 || d.ForeignXDP[0].Name != "somebody" || d.ForeignXDP[0].Mode != mode.want || d.ForeignXDP[0].ID == 0 {
			t.Errorf("%+v, want one %s program", d.ForeignXDP, mode.want)
		}
		if r := d.XDPCapable(); r.Code != reason.XDPForeignProgram || !strings.Contains(r.Text, "somebody") {
			t.Errorf("%s", r)
		}
		detach()
	}
	p.attachXDP(p.router, "r0", "nfo_fast", bpflink.XDPDriverMode)
	if d := p.device("r0"); len(d.ForeignXDP) != 0 || !d.XDPCapable().OK() {
		t.Errorf("ours: %+v, %s", d.ForeignXDP, d.XDPCapable())
	}
}

func TestForeignFiltersAreReportedAndOursAreNot(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		tc qdisc add dev r0 clsact
		tc filter add dev r0 ingress pref 7 protocol ip u32 match u32 0 0 flowid 1:1`)
	tcx := program(t, ebpf.SchedCLS, "watcher", -1) // TCX_NEXT
	ourTCX := program(t, ebpf.SchedCLS, "nfo_egress", -1)
	err := p.router.Do(func() error {
		l, err := vnl.LinkByName("r0")
		if err != nil {
			return err
		}
		for _, f := range []struct {
			parent uint32
			pref   uint16
			name   string
		}{{vnl.HANDLE_MIN_EGRESS, 8, "theirs"}, {vnl.HANDLE_MIN_EGRESS, 49001, "renamed"}, {vnl.HANDLE_MIN_INGRESS, 9, "nfo_ingress"}} {
			err := vnl.FilterAdd(&vnl.BpfFilter{
				FilterAttrs:  vnl.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: f.parent, Handle: 1, Priority: f.pref, Protocol: 0x0300},
				Fd:           program(t, ebpf.SchedCLS, "x", 0).FD(),
				Name:         f.name,
				DirectAction: true,
			})
			if err != nil {
				return err
			}
		}
		for _, prog := range []*ebpf.Program{tcx, ourTCX} {
			l, err := bpflink.AttachTCX(bpflink.TCXOptions{Interface: l.Attrs().Index, Program: prog, Attach: ebpf.AttachTCXEgress})
			if errors.Is(err, ebpf.ErrNotSupported) {
				return nil
			}
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"tc filter ingress pref 7 handle 800::800 u32", "tc filter egress pref 8 handle 0x1 bpf theirs", "tcx egress program watcher"}
	var got []string
	for _, f := range p.device("r0").ForeignFilters {
		got = append(got, f.String())
	}
	if len(got) == 2 { // before Linux 6.6
		want = want[:2]
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("foreign filters %q, want %q", got, want)
	}
	p.router.Script(`
		tc qdisc del dev r0 clsact
		tc qdisc add dev r0 ingress
		tc filter add dev r0 ingress pref 7 protocol ip u32 match u32 0 0 flowid 1:1`)
	if fs := p.device("r0").ForeignFilters; len(fs) == 0 || fs[0].Pref != 7 {
		t.Errorf("on the ingress qdisc: %v", fs)
	}
}

func TestFilterThatSendsPacketsElsewhereSaysWhere(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip link add ifb0 type ifb
		ip link set ifb0 up
		tc qdisc add dev r0 handle ffff: ingress
		tc filter add dev r0 parent ffff: pref 3 protocol all u32 match u32 0 0 action mirred egress redirect dev ifb0
		ip link add br0 type bridge
		tc qdisc add dev br0 clsact
		tc filter add dev br0 egress pref 4 protocol ip u32 match u32 0 0 action mirred egress mirror dev r0`)
	for dev, want := range map[string]string{
		"r0":  "tc filter ingress pref 3 handle 800::800 u32 (mirred redirect to ifb0)",
		"br0": "tc filter egress pref 4 handle 800::800 u32 (mirred mirror to r0)",
	} {
		fs := p.device(dev).ForeignFilters
		if len(fs) != 1 || fs[0].String() != want {
			t.Errorf("%s: %v, want %s", dev, fs, want)
		}
	}
}

func TestTunAndTapDifferInTheirHeader(t *testing.T) {
	p := newPair(t)
	p.router.Script(`
		ip tuntap add tun0 mode tun
		ip tuntap add tap0 mode tap`)
	if d := p.device("tun0"); d.Kind != "tun" || d.ARPHRD == 1 || !d.PointToPoint {
		t.Errorf("%+v", d)
	}
	if d := p.device("tap0"); d.Kind != "tun" || d.ARPHRD != 1 || d.PointToPoint {
		t.Errorf("%+v", d)
	}
}

func TestMacvlanStandsOnItsDevice(t *testing.T) {
	p := newPair(t)
	p.router.Script("ip link add link r0 name mv0 type macvlan")
	if d, r0 := p.device("mv0"), p.device("r0"); d.Below() != r0.Ifindex || r0.Below() != 0 {
		t.Errorf("mv0 stands on %d, r0 (%d) on %d", d.Below(), r0.Ifindex, r0.Below())
	}
}
