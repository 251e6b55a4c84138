package oracle

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// both runs a test on both hooks against a reference router, after prepare has changed the two alike.
func both(t *testing.T, rules string, prepare func(*box), run func(*pairOfBoxes)) {
	t.Helper()
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		t.Run(hook.String(), func(t *testing.T) {
			run(&pairOfBoxes{
				t: t, n: nats()[0], ref: makeBox(t, setup{rules: rules, prepare: prepare}),
				dut: makeBox(t, setup{hook: hook, rules: rules, prepare: prepare}),
			})
		})
	}
}

// ready opens a flow in both routers and makes it fast in the one with the datapath.
func (p *pairOfBoxes) ready(proto uint8, six bool) [2]packet.Tuple {
	p.t.Helper()
	p.flows++
	p.ref.connect(p.ref.tuple(p.n, proto, six, p.flows))
	tuples := p.dut.connect(p.dut.tuple(p.n, proto, six, p.flows))
	for range 3 {
		for side, tup := range tuples {
			p.same(side, packet.New(tup, make([]byte, 64)), "warm up")
		}
	}
	if p.dut.fast() == 0 {
		p.t.Fatalf("the flow is not fast: %s", p.dut.reasons())
	}
	return tuples
}

// A packet with a LAN flow's addresses that arrives at the WAN port, and the other way round. The kernel's reverse
// path filter drops it; so must the fast path, and the entry must not be touched by it. The spoofed bytes are those
// of real packets, so that nothing but the way they came tells them apart.
func TestSpoofedTupleOnOtherPort(t *testing.T) {
	for _, filter := range []string{"1", "0"} {
		t.Run("rp_filter="+filter, func(t *testing.T) {
			both(t, "", func(b *box) {
				for _, dev := range []string{"all", "r0", "r1"} {
					b.r.Router.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", filter)
				}
			}, func(p *pairOfBoxes) {
				for _, proto := range []uint8{packet.UDP, packet.TCP} {
					tuples := p.ready(proto, false)
					for i := range 50 {
						body := []byte(fmt.Sprintf("%08d same bytes", i/2))
						for side, tup := range tuples {
							p.same(side, packet.New(tup, body), "real")
							p.same(1-side, packet.New(tup, body), "spoofed")
							p.same(side, packet.New(tup, body), "real again")
						}
					}
					if filter == "1" {
						p.dut.onlyFrom(tuples)
					}
				}
			})
		})
	}
}

// onlyFrom checks that each tuple has an entry on its own port and on no other.
func (b *box) onlyFrom(tuples [2]packet.Tuple) {
	b.t.Helper()
	flows, err := b.d.Flows()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range flows {
		if f.Tuple == tuples[client] && f.In != uint32(b.r.R0.Index) || f.Tuple == tuples[server] && f.In != uint32(b.r.R1.Index) {
			b.t.Errorf("an entry was learned from a spoofed packet: %+v", f)
		}
	}
}

// A flow that nobody was told of cannot be taken over from the WAN side: no entry, no conntrack state of ours.
func TestSpoofedFlowIsNotLearned(t *testing.T) {
	rules := "table inet strict {\n chain f {\n type filter hook forward priority -5; policy drop\n ct state established,related accept\n iifname r0 accept\n udp dport 9 accept\n }\n}\n"
	both(t, rules, nil, func(p *pairOfBoxes) {
		tuples := p.ready(packet.UDP, false)
		other := tuples[server]
		other.Src = netip.AddrPortFrom(other.Src.Addr(), 4444)
		for range 20 {
			p.same(server, packet.New(other, []byte("let me in")), "unsolicited")
		}
		flows, err := p.dut.d.Flows()
		if err != nil {
			p.t.Fatal(err)
		}
		if len(flows) != 2 {
			p.t.Errorf("%d entries instead of 2: %+v", len(flows), flows)
		}
	})
}

// The same 5-tuple twice: in zone 0 from r0, and in zone 5 from another client on r2. Each must go its own way.
func TestSameTupleInTwoZones(t *testing.T) {
	rules := `table inet zones {
	chain p {
		type filter hook prerouting priority -300; policy accept
		iifname "r2" ct zone set 5
	}
}
`
	both(t, rules, secondUplink, func(p *pairOfBoxes) {
		tuples := p.ready(packet.UDP, false)
		p.dut.alsoOn(p.dut.r2)
		for i := range 30 {
			s := packet.New(tuples[client], []byte(fmt.Sprintf("zone %d", i)))
			p.same(client, s, "zone 0")
			var out [2]int
			for j, b := range []*box{p.ref, p.dut} {
				s.Src, s.Dst = b.other.Dev().MAC, b.r2.MAC
				if err := b.other.Send(s.Build()); err != nil {
					p.t.Fatal(err)
				}
				out[j] = len(b.pass(client, b.frame(tuples[client], func(*packet.Spec) {}), 2))
			}
			if out[0] != out[1] {
				p.t.Errorf("zone 5: %d frames with the datapath, %d without", out[1], out[0])
			}
		}
		flows, err := p.dut.d.Flows()
		if err != nil {
			p.t.Fatal(err)
		}
		for _, f := range flows {
			if f.In == uint32(p.dut.r2.Index) {
				p.t.Errorf("the flow in zone 5 was learned: %+v", f)
			}
		}
	})
}

// alsoOn runs the datapath on more devices.
func (b *box) alsoOn(devs ...testkit.Dev) {
	b.t.Helper()
	devices := b.devices()
	for _, dev := range devs {
		more := devices[0]
		more.Ifindex, more.Name, more.XDPTarget, more.Stack = uint32(dev.Index), dev.Name, false, uint32(dev.Index)
		devices = append(devices, more)
	}
	if err := b.r.Router.Do(func() error { return b.d.Apply(devices) }); err != nil {
		b.t.Fatal(err)
	}
}

// container gives the router a container on r2 and r3 that routes back what it gets, and routes the flows of r0 and r1
// through it.
func container(b *box) {
	b.t.Helper()
	box := testkit.NewNS(b.t, "container")
	b.r2 = testkit.Dev{NS: b.r.Router, Name: "r2", MAC: packet.MAC{2, 0, 0, 0, 3, 1}}
	b.r3 = testkit.Dev{NS: b.r.Router, Name: "r3", MAC: packet.MAC{2, 0, 0, 0, 4, 1}}
	a := testkit.Dev{NS: box, Name: "k0", MAC: packet.MAC{2, 0, 0, 0, 3, 2}}
	z := testkit.Dev{NS: box, Name: "k1", MAC: packet.MAC{2, 0, 0, 0, 4, 2}}
	testkit.Join(b.t, &b.r2, &a)
	testkit.Join(b.t, &b.r3, &z)
	box.Sysctl("net/ipv4/ip_forward", "1")
	for _, dev := range []string{"all", "r0", "r1", "r2", "r3"} {
		b.r.Router.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "0")
	}
	b.r.Router.Script(`
ip addr add 192.0.2.1/30 dev r2
ip addr add 192.0.2.5/30 dev r3
ip rule add iif r0 table 100
ip route add default via 192.0.2.2 table 100
ip rule add iif r1 table 101
ip route add default via 192.0.2.6 table 101
`)
	box.Script(`
ip addr add 192.0.2.2/30 dev k0
ip addr add 192.0.2.6/30 dev k1
ip route add 198.51.100.0/24 via 192.0.2.5
ip route add 10.0.1.0/24 via 192.0.2.1
`)
}

// The route to the server leads through a container that routes it back: the packet passes the router twice, with the
// same tuple and the same conntrack entry.
func TestLoopThroughContainer(t *testing.T) {
	both(t, "", container, func(p *pairOfBoxes) {
		p.dut.alsoOn(p.dut.r2, p.dut.r3)
		p.flows++
		p.ref.connect(p.ref.tuple(p.n, packet.UDP, false, p.flows))
		tuples := p.dut.connect(p.dut.tuple(p.n, packet.UDP, false, p.flows))
		for i := range 40 {
			for side, tup := range tuples {
				p.same(side, packet.New(tup, []byte(fmt.Sprintf("loop %d", i))), "loop")
			}
		}
		p.t.Log(p.dut.reasons())
	})
}

// An ICMP error about a fast flow takes the slow path, is translated by conntrack, and leaves the flow as it was.
func TestICMPErrorAboutAFlow(t *testing.T) {
	masquerade := nats()[1]
	both(t, masquerade.rules, nil, func(p *pairOfBoxes) {
		p.n = masquerade
		tuples := p.ready(packet.UDP, false)
		before := p.dut.fast()
		about := packet.New(tuples[server].Reverse(), make([]byte, 20)) // as the server saw it
		inner := about.Build()[packet.EthernetLen:]
		for _, b := range []*box{p.ref, p.dut} {
			s := packet.New(packet.Tuple{Src: tuples[server].Src, Dst: tuples[server].Dst, Proto: 1}, icmpError(inner))
			b.macs(&s, server)
			if err := b.ports[server].Send(s.Build()); err != nil {
				p.t.Fatal(err)
			}
			f, err := b.ports[client].Recv(deadline, testkit.Decoded(func(h packet.Header) bool { return h.Tuple.Proto == 1 }))
			if err != nil {
				p.t.Fatalf("the ICMP error did not arrive: %v", err)
			}
			got, err := netip.ParseAddrPort(fmt.Sprintf("%s:0", innerSource(f.Data)))
			if err != nil || got.Addr() != tuples[client].Src.Addr() {
				p.t.Errorf("the ICMP error is about %v instead of %v", got, tuples[client].Src)
			}
		}
		if p.dut.fast() != before {
			p.t.Errorf("the ICMP error was forwarded fast")
		}
		for side, tup := range tuples {
			p.same(side, packet.New(tup, make([]byte, 64)), "after the error")
		}
	})
}

// icmpError is a port-unreachable message about a packet (RFC 792).
func icmpError(about []byte) []byte {
	m := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, about[:28]...)
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m))
	return m
}

func innerSource(frame []byte) netip.Addr {
	inner := frame[packet.EthernetLen+packet.IPv4Len+8:]
	return netip.AddrFrom4([4]byte(inner[12:16]))
}
