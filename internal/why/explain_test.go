package why_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/why"
)

func tuple(proto uint8, src, dst string) packet.Tuple {
	return packet.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: proto}
}

// tracked is an established TCP connection behind masquerading that a lowered rule handed over.
func tracked(change func(*why.Connection)) why.Connection {
	c := why.Connection{
		Orig:  tuple(packet.TCP, "10.0.1.2:40000", "198.51.100.2:443"),
		Reply: tuple(packet.TCP, "198.51.100.2:443", "198.51.100.1:40000"),
		State: "ESTABLISHED", Status: []string{"seen-reply", "assured", "confirmed"}, Liberal: true,
		Bits: why.Bits{SeenReply: true, Assured: true, Confirmed: true}, Labels: handover.Label(127),
		Timeout: 5 * time.Minute, HasTimeout: true,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func udp(c *why.Connection) {
	c.Orig.Proto, c.Reply.Proto, c.State, c.Liberal = packet.UDP, packet.UDP, "", false
	c.Timeout = 119 * time.Second
}

// machine is a router with a lowered flowtable over its two devices and a daemon.
func machine(change func(*why.Machine)) why.Machine {
	m := why.Machine{
		Flowtables: []engine.Flowtable{{Family: "inet", Table: "filter", Name: "f1", Lowered: true, Labels: []int{127}, Devices: []string{"r0", "r1"}}},
		Decisions: []engine.Decision{
			{Name: "r0", Hook: engine.TC, Flowtables: []string{"inet filter f1"}, Reason: engine.Reason{Code: reason.TCByDefault, Text: "r0 is a veth device", Advice: "--device r0=xdp for small packets"}},
			{Name: "r1", Hook: engine.XDP, Flowtables: []string{"inet filter f1"}},
		},
		Links: []engine.Link{
			{Name: "lo", Ifindex: 1, Loopback: true},
			{Name: "r0", Ifindex: 2, Kind: "veth", Ethernet: true},
			{Name: "r1", Ifindex: 3, Ethernet: true, Physical: true, Driver: "ixgbe"},
			{Name: "r2", Ifindex: 4, Kind: "veth", Ethernet: true},
			{Name: "br0", Ifindex: 5, Kind: "bridge", Ethernet: true},
			{Name: "p0", Ifindex: 6, Kind: "veth", Ethernet: true, Master: "br0", MasterKind: "bridge"},
			{Name: "p1", Ifindex: 7, Kind: "veth", Ethernet: true, Master: "br0", MasterKind: "bridge"},
			{Name: "r1.7", Ifindex: 8, Kind: "vlan", Ethernet: true, Lower: "r1", VLAN: 7},
		},
		Daemon: true, Pinned: true, MinPackets: 4, Period: time.Second,
	}
	if change != nil {
		change(&m)
	}
	return m
}

// without leaves out all flowtables.
func without(m *why.Machine) { m.Flowtables, m.Decisions = nil, nil }

// kernel has a flowtable of the kernel in place of the lowered one.
func kernel(m *why.Machine) {
	m.Flowtables[0].Lowered, m.Flowtables[0].Labels = false, nil
	m.Adds = []why.Add{{Family: "inet", Table: "filter", Chain: "forward", Handle: 7, Flowtable: "f1"}}
}

func noDaemon(m *why.Machine) { m.Daemon, m.Pinned = false, false }

func state(name string) ruleset.Stmt {
	return ruleset.Match{Op: "in", Left: ruleset.CT{Key: "state"}, Right: ruleset.Str(name)}
}

func iifname(name string) ruleset.Stmt {
	return ruleset.Match{Op: "==", Left: ruleset.Meta{Key: "iifname"}, Right: ruleset.Str(name)}
}

// forward gives the machine a forward chain with these rules, which have handles from 4 on, and the chain of a lowered
// `flow add`.
func forward(rules ...[]ruleset.Stmt) func(*why.Machine) {
	c := &ruleset.Chain{Family: ruleset.Inet, Table: "filter", Name: "forward", Base: &ruleset.Base{Type: "filter", Hook: "forward", Policy: "drop"}}
	added := &ruleset.Chain{Family: ruleset.Inet, Table: "filter", Name: "nft_offload_add_1"}
	for i, stmts := range rules {
		c.Rules = append(c.Rules, &ruleset.Rule{Family: c.Family, Table: c.Table, Chain: c.Name, Handle: 4 + i, Index: i, Stmts: stmts})
	}
	added.Rules = []*ruleset.Rule{{Family: c.Family, Table: c.Table, Chain: added.Name, Handle: 9, Stmts: []ruleset.Stmt{ruleset.Verdict{Kind: ruleset.Accept}}}}
	t := &ruleset.Table{
		Family: c.Family, Name: c.Table, Chains: []*ruleset.Chain{c, added},
		Flowtables: []*ruleset.Flowtable{{Family: c.Family, Table: c.Table, Name: "f1", Hook: "ingress", Devices: []string{"r0", "r1"}}},
	}
	return func(m *why.Machine) { m.Rules = &ruleset.Ruleset{Tables: []*ruleset.Table{t}} }
}

// entries are those of both directions, with so many packets in each.
func entries(c why.Connection, packets uint64, change func(forth, back *engine.Flow)) []engine.Flow {
	proto := packet.ProtoName(c.Orig.Proto)
	out := []engine.Flow{
		{Proto: proto, Src: c.Orig.Src, Dst: c.Orig.Dst, NATSrc: c.Reply.Dst, NATDst: c.Reply.Src, In: "r0", Out: "r1", InIndex: 2, OutIndex: 3},
		{Proto: proto, Src: c.Reply.Src, Dst: c.Reply.Dst, NATSrc: c.Orig.Dst, NATDst: c.Orig.Src, In: "r1", Out: "r0", InIndex: 3, OutIndex: 2},
	}
	for i := range out {
		f := &out[i]
		f.Hook, f.State, f.Packets = engine.TC, engine.StateReady, packets
		f.Lease, f.Age = engine.Seconds(1500*time.Millisecond), engine.Seconds(90*time.Second)
	}
	if change != nil {
		change(&out[0], &out[1])
	}
	return out
}

func refusal(c why.Connection, code, text, advice string, passing bool) []engine.Refused {
	return []engine.Refused{{
		Proto: packet.ProtoName(c.Orig.Proto), Src: c.Orig.Src, Dst: c.Orig.Dst, In: "r0", Out: "r1", InIndex: 2, OutIndex: 3,
		Code: code, Text: text, Advice: advice, Samples: 12, Ago: engine.Seconds(300 * time.Millisecond), Passing: passing,
	}}
}

// routed says that the ends are behind two devices.
func routed(in, out string, local bool) why.Routes {
	return func(why.Connection) (why.Routing, bool) { return why.Routing{In: in, Out: out, Local: local}, true }
}

type example struct {
	name          string
	machine       why.Machine
	before, after why.Snapshot
	routes        why.Routes
	stage         why.Stage
	reason        string
}

// same is a look that finds the same both times.
func same(c why.Connection, more ...func(*why.Snapshot)) (before, after why.Snapshot) {
	s := why.Snapshot{Connections: []why.Connection{c}}
	for _, f := range more {
		f(&s)
	}
	return s, s
}

func with(flows []engine.Flow, refused []engine.Refused) func(*why.Snapshot) {
	return func(s *why.Snapshot) { s.Entries, s.Refused = flows, refused }
}

// table collects examples.
type table struct{ examples []example }

// add is an example whose two looks find the same; the caller may change what was added.
func (x *table) add(stage why.Stage, reason, name string, m why.Machine, c why.Connection, routes why.Routes, more ...func(*why.Snapshot)) *example {
	before, after := same(c, more...)
	x.examples = append(x.examples, example{name, m, before, after, routes, stage, reason})
	return &x.examples[len(x.examples)-1]
}

func examples() []example {
	var x table
	x.rules()
	x.connections()
	x.handovers()
	x.devices()
	x.waits()
	x.refusals()
	x.kernels()
	x.fast()
	return x.examples
}

func (x *table) rules() {
	here := routed("r0", "r1", false)
	lost := tracked(func(c *why.Connection) { c.Labels = handover.Labels{} })
	x.add(why.NotForwarded, "flow-not-forwarded", "a flow that ends on the router", machine(nil), lost, routed("r0", "lo", true))
	x.add(why.NoFlowAdd, "flow-no-rule", "a ruleset without flow add", machine(without), lost, here)
	x.add(why.NoFlowAdd, "flow-no-rule", "a ruleset without flow add and without a daemon", machine(func(m *why.Machine) { without(m); noDaemon(m) }), lost, nil)
	x.add(why.NoFlowAdd, "flow-no-rule", "a flowtable that no rule uses", machine(func(m *why.Machine) { kernel(m); m.Adds = nil }), lost, here)
}

func (x *table) connections() {
	here := routed("r0", "r1", false)
	x.add(why.State, "flow-protocol", "ping", machine(nil), tracked(func(c *why.Connection) {
		c.Orig, c.Reply = tuple(1, "10.0.1.2:0", "198.51.100.2:0"), tuple(1, "198.51.100.2:0", "10.0.1.2:0")
		c.State, c.Labels, c.Status = "", handover.Labels{}, []string{"seen-reply", "confirmed"}
	}), here)
	const gre = 47
	tunneled := func(src, dst string) func(*why.Connection) {
		return func(c *why.Connection) {
			c.Orig, c.Reply = tuple(gre, src, dst), tuple(gre, dst, src)
			c.State, c.Labels, c.Status = "", handover.Labels{}, []string{"seen-reply", "assured", "confirmed"}
		}
	}
	x.add(why.State, "flow-gre-version", "PPTP", machine(nil), tracked(tunneled("10.0.1.2:7", "198.51.100.2:9")), here)
	x.add(why.State, "flow-protocol", "GRE", machine(nil), tracked(tunneled("10.0.1.2:0", "198.51.100.2:0")), here)
	x.add(why.State, "flow-gre-nat", "translated GRE", machine(nil), tracked(func(c *why.Connection) {
		tunneled("10.0.1.2:0", "198.51.100.2:0")(c)
		c.Reply.Dst = netip.MustParseAddrPort("198.51.100.1:0")
	}), here)
	x.add(why.Refused, "flow-helper", "a helper", machine(nil), tracked(func(c *why.Connection) { c.Helper, c.Labels = "ftp", handover.Labels{} }), here)
	x.add(why.Refused, "flow-zone", "a zone", machine(nil), tracked(func(c *why.Connection) { c.Zone = 5 }), here)
	x.add(why.Refused, "flow-seq-adjust", "adjusted sequence numbers", machine(nil), tracked(func(c *why.Connection) { c.Bits.SeqAdjust = true }), here)
	x.add(why.Refused, "flow-nat-clash", "a clash of translations", machine(nil), tracked(func(c *why.Connection) { c.Bits.NATClash = true }), here)
	x.add(why.State, "flow-dying", "a dying connection", machine(nil), tracked(func(c *why.Connection) { c.Bits.Dying = true }), here)
	x.add(why.State, "flow-unconfirmed", "an unconfirmed connection", machine(nil), tracked(func(c *why.Connection) { c.Bits.Confirmed = false }), here)
	x.add(why.State, "flow-tcp-not-established", "a SYN without an answer", machine(nil), tracked(func(c *why.Connection) {
		c.State, c.Bits.SeenReply, c.Bits.Assured, c.Status = "SYN_SENT", false, false, []string{"confirmed"}
	}), here)
	x.add(why.State, "flow-tcp-not-assured", "a connection that is not assured", machine(nil), tracked(func(c *why.Connection) { c.Bits.Assured = false }), here)
	x.add(why.State, "flow-tcp-closing", "a closed connection", machine(nil), tracked(func(c *why.Connection) { c.State = "TIME_WAIT" }), here)
	x.add(why.State, "no-reply", "UDP one way only", machine(nil), tracked(func(c *why.Connection) { udp(c); c.Bits.SeenReply = false }), here)
}

func (x *table) handovers() {
	here := routed("r0", "r1", false)
	lost := tracked(func(c *why.Connection) { c.Labels = handover.Labels{} })
	x.add(why.NotHandedOver, "flow-no-rule", "no rule took it", machine(nil), lost, here)
	x.add(why.NotHandedOver, "flow-no-rule", "no rule of the kernel's flowtable took it", machine(kernel), lost, here)
	quiet := func(c *why.Connection) { c.Labels = handover.Labels{}; c.Timeout -= time.Second }
	accept := []ruleset.Stmt{state("established"), ruleset.Verdict{Kind: ruleset.Accept}}
	flowAdd := []ruleset.Stmt{state("established"), ruleset.FlowAdd{Op: "add", Flowtable: "f1"}}
	x.add(why.NotHandedOver, "flow-no-rule", "an earlier rule accepts", machine(forward(accept, flowAdd)), lost, here)
	x.add(why.NotHandedOver, "flow-no-rule", "an earlier rule drops", machine(forward([]ruleset.Stmt{state("established"), ruleset.Verdict{Kind: ruleset.Drop}}, flowAdd)), lost, here)
	x.add(why.NotHandedOver, "flow-no-rule", "the flow add rule does not match", machine(forward(append([]ruleset.Stmt{iifname("r9")}, flowAdd...), accept)), lost, here)
	x.add(why.NotHandedOver, "flow-no-rule", "the flow add rule is reached", machine(forward(flowAdd, accept)), lost, here)
	x.untaken(lost, machine(forward(flowAdd, accept)))
	x.add(why.NotHandedOver, "flow-no-rule", "the lowered flow add rule is reached", machine(forward([]ruleset.Stmt{state("established"), ruleset.Verdict{Kind: ruleset.Jump, Target: "nft_offload_add_1"}}, accept)), lost, here)
	x.add(why.Waiting, "no-packets", "the flow add rule would be reached", machine(forward(flowAdd, accept)), lost, here).after.Connections = []why.Connection{tracked(quiet)}
}

// untaken are flows that come to the kernel's `flow add`, which does not take them.
func (x *table) untaken(lost why.Connection, m why.Machine) {
	said := refusal(lost, "not-added", "no rule handed the flow to `flow add`, or not on this device", "", false)
	x.add(why.NotHandedOver, "flow-no-reverse-route", "answers leave by another device", m, lost, routed("r2", "r1", false), with(nil, said))
	x.add(why.NotHandedOver, "flow-neighbor-not-valid", "a next hop that does not answer", m, lost, func(why.Connection) (why.Routing, bool) {
		return why.Routing{In: "r0", Out: "r1", NoNeighbor: netip.MustParseAddr("198.51.100.9")}, true
	})
	x.add(why.NotHandedOver, "flow-ip-options", "packets with options", m, lost, routed("r0", "r1", false), with(nil, []engine.Refused{{
		Proto: "0", Src: netip.MustParseAddrPort("10.0.1.2:0"), Dst: netip.MustParseAddrPort("198.51.100.2:0"), In: "r0", InIndex: 2,
		Code: "ip-options", Text: "IPv4 options", Samples: 500,
	}}))
	m.Links = append(slices.Clone(m.Links), engine.Link{Name: "xfrm0", Ifindex: 9, Kind: "xfrm"})
	x.add(why.NotHandedOver, "flow-ipsec", "packets out of IPsec", m, lost, routed("xfrm0", "r1", false))
	for i := range 6 {
		lower := fmt.Sprintf("r2.%d", i-1)
		if i == 0 {
			lower = "r2"
		}
		m.Links = append(m.Links, engine.Link{Name: fmt.Sprintf("r2.%d", i), Ifindex: uint32(20 + i), Kind: "vlan", Ethernet: true, Lower: lower, VLAN: uint16(i), VLANProtocol: "802.1Q"})
	}
	x.add(why.NotHandedOver, "flow-encap-depth", "three tags", m, lost, routed("r0", "r2.2", false))
	x.add(why.NotHandedOver, "flow-path-stack", "devices that stand on each other", m, lost, routed("r2.5", "r1", false))
}

func (x *table) devices() {
	here := routed("r0", "r1", false)
	plain := tracked(nil)
	x.add(why.DeviceNotListed, "flow-lower-device-not-listed", "a device that is not listed", machine(nil), plain, routed("r0", "r2", false))
	x.add(why.DeviceNotListed, "flow-lower-device-not-listed", "a bridge whose ports are not listed, of a kernel flowtable", machine(kernel), tracked(func(c *why.Connection) { c.Bits.Offload = false; c.Mark = 1; c.Labels = handover.Labels{} }), routed("br0", "r1", false)).machine.Flowtables[0].Mark = 1
	x.add(why.DeviceOff, "netdev-chain", "a device with a netdev chain", machine(func(m *why.Machine) {
		m.Decisions[1].Hook, m.Decisions[1].Reason = engine.Off, engine.Reason{Code: reason.OffDeviceChain, Text: "fast packets would not pass the ingress chain netdev t c on r1", Advice: "remove the chain or its rules"}
	}), plain, here)
	x.add(why.DeviceOff, "qdisc-above", "a VLAN with a qdisc of its own", machine(func(m *why.Machine) {
		m.Decisions[1].Slow = []engine.SlowDevice{{Name: "r1.7", Reason: engine.Reason{Code: reason.OffQdiscAbove, Text: "fast packets would not pass the htb qdisc of r1.7", Advice: "put it on the device below"}}}
	}), plain, routed("r0", "r1.7", false))
}

func (x *table) waits() {
	here := routed("r0", "r1", false)
	plain := tracked(nil)
	x.add(why.Waiting, "no-daemon", "no daemon", machine(noDaemon), plain, here)
	x.add(why.Waiting, "not-liberal", "waits for a daemon that is gone", machine(func(m *why.Machine) { m.Daemon = false }), tracked(func(c *why.Connection) { c.Liberal = false }), here,
		with(nil, refusal(plain, "not-liberal", "waits for the daemon to set the connection's BE_LIBERAL", "start `nft-offload run`", true)))
	x.add(why.Waiting, "one-way", "only one direction passes", machine(nil), tracked(udp), here,
		with(nil, refusal(tracked(udp), "one-way", "only one direction was seen on these devices", "", false)))
	x.add(why.Waiting, "one-way", "only one direction has an entry", machine(nil), tracked(udp), here,
		with(entries(tracked(udp), 0, func(f, _ *engine.Flow) { f.State = "learned" })[:1], nil))
	x.add(why.Waiting, "lease-expired", "no renewal", machine(nil), plain, here,
		with(entries(plain, 70, func(f, b *engine.Flow) { f.Lease, b.Lease, f.Idle, b.Idle = -1, -1, 12e9, 12e9 }), nil))
	x.add(why.Waiting, "min-packets", "a young flow", machine(nil), plain, here)
	x.add(why.Waiting, "not-seen", "nothing known, entries from the first packet on", machine(func(m *why.Machine) { m.MinPackets = 1 }), plain, here)
	idle := x.add(why.Waiting, "no-packets", "an idle flow", machine(nil), plain, here)
	idle.after.Connections = []why.Connection{tracked(func(c *why.Connection) { c.Timeout -= time.Second })}
	counted := x.add(why.Waiting, "min-packets", "a young flow with accounting", machine(func(m *why.Machine) { m.Accounting = true }), plain, here)
	counted.after.Connections = []why.Connection{tracked(func(c *why.Connection) {
		c.Counts = [2]engine.Counter{{Packets: 3, Bytes: 180}, {Packets: 2, Bytes: 120}}
	})}
}

func (x *table) refusals() {
	here := routed("r0", "r1", false)
	plain := tracked(nil)
	x.add(why.Refused, "altered", "a rule changes the DSCP", machine(nil), plain, here,
		with(nil, refusal(plain, "altered", "the kernel changed more than addresses, ports and TTL", "a rule mangles this flow; it stays slow", false)))
	x.add(why.Refused, "altered", "a rule that is found changes the DSCP",
		machine(forward([]ruleset.Stmt{iifname("r0"), ruleset.Mangle{Key: ruleset.Payload{Proto: "ip", Field: "dscp"}, Value: ruleset.Str("cs1")}})), plain, here,
		with(nil, refusal(plain, "altered", "the kernel changed more than addresses, ports and TTL", "a rule mangles this flow; it stays slow", false)))
	x.add(why.Refused, "held", "an administrator's hold", machine(nil), plain, here,
		with(nil, refusal(plain, "held", "the administrator holds this flow on the slow path", "`nft-offload flows release`", false)))
}

func (x *table) kernels() {
	here := routed("r0", "r1", false)
	plain := tracked(nil)
	x.add(why.KernelFlowtable, "no-daemon", "the kernel's flowtable without a daemon", machine(func(m *why.Machine) { kernel(m); noDaemon(m) }), tracked(offloaded), here)
	x.add(why.KernelFlowtable, "altered", "the kernel's flowtable and a refusal", machine(kernel), tracked(offloaded), here,
		with(nil, refusal(plain, "altered", "the kernel changed more than addresses, ports and TTL", "", false)))
	x.add(why.KernelFlowtable, "flow-lower-device-not-listed", "the kernel's flowtable and a device that is not listed", machine(kernel), tracked(offloaded), routed("r0", "r2", false))
	hard := machine(func(m *why.Machine) {
		kernel(m)
		forward()(m)
		m.Rules.Tables[0].Flowtables[0].Flags = []string{"offload"}
		for i := range m.Links {
			m.Links[i].Driver = "mtk_soc_eth"
		}
		m.Links = append(m.Links, engine.Link{Name: "xfrm0", Ifindex: 9, Kind: "xfrm"}, engine.Link{Name: "tun0", Ifindex: 10, Kind: "ipip"})
	})
	soft := hard
	soft.Links = slices.Clone(hard.Links)
	soft.Links[2].Driver = "ixgbe"
	x.add(why.KernelFlowtable, "min-packets", "a flow that the driver did not take", hard, tracked(offloaded), here)
	x.add(why.KernelFlowtable, "min-packets", "a driver that takes no flowtables", soft, tracked(offloaded), here)
	x.add(why.KernelFlowtable, "flow-lower-device-not-listed", "a flow into IPsec that hardware does not carry", hard, tracked(offloaded), routed("r0", "xfrm0", false))
	x.add(why.KernelFlowtable, "flow-lower-device-not-listed", "a flow into a tunnel that hardware does not carry", hard, tracked(offloaded), routed("r0", "tun0", false))
	x.add(why.Hardware, "", "hardware", machine(kernel), tracked(func(c *why.Connection) {
		offloaded(c)
		c.Bits.HWOffload = true
		c.Status = append(c.Status, "hw-offload")
	}), here)
}

func (x *table) fast() {
	here := routed("r0", "r1", false)
	plain := tracked(nil)
	busy := x.add(why.Carried, "", "carried", machine(nil), plain, here, with(entries(plain, 100, nil), nil))
	busy.after.Entries = entries(plain, 600, nil)
	renewed := x.add(why.Carried, "", "carried, with renewals", machine(nil), plain, here, with(entries(plain, 100, nil), nil))
	renewed.after.Entries = entries(plain, 600, func(f, b *engine.Flow) { f.Missed, b.Missed, f.LastMiss = 1, 1, "renewal" })
	x.add(why.Carried, "", "carried and idle", machine(nil), plain, here, with(entries(plain, 100, nil), nil))
	onOurs := x.add(why.Carried, "", "carried by both flowtables", machine(kernel), tracked(offloaded), here, with(entries(plain, 100, nil), nil))
	onOurs.after.Entries = entries(plain, 200, nil)
	long := x.add(why.Carried, "too-long", "carried, one direction half slow", machine(nil), plain, here, with(entries(plain, 100, nil), nil))
	long.after.Entries = entries(plain, 200, func(f, _ *engine.Flow) {
		f.Missed, f.LastMiss, f.LastMissText = 100, "too-long", "longer than what the kernel forwarded whole within this lease"
	})
	none := x.add(why.Refused, "dscp", "in the table and never fast", machine(nil), plain, here, with(entries(plain, 100, nil), nil))
	none.after.Entries = entries(plain, 100, func(f, _ *engine.Flow) {
		f.Missed, f.LastMiss, f.LastMissText = 100, "dscp", "another DSCP than the flow's, which may choose route or priority"
	})
	x.add(why.Refused, "fragment", "fragments", machine(nil), tracked(udp), here, with(nil, []engine.Refused{{
		Proto: "0", Src: netip.MustParseAddrPort("10.0.1.2:0"), Dst: netip.MustParseAddrPort("198.51.100.2:0"), In: "r0", InIndex: 2,
		Code: "fragment", Text: "IP fragment: its ports are in another packet", Advice: "avoid fragments: clamp the MSS, lower the sender's MTU", Samples: 500,
	}}))
	untracked := x.add(why.NotTracked, "flow-untracked", "notrack", machine(nil), plain, nil,
		with(nil, refusal(plain, "untracked", "no conntrack entry (notrack, or not tracked here)", "", false)))
	untracked.before.Connections, untracked.after.Connections = nil, nil
}

// offloaded is a connection that the kernel's flowtable has.
func offloaded(c *why.Connection) {
	c.Bits.Offload, c.HasTimeout, c.State, c.Labels, c.Liberal = true, false, "", handover.Labels{}, false
	c.Status = append(c.Status, "offload")
}

// render prints an answer as a person sees it, without wrapping.
func render(a why.Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s [%s", a.Subject, a.Stage)
	if a.Reason != "" {
		fmt.Fprintf(&b, ", %s", a.Reason)
	}
	fmt.Fprintf(&b, "]\n%s\n", a.Sentence)
	for _, l := range a.Evidence {
		fmt.Fprintf(&b, "  %s: %s\n", l.What, l.Text)
	}
	for _, t := range a.Advice {
		fmt.Fprintf(&b, "  > %s\n", t)
	}
	return b.String()
}

// golden compares text with a file; UPDATE_DOCS=1 writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is said now; UPDATE_DOCS=1 writes it:\n%s", file, got)
	}
}

// TestEveryStageHasItsSentence: made-up evidence in, the sentence with evidence and advice out.
func TestEveryStageHasItsSentence(t *testing.T) {
	var b strings.Builder
	reached := map[why.Stage]bool{}
	for _, x := range examples() {
		flows := why.Join(why.Pattern{}, x.before, x.after)
		if len(flows) != 1 {
			t.Errorf("%s: %d flows", x.name, len(flows))
			continue
		}
		if x.routes != nil {
			flows[0].Route(x.routes)
		}
		a := x.machine.Explain(flows[0])
		reached[a.Stage] = true
		if a.Stage != x.stage || a.Reason != x.reason {
			t.Errorf("%s: stage %s, reason %q, want %s, %q", x.name, a.Stage, a.Reason, x.stage, x.reason)
		}
		if strings.Count(a.Sentence, ". ") > 0 || !strings.HasSuffix(a.Sentence, ".") || strings.HasSuffix(a.Sentence, "..") {
			t.Errorf("%s: not one sentence: %s", x.name, a.Sentence)
		}
		fmt.Fprintf(&b, "== %s\n%s\n", x.name, render(a))
	}
	for _, s := range why.Stages() {
		if !reached[s.Stage] {
			t.Errorf("no example reaches stage %s", s.Stage)
		}
	}
	golden(t, "testdata/flows.golden", b.String())
}

// TestStagesAreDocumented: docs/why.md has a row for each.
func TestStagesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/why.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := ""
	for _, s := range why.Stages() {
		rows += fmt.Sprintf("| `%s` | %s |\n", s.Stage, s.Text)
	}
	if !strings.Contains(string(doc), rows) {
		t.Errorf("docs/why.md lacks these rows, in this order:\n%s", rows)
	}
}
