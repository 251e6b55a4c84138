package oracle

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// stack is what stands on one of the router's two devices and has its addresses. In the texts DEV is the device below.
type stack struct {
	name string
	top  string // the device that has the addresses
	make string // ip(8) and bridge(8) commands that make it, and bring it up
	// tags and mac say how frames look on the wire: their VLAN tags, outermost first, and the router's address, if it is
	// not that of the device below.
	tags []packet.Tag
	mac  packet.MAC
	// port is the name of another port of the bridge, if DEV is one.
	port string
	// bare makes a device without Ethernet header, called top, on which programs run instead of DEV.
	bare func(b *box, side int, top string) bareEnd
}

// bareEnd is the far end of a device without Ethernet header.
type bareEnd interface {
	end
	Dev() testkit.Dev
}

func bridged() *stack {
	return &stack{
		name: "bridge", top: "DEVb", port: "DEVp", mac: packet.MAC{2, 0, 0, 0, 9, 1},
		make: `
ip link add DEVb address 02:00:00:00:09:01 type bridge mcast_snooping 0
ip link add DEVp type veth peer name DEVq
ip link set DEV master DEVb
ip link set DEVp master DEVb
ip link set DEVq up
ip link set DEVp up
ip link set DEVb up
`,
	}
}

func tunnel() *stack {
	return &stack{name: "tun", top: "DEVt", bare: func(b *box, _ int, top string) bareEnd {
		return testkit.OpenTun(b.t, b.r.Router, top)
	}}
}

// build makes the stacks and moves the addresses to them.
func (b *box) build() {
	b.t.Helper()
	for side, dev := range []testkit.Dev{b.r.R0, b.r.R1} {
		st, far := b.stacks[side], []testkit.Dev{b.r.C0, b.r.S0}[side]
		if st == nil {
			continue
		}
		top := st.on(st.top, dev)
		if st.bare != nil {
			far := st.bare(b, side, top)
			b.on[side], b.ports[side] = far.Dev(), far
		}
		b.r.Router.Run("ip", "addr", "flush", "dev", dev.Name, "scope", "global")
		b.r.Router.Script(st.on(st.make, dev))
		for _, six := range []bool{false, true} {
			net, flags := dev.IP4Net, []string{}
			if six {
				net, flags = dev.IP6Net, []string{"nodad"}
			}
			b.r.Router.Run("ip", slices.Concat([]string{"addr", "add", net.String(), "dev", top}, flags)...)
			if st.bare == nil {
				b.r.Router.Run("ip", "neigh", "replace", far.Addr(six).String(), "lladdr", far.MAC.String(), "dev", top, "nud", "permanent")
			}
		}
	}
}

func (st *stack) on(text string, dev testkit.Dev) string {
	return strings.ReplaceAll(text, "DEV", dev.Name)
}

// renamed is a ruleset for r0 and r1, about the devices that stand on them.
func (b *box) renamed(rules string) string {
	for side, dev := range []testkit.Dev{b.r.R0, b.r.R1} {
		if st := b.stacks[side]; st != nil {
			rules = regexp.MustCompile(`"?\b`+dev.Name+`\b"?`).ReplaceAllString(rules, `"`+st.on(st.top, dev)+`"`)
		}
	}
	return rules
}

// devices are what the engine would ask for, given what it would for the device below if nothing stood on it.
func (st *stack) devices(b *box, below datapath.Device) []datapath.Device {
	b.t.Helper()
	if st == nil {
		return []datapath.Device{below}
	}
	if st.bare != nil {
		below.Bare, below.Hook, below.XDPTarget = true, datapath.HookTC, false
		return []datapath.Device{below}
	}
	named := func(d datapath.Device, name string) datapath.Device {
		d.Name = strings.ReplaceAll(name, "DEV", below.Name)
		i, err := b.r.Router.Ifindex(d.Name)
		if err != nil {
			b.t.Fatal(err)
		}
		d.Ifindex = uint32(i)
		return d
	}
	above := named(below, st.top)
	above.Above, above.Hook, above.XDPTarget = true, datapath.HookTC, false
	below.Under = true
	if st.port == "" {
		return []datapath.Device{above, below}
	}
	below.Floods = datapath.FloodsSeen
	return []datapath.Device{above, below, named(below, st.port)}
}

// spoil gives one in six good frames other tags than the flow's.
func (st *stack) spoil(r *rand.Rand, s packet.Spec) (packet.Spec, string) {
	if len(st.tags) == 0 || r.IntN(6) != 0 {
		return s, ""
	}
	s.Tags = slices.Clone(st.tags)
	at := r.IntN(len(s.Tags))
	switch r.IntN(6) {
	case 0:
		s.Tags[at].TCI ^= uint16(1+r.IntN(7)) << 13
		return s, "another priority"
	case 1:
		s.Tags[at].TCI ^= 1 << 12
		return s, "drop eligible"
	case 2:
		s.Tags[at].TCI ^= uint16(1 + r.IntN(4095))
		return s, "another VLAN"
	case 3:
		s.Tags = s.Tags[:len(s.Tags)-1]
		return s, "a tag less"
	case 4:
		s.Tags = append(s.Tags, packet.Tag{TPID: packet.EtherTypeVLAN, TCI: uint16(r.IntN(4096))})
		return s, "a tag more"
	default:
		s.Tags[at].TPID ^= packet.EtherTypeVLAN ^ packet.EtherTypeQinQ
		return s, "another kind of tag"
	}
}

// pairing is what stands on r0 and on r1 in one run.
type pairing [2]*stack

func (p pairing) String() string {
	names := [2]string{"plain", "plain"}
	for side, st := range p {
		if st != nil {
			names[side] = st.name
		}
	}
	return names[client] + " to " + names[server]
}

// compareStacks is TestSameBytesAsKernel for flows through stacked devices. The rules translate both addresses.
func compareStacks(t *testing.T, hook datapath.Hook, pairs ...pairing) {
	t.Helper()
	n := nats()[4]
	for _, pair := range pairs {
		t.Run(fmt.Sprintf("%s/%s", hook, pair), func(t *testing.T) {
			p := &pairOfBoxes{
				t: t, n: n, ref: makeBox(t, setup{rules: n.rules, stacks: pair}),
				dut: makeBox(t, setup{hook: hook, rules: n.rules, stacks: pair}),
			}
			for _, proto := range []uint8{packet.TCP, packet.UDP} {
				for _, six := range []bool{false, true} {
					p.compareFlow(proto, six)
				}
			}
		})
	}
}

func TestSameBytesThroughBridges(t *testing.T) {
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		compareStacks(t, hook, pairing{bridged(), nil}, pairing{nil, bridged()}, pairing{bridged(), bridged()})
	}
}

// The tun device has no Ethernet header: frames get one on the way, or lose it.
func TestSameBytesThroughTunnels(t *testing.T) {
	compareStacks(t, datapath.HookTC, pairing{tunnel(), nil}, pairing{nil, tunnel()}, pairing{tunnel(), tunnel()}, pairing{tunnel(), bridged()})
}
