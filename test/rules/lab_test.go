// Package rules_test is the differential proof of rules that run early: random ingress chains meet random frames, and
// what package eval says, what nftables does in a namespace and what the generated programs do has to be the same.
package rules_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// lab is a machine with two devices that frames come in by and two that rules send them out of.
//
//	c0 ── r0 machine r1 ── s0
//	q0 ── p0 machine d1 ── e0
type lab struct {
	t       testing.TB
	ns      *testkit.NS
	devices map[string]uint32
	in      []*device
	out     map[string]*testkit.Port // by the device that frames leave by: the port at its other end
}

// device is one that frames come in by.
type device struct {
	eval.Device
	port *testkit.Port // at its other end
	// paged frames come with no more than link and network header in the linear part of the socket buffer.
	paged bool
}

func newLab(t testing.TB) *lab {
	testkit.Need(t, testkit.Netns, testkit.NFT, testkit.BPF)
	r := testkit.NewRouter(t, testkit.RouterOptions{RawEnds: true, XDP: true})
	p0 := testkit.Dev{NS: r.Router, Name: "p0", MAC: packet.MAC{2, 0, 0, 0, 3, 1}}
	q0 := testkit.Dev{NS: r.Client, Name: "q0", MAC: packet.MAC{2, 0, 0, 0, 3, 2}}
	d1 := testkit.Dev{NS: r.Router, Name: "d1", MAC: packet.MAC{2, 0, 0, 0, 4, 1}}
	e0 := testkit.Dev{NS: r.Server, Name: "e0", MAC: packet.MAC{2, 0, 0, 0, 4, 2}}
	for _, n := range []*testkit.NS{r.Client, r.Router, r.Server} {
		n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1") // nobody speaks unasked
		n.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	}
	testkit.Join(t, &q0, &p0)
	testkit.Join(t, &e0, &d1)
	r.Server.Run("ethtool", "-K", "e0", "gro", "on")
	l := &lab{t: t, ns: r.Router, devices: map[string]uint32{"lo": 1}, out: map[string]*testkit.Port{}}
	for _, d := range []testkit.Dev{r.R0, r.R1, p0, d1} {
		l.devices[d.Name] = uint32(d.Index)
	}
	for _, pair := range [][2]testkit.Dev{{r.R0, r.C0}, {p0, q0}} {
		mac := pair[0].MAC
		l.in = append(l.in, &device{
			Device: eval.Device{Name: pair[0].Name, Index: uint32(pair[0].Index), MAC: &mac, Kind: "veth"},
			port:   testkit.OpenPort(t, pair[1], testkit.PortOptions{QdiscBypass: true}),
		})
	}
	l.out["r1"] = testkit.OpenPort(t, r.S0, testkit.PortOptions{})
	l.out["d1"] = testkit.OpenPort(t, e0, testkit.PortOptions{})
	return l
}

// quiet keeps what comes up to the machine from having an effect.
const quiet = `table inet quiet {
	chain nobody {
		type filter hook prerouting priority -400; policy drop;
	}
}
table arp quiet {
	chain nobody {
		type filter hook input priority -400; policy drop;
	}
}
`

// load loads a ruleset and returns how nft lists it.
func (l *lab) load(text string) (*ruleset.Ruleset, error) {
	if out, err := l.ns.Pipe("flush ruleset\n"+text+quiet, "nft", "-f", "-"); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return l.list(text)
}

func (l *lab) list(text string) (*ruleset.Ruleset, error) {
	out, err := l.ns.Try("nft", "-j", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	rs, err := ruleset.Decode([]byte(out))
	if err == nil {
		addDevices(rs, text)
	}
	return rs, err
}

// addDevices puts in what nft 1.0.6 leaves out of the JSON of ingress chains.
func addDevices(rs *ruleset.Ruleset, text string) {
	family, table, chain := ruleset.Netdev, "", ""
	names := regexp.MustCompile(`"(\w+)"`)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "table":
			family, table = ruleset.Family(f[1]), f[2]
		case len(f) > 1 && f[0] == "chain":
			chain = f[1]
		case len(f) > 6 && f[0] == "type" && f[2] == "hook":
			t := rs.Table(family, table)
			if t == nil || t.Chain(chain) == nil {
				continue
			}
			devices, _, _ := strings.Cut(line, " priority")
			base := t.Chain(chain).Base
			base.Devices = nil
			for _, m := range names.FindAllStringSubmatch(devices, -1) {
				base.Devices = append(base.Devices, m[1])
			}
		}
	}
}

// accepted loads a ruleset without the rules that nft refuses, and returns it and its listing.
func (l *lab) accepted(text string) (string, *ruleset.Ruleset, error) {
	place := regexp.MustCompile(`/dev/stdin:(\d+):`)
	for range 300 {
		rs, err := l.load(text)
		if err == nil {
			return text, rs, nil
		}
		found := place.FindAllStringSubmatch(err.Error(), -1)
		lines := strings.Split(text, "\n")
		replaced := false
		for _, x := range found {
			n, _ := strconv.Atoi(x[1])
			if n -= 2; n < 0 || n >= len(lines) || !isRule(lines[n]) || lines[n] == refusedRule {
				continue
			}
			lines[n] = refusedRule
			replaced = true
		}
		if !replaced {
			return "", nil, err
		}
		text = strings.Join(lines, "\n")
	}
	return "", nil, errors.New("nft refuses too many rules")
}

// refusedRule stands in for a rule that nft refuses.
const refusedRule = "\t\tcounter"

// isRule reports whether a line of a generated ruleset is a rule.
func isRule(line string) bool {
	if !strings.HasPrefix(line, "\t\t") {
		return false
	}
	switch f := strings.Fields(line); f[0] {
	case "type", "typeof", "flags", "elements", "size", "timeout":
		return false
	}
	return true
}

// send sends frames to a device.
func (d *device) send(frames [][]byte) error {
	for _, f := range frames {
		err := d.one(f)
		for errors.Is(err, unix.ENOBUFS) {
			err = d.one(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *device) one(frame []byte) error {
	if d.paged {
		// What is behind the header that the socket is told of is put in pages, if there is more than one of them. The
		// kernel takes it for granted that the IPv6 header is not there (ipv6_find_hdr).
		return d.port.SendVNet(testkit.VNet{HeaderLen: uint16(packet.EthernetLen + packet.TagLen*classOf(frame).tags + packet.IPv6Len)}, frame)
	}
	return d.port.Send(frame)
}

// packetOf is a frame that comes in by a device.
func packetOf(d *device, frame []byte) eval.Packet {
	return eval.Packet{Frame: frame, In: &d.Device, Route: eval.RouteIngress, NoSocket: true}
}

func env(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}
