// Package oracle compares the datapath with the kernel: two routers with the same addresses and ruleset, one with the
// datapath and one without, get the same frames; what leaves must be the same bytes.
package oracle

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const (
	label       = 127 // the one of the lowered flowtable in these rulesets
	deadline    = 2 * time.Second
	pinRoot     = "/sys/fs/bpf/nft-offload-test"
	sentinelUDP = 9 // discard: flows to it have no replies, so they never become fast
)

// eligible hands established flows over, as the lowered `flow add` does.
const eligible = `table inet handover {
	chain forward {
		type filter hook forward priority 0; policy accept
		ct state established ct label set 127
	}
}
`

// kernelFlowtable hands them to the kernel's own flowtable.
const kernelFlowtable = `table inet handover {
	flowtable f1 {
		hook ingress priority 0
		devices = { r0, r1 }
	}
	chain forward {
		type filter hook forward priority 0; policy accept
		meta l4proto { tcp, udp } ct state established flow add @f1
	}
}
`

// setup is what a box is made with.
type setup struct {
	hook      datapath.Hook // 0: no datapath, the reference
	rules     string        // beside the hand-over
	cfg       datapath.Config
	hosts     bool      // the ends are kernels with addresses instead of played by the test
	flowtable bool      // hand over to the kernel's flowtable instead of by label
	stacks    [2]*stack // what stands on r0 and on r1; nil: nothing
	// prepare changes the router before the datapath comes: what withdraw has to leave as it is.
	prepare func(*box)
}

// nat is one way of translating, for both families.
type nat struct {
	name  string
	rules string
	// dial is where the client sends to, given what the server really is.
	dial func(server netip.AddrPort, router netip.Addr) netip.AddrPort
}

func direct(server netip.AddrPort, _ netip.Addr) netip.AddrPort { return server }

func forwarded(server netip.AddrPort, router netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(router, 8000+server.Port()%1000)
}

func nats() []nat {
	snat := `table inet nats {
	chain post {
		type nat hook postrouting priority 100; policy accept
		oifname "r1" %s
	}
}
`
	var dnat strings.Builder
	dnat.WriteString("table inet natd {\n chain pre {\n type nat hook prerouting priority -100; policy accept\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&dnat, " iifname r0 ip daddr 10.0.1.1 meta l4proto { tcp, udp } th dport %d dnat ip to 198.51.100.2:%d\n", 8000+i, 2000+i)
		fmt.Fprintf(&dnat, " iifname r0 ip6 daddr 2001:db8:1::1 meta l4proto { tcp, udp } th dport %d dnat ip6 to [2001:db8:2::2]:%d\n", 8000+i, 2000+i)
	}
	dnat.WriteString(" }\n}\n")
	masquerade := fmt.Sprintf(snat, "masquerade")
	source := fmt.Sprintf(snat, "meta nfproto ipv4 meta l4proto { tcp, udp } snat ip to 198.51.100.7") +
		strings.Replace(fmt.Sprintf(snat, "meta nfproto ipv6 meta l4proto { tcp, udp } snat ip6 to 2001:db8:2::7"), "nats", "nats6", 1)
	return []nat{
		{"none", "", direct},
		{"masquerade", masquerade, direct},
		{"snat", source, direct},
		{"dnat", dnat.String(), forwarded},
		{"dnat+masquerade", dnat.String() + masquerade, forwarded},
	}
}

// box is one router with both ends played by the test. hook 0 has no datapath: the reference.
type box struct {
	t         testing.TB
	r         *testkit.Router
	d         *datapath.Datapath
	ct        *conntrack.Conn
	hook      datapath.Hook
	flowtable bool
	before    testkit.State // of the namespaces, without the datapath
	stacks    [2]*stack
	on        [2]testkit.Dev // where programs run: r0 and r1, or what a stack has instead
	ports     [2]end         // client, server
	r2, r3    testkit.Dev    // after secondUplink or container
	other     *testkit.Port  // beyond r2
	serial    uint32
}

// end is a host that the test plays: frames from and to the router.
type end interface {
	Send(frame []byte) error
	Recv(timeout time.Duration, match func(testkit.Frame) bool) (testkit.Frame, error)
	Drain() (int, error)
}

const (
	client = 0
	server = 1
)

func newBox(t *testing.T, hook datapath.Hook, ruleset string) *box {
	t.Helper()
	return makeBox(t, setup{hook: hook, rules: ruleset})
}

func newBoxWith(t *testing.T, hook datapath.Hook, ruleset string, cfg datapath.Config) *box {
	t.Helper()
	return makeBox(t, setup{hook: hook, rules: ruleset, cfg: cfg})
}

func makeBox(t testing.TB, s setup) *box {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	b := &box{t: t, hook: s.hook, flowtable: s.flowtable, stacks: s.stacks}
	b.r = testkit.NewRouter(t, testkit.RouterOptions{XDP: true, RawEnds: !s.hosts})
	b.on = [2]testkit.Dev{b.r.R0, b.r.R1}
	b.build()
	handover := eligible
	if s.flowtable {
		handover = kernelFlowtable
	}
	if s.cfg.MaxFlows == 0 {
		s.cfg.MaxFlows = 4096
	}
	if s.cfg.MinPackets == 0 {
		s.cfg.MinPackets = 1
	}
	if s.cfg.Due == 0 && os.Getenv(guestEnv) != "" {
		s.cfg.Due, s.cfg.Hard = 20*time.Second, 40*time.Second // else most packets of an emulated machine would be renewals
	}
	// A wrong layer 4 checksum is one of the documented exceptions (docs/exceptions.md); everything else is compared.
	b.r.Router.NFTables(b.renamed(handover + s.rules))
	b.r.Router.Sysctl("net/netfilter/nf_conntrack_checksum", "0")
	// The static translation to an address of the server's network needs somebody who answers for it.
	for _, a := range []string{"198.51.100.7", "2001:db8:2::7"} {
		b.r.Router.Run("ip", "addr", "add", a, "dev", "lo")
	}
	err := b.r.Router.Do(func() (err error) {
		b.ct, err = conntrack.Open()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.ct.Close() })
	if s.prepare != nil {
		s.prepare(b)
	}
	b.attach(s.cfg)
	for side, far := range []testkit.Dev{b.r.C0, b.r.S0} {
		if b.ports[side] == nil {
			b.ports[side] = testkit.OpenPort(t, far, testkit.PortOptions{})
		}
	}
	return b
}

func (b *box) attach(cfg datapath.Config) {
	b.t.Helper()
	if b.hook == 0 {
		return
	}
	cfg.Dir = filepath.Join(pinRoot, b.r.Router.Name)
	b.checkRestored(cfg.Dir)
	err := b.r.Router.Do(func() (err error) {
		if b.d, err = datapath.Open(cfg); err != nil {
			return err
		}
		b.t.Cleanup(func() { b.withdraw(cfg.Dir) })
		return b.d.Apply(b.devices())
	})
	if err != nil {
		b.t.Fatalf("%+v", err)
	}
}

func (b *box) devices() []datapath.Device {
	var out []datapath.Device
	for side, dev := range b.on {
		d := datapath.Device{
			Ifindex: uint32(dev.Index), Name: dev.Name, Hook: b.hook, XDPTarget: true, PartialChecksums: true,
			Flowtable: b.flowtable, Stack: uint32(dev.Index),
		}
		if !b.flowtable {
			d.Labels[1] = 1 << (label - 64)
		}
		out = append(out, b.stacks[side].devices(b, d)...)
	}
	return out
}

// macs fills in the Ethernet addresses of a frame that a side sends, and its VLAN tags, if it says nothing of those.
func (b *box) macs(s *packet.Spec, side int) {
	if side == client {
		s.Src, s.Dst = b.r.C0.MAC, b.r.R0.MAC
	} else {
		s.Src, s.Dst = b.r.S0.MAC, b.r.R1.MAC
	}
	st := b.stacks[side]
	if st == nil {
		return
	}
	if st.mac != (packet.MAC{}) {
		s.Dst = st.mac
	}
	if s.Tags == nil {
		s.Tags = st.tags
	}
}

// sentinel is a frame of a flow that always takes the slow path, with a serial number.
func (b *box) sentinel(side int) ([]byte, func(testkit.Frame) bool) {
	b.serial++
	from, to := b.r.C0, b.r.S0
	if side == server {
		from, to = to, from
	}
	mark := fmt.Sprintf("sentinel %08d", b.serial)
	s := packet.New(packet.Tuple{
		Src: netip.AddrPortFrom(from.Addr(false), 100+uint16(side)), Dst: netip.AddrPortFrom(to.Addr(false), sentinelUDP), Proto: packet.UDP,
	}, []byte(mark))
	b.macs(&s, side)
	return s.Build(), func(f testkit.Frame) bool { return bytes.Contains(f.Data, []byte(mark)) }
}

// pass sends a frame from one side and returns what comes out at the other before the sentinel sent after it, and at
// least want frames.
func (b *box) pass(side int, frame []byte, want int) [][]byte {
	b.t.Helper()
	if err := b.ports[side].Send(frame); err != nil {
		b.t.Fatal(err)
	}
	mark, isMark := b.sentinel(side)
	if err := b.ports[side].Send(mark); err != nil {
		b.t.Fatal(err)
	}
	var out [][]byte
	for marked := false; !marked || len(out) < want; {
		f, err := b.ports[1-side].Recv(deadline, nil)
		if err != nil {
			b.t.Logf("%d of %d frames: %v", len(out), want, err)
			return out
		}
		switch {
		case isMark(f):
			marked = true
		case ours(f):
			out = append(out, f.Data)
		}
	}
	return out
}

// ours leaves out what hosts say on their own (multicast listener reports) and the ICMP errors of the router, whose
// rate limit differs between two routers.
func ours(f testkit.Frame) bool {
	h, err := packet.Decode(f.Data)
	return err == nil && (h.Tuple.Proto == packet.TCP || h.Tuple.Proto == packet.UDP) && h.Tuple.Dst.Port() != sentinelUDP
}

// one sends a frame that must come out as one frame.
func (b *box) one(side int, s packet.Spec) packet.Header {
	b.t.Helper()
	b.macs(&s, side)
	out := b.pass(side, s.Build(), 1)
	if len(out) != 1 {
		b.t.Fatalf("%s: %d frames came out instead of 1", s.Tuple, len(out))
	}
	h, err := packet.Decode(out[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}

// connect opens a flow from the client and returns its tuple as each side sends it.
func (b *box) connect(t packet.Tuple) [2]packet.Tuple {
	b.t.Helper()
	s := packet.New(t, nil)
	if t.Proto == packet.UDP {
		s.Payload = []byte("hello")
		back := b.one(client, s).Tuple.Reverse()
		b.one(server, packet.New(back, []byte("hello too")))
		return [2]packet.Tuple{t, back}
	}
	s.Flags, s.Seq = packet.SYN, 1000
	back := b.one(client, s).Tuple.Reverse()
	r := packet.New(back, nil)
	r.Flags, r.Seq, r.Ack = packet.SYN|packet.ACK, 5000, 1001
	b.one(server, r)
	s.Flags, s.Seq, s.Ack = packet.ACK, 1001, 5001
	b.one(client, s)
	if b.flowtable {
		return [2]packet.Tuple{t, back} // the kernel sets BE_LIBERAL when it takes the flow
	}
	if err := b.ct.SetLiberal(t); err != nil {
		b.t.Fatalf("set liberal: %v", err)
	}
	return [2]packet.Tuple{t, back}
}

// tuple is a flow from the client.
func (b *box) tuple(n nat, proto uint8, six bool, i uint16) packet.Tuple {
	srv := netip.AddrPortFrom(b.r.S0.Addr(six), 2000+i%1000)
	return packet.Tuple{
		Src:   netip.AddrPortFrom(b.r.C0.Addr(six), 10000+i),
		Dst:   n.dial(srv, b.r.R0.Addr(six)),
		Proto: proto,
	}
}

func (b *box) fast() uint64 {
	b.t.Helper()
	st, err := b.d.Stats()
	if err != nil {
		b.t.Fatal(err)
	}
	return st.Fast[b.hook].Packets
}

// reasons renders the counters for a failure.
func (b *box) reasons() string {
	st, err := b.d.Stats()
	if err != nil {
		return err.Error()
	}
	var lines []string
	for r, c := range st.Reasons {
		lines = append(lines, fmt.Sprintf("%s %d", r, c.Packets))
	}
	slices.Sort(lines)
	return fmt.Sprintf("fast %v, %s", st.Fast, strings.Join(lines, ", "))
}
