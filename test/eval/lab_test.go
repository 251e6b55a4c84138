// Package eval_test compares package eval with the kernel: the same rulesets and the same frames, per-rule counters
// equal. The last chain of every hook is a probe that counts, so the counters tell the verdicts, too.
package eval_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// lab is a router under test, and the ports that frames come in by.
//
//	client c0 ── r0 router r1 ── s0 server
//	client q0 ── p0 router, port of br0
type lab struct {
	t         *testing.T
	ns        *testkit.NS
	devices   map[string]uint32
	local     [2]netip.Addr // addresses of the router
	remote    [2]netip.Addr // an address behind it
	r0, p0    eval.Device
	r1        eval.Device
	c0, q0    *testkit.Port
	frameSent int
	lost      int           // rulesets that nft does not list as they are
	patience  time.Duration // until counters that differ are believed
}

// patience is for a machine under load.
const patience = 2 * time.Second

func newLab(t *testing.T) *lab {
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true})
	testkit.Need(t, testkit.NFT)
	for _, n := range []*testkit.NS{r.Client, r.Server} {
		n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
	}
	testkit.Veth(t, r.Client, "q0", r.Router, "p0")
	r.Router.Script(`ip link add br0 type bridge mcast_snooping 0
		ip link set p0 address 02:00:00:00:00:50 addrgenmode none
		ip link set br0 address 02:00:00:00:00:51 addrgenmode none
		ip link set p0 master br0
		ip link set br0 up`)
	// Else IP packets in a bridge meet the hooks of the inet family as well.
	for _, call := range []string{"iptables", "ip6tables", "arptables"} {
		if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-" + call); err == nil {
			r.Router.Sysctl("net/bridge/bridge-nf-call-"+call, "0")
		}
	}
	l := &lab{
		t: t, ns: r.Router, devices: map[string]uint32{},
		patience: patience,
		local:    [2]netip.Addr{r.R0.Addr(false), r.R0.Addr(true)},
		remote:   [2]netip.Addr{r.S0.Addr(false), r.S0.Addr(true)},
		c0:       testkit.OpenPort(t, r.C0, testkit.PortOptions{QdiscBypass: true}),
		q0: testkit.OpenPort(t, testkit.Dev{NS: r.Client, Name: "q0", Index: index(t, r.Client, "q0")},
			testkit.PortOptions{QdiscBypass: true}),
	}
	for _, d := range []string{"lo", "r0", "r1", "p0", "br0"} {
		l.devices[d] = uint32(index(t, r.Router, d))
	}
	l.r0 = l.device("r0", r.R0.MAC)
	l.r1 = l.device("r1", r.R1.MAC)
	br0 := l.device("br0", packet.MAC{2, 0, 0, 0, 0, 0x51})
	l.p0 = l.device("p0", packet.MAC{2, 0, 0, 0, 0, 0x50})
	l.p0.Bridge = &br0
	return l
}

func (l *lab) device(name string, mac packet.MAC) eval.Device {
	return eval.Device{Name: name, Index: l.devices[name], MAC: &mac, Kind: "veth"}
}

func index(t *testing.T, n *testkit.NS, dev string) int {
	t.Helper()
	var i int
	if _, err := fmt.Sscan(n.Run("ip", "-o", "link", "show", "dev", dev), &i); err != nil {
		t.Fatalf("read index of %s: %v", dev, err)
	}
	return i
}

// frame is a frame and the port it comes in by.
type frame struct {
	data   []byte
	bridge bool
	ct     *eval.Conntrack // nil: not known
	route  eval.Route      // unknown: by the frame's address
}

// packet is a frame with what the lab knows about it.
func (l *lab) packet(f frame) eval.Packet {
	p := eval.Packet{Frame: f.data, In: &l.r0, NoSocket: true, Route: eval.RouteUnknown, CT: f.ct}
	if f.bridge {
		p.In = &l.p0
		if to := packet.MAC(f.data); to != *l.p0.MAC && to != *l.p0.Bridge.MAC && to[0]&1 == 0 {
			return p // to nobody the bridge knows
		}
	}
	at := packet.EthernetLen
	for len(f.data) >= at+4 && (f.data[at-2] == 0x81 || f.data[at-2] == 0x88) && (f.data[at-1] == 0 || f.data[at-1] == 0xa8) {
		at += packet.TagLen
	}
	switch typ := [2]byte(f.data[at-2:]); {
	case len(f.data) >= at+packet.IPv4Len && typ == [2]byte{8, 0}:
		dst, _ := netip.AddrFromSlice(f.data[at+16 : at+20])
		p.Route = l.route(dst, f.data[at]&0xf == 5)
	case len(f.data) >= at+packet.IPv6Len && typ == [2]byte{0x86, 0xdd}:
		dst, _ := netip.AddrFromSlice(f.data[at+24 : at+40])
		p.Route = l.route(dst, true)
	}
	if f.route != eval.RouteUnknown {
		p.Route = f.route
	}
	if p.Route == eval.RouteForward {
		p.Out = &l.r1
	}
	return p
}

// route knows the two addresses that frames are sent to on purpose; others get no further than prerouting.
func (l *lab) route(dst netip.Addr, plain bool) eval.Route {
	for i := range l.local {
		switch {
		case !plain:
		case dst == l.local[i]:
			return eval.RouteInput
		case dst == l.remote[i]:
			return eval.RouteForward
		}
	}
	return eval.RouteUnknown
}

// load loads a ruleset and returns how nft lists it.
func (l *lab) load(text string) (*ruleset.Ruleset, error) {
	if out, err := l.ns.Pipe("flush ruleset\n"+text, "nft", "-f", "-"); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	rs, err := l.list()
	if err == nil {
		addDevices(rs, text)
	}
	return rs, err
}

// addDevices puts in what nft 1.0.6 leaves out of the JSON of netdev chains.
func addDevices(rs *ruleset.Ruleset, text string) {
	var family, table, chain string
	for line := range strings.Lines(text) {
		switch f := strings.Fields(line); {
		case len(f) > 2 && f[0] == "table":
			family, table = f[1], f[2]
		case len(f) > 1 && f[0] == "chain":
			chain = f[1]
		case len(f) > 6 && f[4] == "device":
			rs.Table(ruleset.Family(family), table).Chain(chain).Base.Devices = []string{strings.Trim(f[5], `"`)}
		}
	}
}

func (l *lab) list() (*ruleset.Ruleset, error) {
	out, err := l.ns.Try("nft", "-j", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	return ruleset.Decode([]byte(out))
}

func (l *lab) send(fs []frame) error {
	for _, f := range fs {
		port := l.c0
		if f.bridge {
			port = l.q0
		}
		err := port.Send(f.data)
		for errors.Is(err, unix.ENOBUFS) {
			err = port.Send(f.data)
		}
		if err != nil {
			return err
		}
		l.frameSent++
	}
	return nil
}

// difference is a rule that counted otherwise than eval says.
type difference struct {
	rule         *ruleset.Rule
	counter      int
	kernel, eval eval.Count
}

func (d difference) String() string {
	return fmt.Sprintf("%s %s %s rule %d counter %d: kernel %d packets %d bytes, eval %d packets %d bytes", d.rule.Family, d.rule.Table,
		d.rule.Chain, d.rule.Index+1, d.counter+1, d.kernel.Packets, d.kernel.Bytes, d.eval.Packets, d.eval.Bytes)
}

// check loads a ruleset, sends the frames and returns the rules whose counters are not what eval says.
func (l *lab) check(text string, fs []frame) ([]difference, error) {
	rs, err := l.load(text)
	if err != nil {
		return nil, err
	}
	e := eval.New(rs, l.devices)
	for _, f := range fs {
		e.Run(l.packet(f))
	}
	if err := l.send(fs); err != nil {
		return nil, err
	}
	var diffs []difference
	// A frame is in the rules before Send returns, on a machine without load.
	err = testkit.Await(l.patience, func() error {
		now, err := l.list()
		if err != nil {
			return err
		}
		if diffs = compare(e, rs, now); len(diffs) > 0 {
			return errors.New("counters differ")
		}
		return nil
	})
	if len(diffs) > 0 {
		err = nil
	}
	return diffs, err
}

// compare compares the counters of a listing with those of an evaluator.
func compare(e *eval.Evaluator, rs, now *ruleset.Ruleset) []difference {
	var out []difference
	for i, t := range rs.Tables {
		for j, c := range t.Chains {
			for k, r := range c.Rules {
				want := e.Counts(r)
				n := 0
				for _, s := range now.Tables[i].Chains[j].Rules[k].Stmts {
					c, ok := s.(ruleset.Counter)
					if !ok {
						continue
					}
					got := eval.Count{Packets: c.Packets, Bytes: c.Bytes}
					if got != want[n] {
						out = append(out, difference{r, n, got, want[n]})
					}
					n++
				}
			}
		}
	}
	return out
}

// describe writes a case down as txtar, as it is kept in internal/eval/testdata.
func (l *lab) describe(text string, f frame, d []difference) string {
	var b strings.Builder
	for _, x := range d {
		fmt.Fprintln(&b, x)
	}
	way := "routed"
	if f.bridge {
		way = "bridged"
	}
	fmt.Fprintf(&b, "-- ruleset.nft --\n%s-- frames --\n%s %x\n", text, way, f.data)
	if rs, err := l.load(text); err == nil {
		e := eval.New(rs, l.devices)
		res := e.Run(l.packet(f))
		fmt.Fprintf(&b, "-- eval --\n%s %s\n", res.Outcome, res.Why)
		for _, s := range res.Steps {
			fmt.Fprintf(&b, "%s %s rule %d: matched %v, reached %d %s\n", s.Hook, s.Rule.Chain, s.Rule.Index+1, s.Matched, s.Reached, s.Verdict)
		}
		for _, m := range res.Missing {
			fmt.Fprintf(&b, "missing %s %s\n", m.Kind, m.What)
		}
	}
	return b.String()
}

func env(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}
